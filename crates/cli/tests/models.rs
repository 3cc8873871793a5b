//! A saved model from the trainer's folder to the auditor's verdict: hashed, recorded with its manifest, bundled, and
//! found again, or not, and then by the name of the tensor that differs.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

use client::{BundleParts, Client};
use common::load::client;
use common::{Desk, Server, text};
use record::kinds::{ModelCheckpoint, ModelFile};
use serde_json::{Value, json};
use weights::{Manifest, Options, Source, Tensors};

/// A safetensors file of tensors of one dimension, each of a byte repeated.
fn safetensors(tensors: &[(&str, usize, u8)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, length, byte) in tensors {
        let begin = data.len();
        data.resize(begin + length, *byte);
        let described =
            json!({"dtype": "U8", "shape": [length], "data_offsets": [begin, begin + length]});
        header.insert((*name).to_owned(), described);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes(), &header[..], &data].concat()
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// What a trainer saves at a step.
fn save(dir: &Path, step: u8) {
    let first = [("wte.weight", 50_000, step), ("h.0.bias", 7, step)];
    write(
        dir,
        "model-00001-of-00002.safetensors",
        &safetensors(&first),
    );
    // The head is frozen: the same at each step.
    write(
        dir,
        "model-00002-of-00002.safetensors",
        &safetensors(&[("lm_head", 900, 9)]),
    );
    write(dir, "config.json", b"{\"model_type\":\"gpt2\"}");
    let state = format!("{{\"global_step\":{step}}}");
    write(dir, "trainer_state.json", state.as_bytes());
}

fn manifest(dir: &Path) -> Manifest {
    let options = Options {
        tensors: Tensors::Always,
        ..Options::default()
    };
    weights::manifest(&Source::open(dir).unwrap(), &options).unwrap()
}

/// Records a model as an SDK does: the manifest first, then the record that names it.
fn record(client: &Client, desk: &Desk, dir: &str, step: u64, attach: bool) {
    let manifest = manifest(&desk.path(dir));
    let files = manifest
        .files()
        .iter()
        .map(|file| ModelFile::new(file.bytes, file.name.clone(), file.sha256));
    let mut body = ModelCheckpoint::new(files.collect(), format!("checkpoint-{step}"));
    body.step = Some(step);
    let mut event = json!({"kind": "model.checkpoint", "body": body});
    if attach {
        let mut manifest = Cursor::new(manifest.to_bytes());
        let attachment = client.put_attachment(&mut manifest).unwrap();
        event["attachments"] = json!({"manifest": attachment});
    }
    let event = event.to_string();
    let append = ["append", "--run", "trained", "--server", client.url()];
    let token = ["--token", common::ADMIN];
    let output = desk.run_with(&[&append[..], &token].concat(), event.as_bytes());
    assert!(
        output.status.success(),
        "{}",
        text(&output.stdout, &output.stderr)
    );
}

/// A ledger with a run in which models were saved at steps 10, 20 and 30, the last without its manifest; its bundle, and
/// the models.
static TRAINED: LazyLock<Desk> = LazyLock::new(|| {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let client = client(&server.url);
    let place = ["--server", &server.url, "--token", common::ADMIN];
    desk.ok(&[&["run", "start", "--name", "trained"][..], &place].concat());
    for (step, attach) in [(10, true), (20, true), (30, false)] {
        let dir = format!("out/checkpoint-{step}");
        save(&desk.path(&dir), step);
        record(&client, &desk, &dir, step.into(), attach);
    }
    desk.ok(&[&["run", "seal", "trained"][..], &place].concat());
    for (file, attachments) in [("trained.rlhf-bundle", true), ("bare.rlhf-bundle", false)] {
        let mut bundle = fs::File::create(desk.path(file)).unwrap();
        let parts = BundleParts {
            attachments,
            ..BundleParts::default()
        };
        client.bundle_with("trained", parts, &mut bundle).unwrap();
    }
    server.stop();
    fs::copy(desk.path("audit-data/policy"), desk.path("policy")).unwrap();
    desk
});

/// What `verify` says of a model against a target, which has to end with this code.
fn verify(target: &str, model: &Path, code: i32) -> Value {
    let mut args = vec!["verify", target, "--policy", "policy", "--json"];
    let model = model.to_str().unwrap();
    args.extend(["--model", model]);
    let output = TRAINED.run(&args);
    let said = text(&output.stdout, &output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

const TARGETS: [&str; 2] = ["trained.rlhf-bundle", "audit-data"];

/// A copy of the model of step 20, to be changed.
fn copied() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in manifest(&TRAINED.path("out/checkpoint-20")).files() {
        let from = TRAINED.path("out/checkpoint-20").join(&file.name);
        fs::copy(from, dir.path().join(&file.name)).unwrap();
    }
    dir
}

#[test]
fn a_model_is_found_by_its_run_and_record() {
    let run = TRAINED.json(&["run", "show", "trained"])["run"]["run"].clone();
    for target in TARGETS {
        for (step, by_manifest) in [(10, true), (20, true), (30, false)] {
            let dir = TRAINED.path(&format!("out/checkpoint-{step}"));
            let report = verify(target, &dir, 0);
            assert_eq!(report["verdict"], "verified", "{report}");
            let model = &report["model"];
            assert_eq!(
                (&model["compared"], &model["matches_total"]),
                (&json!(3), &json!(1))
            );
            let found = &model["matches"][0];
            assert_eq!(found["step"], step, "{report}");
            assert_eq!(found["model"], format!("checkpoint-{step}"));
            assert_eq!(found["by_manifest"], by_manifest, "{report}");
            assert_eq!(found["run"], run, "{report}");
        }
    }
    // Without the manifests it is told by the files that the records list.
    let report = verify("bare.rlhf-bundle", &TRAINED.path("out/checkpoint-20"), 0);
    assert_eq!(report["model"]["matches"][0]["by_manifest"], false);
    assert_eq!(report["absent_attachments"]["total"], 2);
    let said = TRAINED.ok(&[
        "verify",
        "trained.rlhf-bundle",
        "--policy",
        "policy",
        "--model",
        "out/checkpoint-20",
    ]);
    assert!(said.contains("it is checkpoint-20 of run"), "{said}");
    assert!(said.contains("step 20: record"), "{said}");
}

#[test]
fn a_flipped_byte_is_named_by_its_tensor() {
    for (at_end, tensor) in [(1, "h.0.bias"), (100, "wte.weight")] {
        let dir = copied();
        let path = dir.path().join("model-00001-of-00002.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - at_end;
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        for target in TARGETS {
            let report = verify(target, dir.path(), 1);
            let nearest = &report["model"]["nearest"];
            assert_eq!(nearest["step"], 20, "{report}");
            let differences = json!([{
                "file": "model-00001-of-00002.safetensors",
                "part": tensor,
                "change": "bytes",
            }]);
            assert_eq!(nearest["differences"], differences, "{report}");
            assert_eq!(report["verdict"], "failed");
            let failure = &report["failures"][0];
            assert_eq!(failure["check"], "model", "{report}");
            assert!(
                failure["found"].as_str().unwrap().contains(tensor),
                "{report}"
            );
        }
        let bare = verify("bare.rlhf-bundle", dir.path(), 1);
        let difference = &bare["model"]["nearest"]["differences"][0];
        assert_eq!(difference["file"], "model-00001-of-00002.safetensors");
        assert_eq!(difference["part"], Value::Null, "{bare}");
    }
}

#[test]
fn a_model_that_was_taken_along_in_part_is_found_and_one_with_more_is_not() {
    let dir = copied();
    fs::remove_file(dir.path().join("trainer_state.json")).unwrap();
    for target in TARGETS {
        let report = verify(target, dir.path(), 0);
        let found = &report["model"]["matches"][0];
        assert_eq!(found["step"], 20, "{report}");
        assert_eq!(found["missing"]["names"], json!(["trainer_state.json"]));
    }
    // Something that no record knows: whoever loads the folder runs it.
    fs::write(dir.path().join("modeling.py"), "import os").unwrap();
    let report = verify("audit-data", dir.path(), 1);
    let surplus = json!([{"file": "modeling.py", "change": "surplus"}]);
    assert_eq!(
        report["model"]["nearest"]["differences"], surplus,
        "{report}"
    );
    fs::remove_file(dir.path().join("modeling.py")).unwrap();

    // The head is frozen, so a folder with it alone is of all three; one with the configuration alone is of none.
    fs::remove_file(dir.path().join("model-00001-of-00002.safetensors")).unwrap();
    let report = verify("audit-data", dir.path(), 0);
    assert_eq!(report["model"]["matches_total"], 3, "{report}");
    fs::remove_file(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
    let report = verify("audit-data", dir.path(), 1);
    assert_eq!(report["model"]["matches_total"], 0, "{report}");
}

#[test]
fn a_model_of_nobody_and_what_is_none_say_so() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), 77);
    fs::rename(
        dir.path().join("model-00001-of-00002.safetensors"),
        dir.path().join("model.safetensors"),
    )
    .unwrap();
    let report = verify("audit-data", dir.path(), 1);
    assert!(
        report["model"]["nearest"]["differences_total"].as_u64() >= Some(2),
        "{report}"
    );

    // Tampered so that it is no safetensors file any more: the file is named, and what is wrong with it.
    let broken = copied();
    let path = broken.path().join("model-00002-of-00002.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    bytes[2] = 0xff;
    fs::write(&path, bytes).unwrap();
    let report = verify("audit-data", broken.path(), 1);
    let difference = &report["model"]["nearest"]["differences"][0];
    assert_eq!(difference["file"], "model-00002-of-00002.safetensors");
    assert!(
        report["notes"].to_string().contains("its header is said"),
        "{report}"
    );

    verify("audit-data", &dir.path().join("nothing"), 3);
    let empty = tempfile::tempdir().unwrap();
    verify("audit-data", empty.path(), 2);
    std::os::unix::fs::symlink("round", empty.path().join("round")).unwrap();
    verify("audit-data", empty.path(), 2);

    // A log in which no model was saved.
    let other = Desk::with_ledger();
    let model = dir.path().to_str().unwrap();
    let out = other.fails(1, &["verify", "audit-data", "--model", model]);
    assert!(out.contains("no model.checkpoint record at all"), "{out}");
    let hashes = ["verify", "audit-data", "--hashes", "--model", model];
    let out = other.fails(1, &hashes);
    assert!(out.contains("only hashes were asked for"), "{out}");
}

/// A manifest that was changed in the store is no witness: the attachment fails, and the model is told by its files.
#[test]
fn a_manifest_that_was_changed_convinces_nobody() {
    let desk = Desk::new();
    let copy = |from: &str| {
        let copied = std::process::Command::new("cp")
            .args(["-a"])
            .arg(TRAINED.path(from))
            .arg(desk.dir.path())
            .status();
        assert!(copied.unwrap().success());
    };
    copy("audit-data");
    copy("policy");
    let manifest = manifest(&TRAINED.path("out/checkpoint-20"));
    let name = manifest.sha256().to_string();
    let path = desk
        .path("audit-data/attachments")
        .join(&name[..2])
        .join(&name);
    let other = copied();
    fs::write(other.path().join("config.json"), b"{\"evil\":true}").unwrap();
    let forged = self::manifest(other.path());
    assert_eq!(fs::read(&path).unwrap(), manifest.to_bytes());
    fs::write(&path, forged.to_bytes()).unwrap();
    let model = other.path().to_str().unwrap();
    let args = [
        "verify",
        "audit-data",
        "--policy",
        "policy",
        "--json",
        "--model",
        model,
    ];
    let output = desk.run(&args);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks: Vec<_> = report["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| failure["check"].clone())
        .collect();
    assert_eq!(checks, ["attachment", "model"], "{report}");
}
