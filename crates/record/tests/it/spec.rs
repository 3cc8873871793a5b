//! Holds the specification to the code: every block of `docs/spec/*.md` that follows a line
//! `<!-- example: NAME -->`, and every file of `docs/spec/examples`, is made here anew and compared.
//! With `UPDATE_SPEC=1` in the environment they are written instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use record::kinds::*;
use record::*;
use serde_json::json;
use tlog::{Checkpoint, Ed25519Signer, LeafIndex, MemoryTree, MlDsa44Signer, TreeSize};

use crate::common::{START, annotator, clock, entropy, run_id, signing_key, stream};

const DOCUMENTS: [&str; 6] = [
    "README.md",
    "record.md",
    "streams.md",
    "sealed-values.md",
    "log.md",
    "bundle.md",
];
const ORIGIN: &str = "rlhf-audit.internal/01kaqza6000000000000000000";

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A text too long for a page, its middle left out.
fn shortened(text: &str, head: usize) -> String {
    format!("{}…{}", &text[..head], &text[text.len() - 12..])
}

/// A small log: a run of five records between three of the server's.
struct Example {
    log: Vec<Submission>,
    tree: MemoryTree,
    checkpoint: String,
    policy: String,
}

/// Which records of the log a bundle of the run has.
const BUNDLED: [u64; 6] = [1, 3, 4, 5, 7, 8];

fn example() -> Example {
    let (clock, entropy) = (clock(), entropy());
    let mut server = StreamWriter::open(
        Scope::Ledger,
        StreamName::SERVER,
        ProducerName::parse("server").unwrap(),
        signing_key(2),
        clock.clone(),
        entropy.clone(),
    );
    let producer = ProducerName::parse("trainer").unwrap();
    let mut owner = StreamWriter::open(
        run_id().into(),
        stream("rank0"),
        producer.clone(),
        signing_key(1),
        clock,
        entropy,
    );
    let mut log = Vec::new();
    let enrolled = ProducerEnrolled::new("token:admin".into(), owner.public_key(), producer);
    log.extend(server.write(Draft::new(enrolled)).unwrap());
    log.extend(server.sign());
    let started = RunStarted {
        model: Some("gpt2".into()),
        ..RunStarted::new("first run".into(), owner.public_key())
    };
    log.extend(owner.write(Draft::new(started)).unwrap());
    let preference = AnnotationPreference {
        annotator: Some(annotator()),
        criterion: Some("helpfulness".into()),
        ..AnnotationPreference::new(Choice::A)
    };
    let preference = Draft::new(preference)
        .seal(
            "annotator_id",
            &json!("worker 17"),
            Subject::Person(annotator()),
        )
        .seal(
            "response_a",
            &json!("Mix flour, water, salt and yeast."),
            Subject::Run,
        )
        .seal("response_b", &json!("Buy it."), Subject::Run);
    log.extend(owner.write(preference).unwrap());
    log.extend(
        server
            .write(Draft::new(IncidentReported::new("restarted".into())))
            .unwrap(),
    );
    log.extend(owner.sign());
    log.push(owner.seal(RunStatus::Completed, vec![]).unwrap());
    assert_eq!(log.len(), 9);

    let tree: MemoryTree = log.iter().map(|one| leaf_hash(&one.record)).collect();
    let ed25519 = Ed25519Signer::from_seed(ORIGIN, tlog::sha256(&[3])).unwrap();
    let ml_dsa = MlDsa44Signer::from_seed(ORIGIN, tlog::sha256(&[4])).unwrap();
    let checkpoint = Checkpoint::new(ORIGIN, tree.size(), tree.root()).unwrap();
    let seconds = u64::try_from(START / 1_000_000).unwrap();
    let note = checkpoint.sign(&ed25519, &ml_dsa, seconds).unwrap();
    let policy = tlog::policy::ledger_policy(ed25519.verifier_key(), ml_dsa.verifier_key());
    Example {
        log,
        tree,
        checkpoint: note.to_string(),
        policy,
    }
}

/// The bundle, and a table of its parts.
fn bundle(example: &Example) -> (Vec<u8>, String) {
    let mut bytes = Vec::new();
    let mut table = "offset  bytes  what\n".to_owned();
    let mut put = |what: &str, part: &[u8]| {
        let _ = writeln!(table, "{:>6}{:>7}  {what}", bytes.len(), part.len());
        bytes.extend_from_slice(part);
    };
    let count = |count: usize| u64::try_from(count).unwrap().to_be_bytes();
    let length = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    put("\"rlhf-audit-bundle/v1\\n\"", b"rlhf-audit-bundle/v1\n");
    put("run and \"\\n\"", format!("{}\n", run_id()).as_bytes());
    put(
        &format!("u32 {}: length of the note", example.checkpoint.len()),
        &length(example.checkpoint.len()),
    );
    put("checkpoint note", example.checkpoint.as_bytes());
    let indices = BUNDLED.map(LeafIndex);
    let proof = tlog::multiproof::create(&example.tree, example.tree.size(), indices).unwrap();
    put(
        &format!("u64 {}: hashes of the multi-proof", proof.len()),
        &count(proof.len()),
    );
    for hash in &proof {
        put(&format!("hash {hash}"), hash.as_bytes());
    }
    put(
        &format!("u64 {}: entries", BUNDLED.len()),
        &count(BUNDLED.len()),
    );
    for index in BUNDLED {
        let submission = &example.log[usize::try_from(index).unwrap()];
        let record = &submission.record;
        put(&format!("u64 {index}: log index"), &index.to_be_bytes());
        put(
            &format!("u16 {}: length of the record", record.len()),
            &length(record.len())[2..],
        );
        put(Record::parse(record).unwrap().kind_name(), record);
        let openings = openings(submission);
        put(
            &format!("u32 {}: length of the openings", openings.len()),
            &length(openings.len()),
        );
        if !openings.is_empty() {
            put("openings", &openings);
        }
    }
    let _ = write!(table, "{:>6}         end of file", bytes.len());
    (bytes, table)
}

fn openings(submission: &Submission) -> Vec<u8> {
    if submission.openings.is_empty() {
        return Vec::new();
    }
    to_bundle_openings(
        submission
            .openings
            .iter()
            .map(|(field, one)| (field.as_str(), &one.key, one.value.as_bytes())),
    )
}

/// Every example by name.
fn examples(example: &Example) -> BTreeMap<&'static str, String> {
    let record = |index: usize| text(&example.log[index].record);
    let hash = |index: usize| leaf_hash(&example.log[index].record).to_string();
    let end = json!({"stream": "rank0", "seq": 3, "head": hash(7)});
    let mut keys = String::new();
    for (number, whose) in [(1_u8, "owner, signs rank0"), (2, "server, signs server")] {
        let key = signing_key(number);
        let _ = writeln!(
            keys,
            "{whose}\n  seed   {}\n  public {}",
            hex(&key.to_bytes()),
            PublicKey::from(&key)
        );
    }
    let preference = &example.log[5];
    let (field, opening) = &preference.openings[2];
    let commitment = commit(&opening.key, field, &opening.value);
    let message = [field.as_bytes(), &[0], opening.value.as_bytes()].concat();
    let mut hashes = String::new();
    for (index, submission) in example.log.iter().enumerate() {
        let record = Record::parse(&submission.record).unwrap();
        let place = format!("{} {} {}", record.scope(), record.stream(), record.seq());
        let _ = writeln!(
            hashes,
            "{index}  {}  {:<36}{}",
            hash(index),
            place,
            record.kind_name()
        );
    }
    let lines: Vec<&str> = example.checkpoint.lines().collect();
    let policy: Vec<&str> = example.policy.lines().collect();
    let pieces = bundle(example);
    let prefix = hex(b"\0");
    BTreeMap::from([
        ("opened", record(3)),
        ("started", record(4)),
        ("preference", record(5)),
        (
            "preference-hash",
            format!("SHA-256({prefix} || record) = {}", hash(5)),
        ),
        ("signed", record(7)),
        ("sealed", record(8)),
        ("keys", keys.trim_end().to_owned()),
        ("log", hashes.trim_end().to_owned()),
        (
            "signed-text",
            format!(
                "rlhf-audit-trail/stream/v1\n{}\nrank0\n3\n{}\n",
                run_id(),
                hash(5)
            )
            .trim_end()
            .to_owned(),
        ),
        (
            "sealed-text",
            format!(
                "rlhf-audit-trail/seal/v1\n{}\nrank0\n4\n{}\ncompleted\nrank0 {} {}",
                run_id(),
                hash(7),
                end["seq"],
                hash(7)
            ),
        ),
        ("line", text(&preference.to_line())),
        (
            "commitment",
            format!(
                "field      {field}\nvalue      {}\nkey        {}\nmessage    {}\ncommitment {commitment}",
                text(opening.value.as_bytes()),
                hex(&opening.key.0),
                hex(&message),
            ),
        ),
        ("openings", text(&openings(preference))),
        (
            "checkpoint",
            format!("{}\n{}", lines[..5].join("\n"), shortened(lines[5], 80)),
        ),
        (
            "policy",
            format!(
                "{}\n{}\n{}",
                policy[0],
                shortened(policy[1], 110),
                policy[2]
            ),
        ),
        ("bundle", pieces.1),
    ])
}

/// The signed texts as the specification prints them are what the signatures are over.
#[test]
fn printed_texts_are_what_is_signed() {
    let example = example();
    let examples = examples(&example);
    for (index, name) in [(7, "signed-text"), (8, "sealed-text")] {
        let body: serde_json::Value = serde_json::from_slice(
            Record::parse(&example.log[index].record)
                .unwrap()
                .body_bytes(),
        )
        .unwrap();
        let signature = SignatureBytes::parse(body["signature"].as_str().unwrap()).unwrap();
        let message = format!("{}\n", examples[name]);
        assert!(
            PublicKey::from(&signing_key(1)).verifies(message.as_bytes(), &signature),
            "{name}"
        );
    }
}

/// What the bundle's example says is in the log is in the log.
#[test]
fn the_bundle_proves_what_it_holds() {
    let example = example();
    let proof =
        tlog::multiproof::create(&example.tree, TreeSize(9), BUNDLED.map(LeafIndex)).unwrap();
    let leaves = BUNDLED.map(|index| {
        (
            LeafIndex(index),
            leaf_hash(&example.log[usize::try_from(index).unwrap()].record),
        )
    });
    assert_eq!(
        tlog::multiproof::root(TreeSize(9), leaves, proof),
        Ok(example.tree.root())
    );
}

#[test]
fn the_documents_are_current() {
    let update = std::env::var_os("UPDATE_SPEC").is_some();
    let example = example();
    let examples = examples(&example);
    let mut used = BTreeSet::new();
    for name in DOCUMENTS {
        let path = directory().join(name);
        let document = std::fs::read_to_string(&path).unwrap();
        let current = refreshed(name, &document, &examples, &mut used);
        settle(&path, current.as_bytes(), update);
    }
    let unused: Vec<_> = examples
        .keys()
        .filter(|name| !used.contains(**name))
        .collect();
    assert!(unused.is_empty(), "no document shows {unused:?}");

    let lines: Vec<u8> = example
        .log
        .iter()
        .flat_map(|one| [one.to_line(), b"\n".to_vec()].concat())
        .collect();
    let files = [
        ("log.ndjson", lines),
        ("checkpoint", example.checkpoint.clone().into_bytes()),
        ("policy", example.policy.clone().into_bytes()),
        ("run.rlhf-bundle", bundle(&example).0),
    ];
    for (name, bytes) in files {
        settle(&directory().join("examples").join(name), &bytes, update);
    }
}

fn settle(path: &std::path::Path, bytes: &[u8], update: bool) {
    if std::fs::read(path).is_ok_and(|found| found == bytes) {
        return;
    }
    assert!(
        update,
        "{} is not current; UPDATE_SPEC=1 writes it",
        path.display()
    );
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// The document with its examples made anew.
fn refreshed(
    file: &str,
    document: &str,
    examples: &BTreeMap<&str, String>,
    used: &mut BTreeSet<String>,
) -> String {
    const MARK: &str = "<!-- example: ";
    let mut current = String::new();
    let mut rest = document;
    while let Some(at) = rest.find(MARK) {
        let (name, after) = rest[at + MARK.len()..].split_once(" -->\n").unwrap();
        let example = examples
            .get(name)
            .unwrap_or_else(|| panic!("{file}: no example is called {name}"));
        let (fence, old) = after.split_once('\n').unwrap();
        assert!(
            fence.starts_with("```"),
            "{file}: {name} is not followed by a block"
        );
        let end = old.find("```").unwrap();
        let _ = write!(
            current,
            "{}{MARK}{name} -->\n{fence}\n{example}\n```",
            &rest[..at]
        );
        rest = &old[end + 3..];
        used.insert(name.to_owned());
    }
    current.push_str(rest);
    current
}
