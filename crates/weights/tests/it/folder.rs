//! Folders: every file in them, links followed, what is no file refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use weights::{Contents, Options, Source, Tensors, WeightsError};

use crate::models::{always, checkpoint, hash, of, safetensors, tensor, write};

fn names(manifest: &weights::Manifest) -> Vec<&str> {
    manifest
        .files()
        .iter()
        .map(|file| file.name.as_str())
        .collect()
}

#[test]
fn every_file_of_a_checkpoint_is_there_under_its_path() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(dir.path());
    let manifest = hash(dir.path()).unwrap();
    assert_eq!(
        names(&manifest),
        [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "optimizer.pt",
            "tokenizer/tokenizer.json",
            "trainer_state.json",
        ]
    );
    for file in manifest.files() {
        let bytes = fs::read(dir.path().join(&file.name)).unwrap();
        assert_eq!((file.bytes, file.sha256), (bytes.len() as u64, of(&bytes)));
    }
    assert_eq!(manifest.parts(), 3 + 5);
    assert_eq!(
        manifest.file("optimizer.pt").unwrap().contents.count(),
        Some(5)
    );
    assert_eq!(manifest.file("nothing"), None);
}

#[test]
fn threads_and_settings_change_nothing_of_what_is_hashed() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(dir.path());
    let large: Vec<_> = (0..6)
        .map(|n| tensor(&format!("t{n}"), &[300, 400], n))
        .collect();
    write(dir.path(), "large.safetensors", &safetensors(&large));
    let source = Source::open(dir.path()).unwrap();
    let expected = weights::manifest(&source, &always()).unwrap();
    for threads in 1..6 {
        let done = AtomicU64::new(0);
        let progress = |now: u64, total: u64| {
            assert!(now <= total);
            done.fetch_max(now, Ordering::Relaxed);
        };
        let options = Options {
            threads: threads.try_into().ok(),
            progress: Some(&progress),
            ..always()
        };
        assert_eq!(
            weights::manifest(&source, &options).unwrap(),
            expected,
            "{threads}"
        );
        assert_eq!(done.into_inner(), expected.bytes());
    }
    // So little is hashed twice that it is cheap.
    let cheap = weights::manifest(&source, &Options::default()).unwrap();
    assert_eq!(cheap, expected);
    let never = Options {
        tensors: Tensors::Never,
        ..Options::default()
    };
    let files_only = weights::manifest(&source, &never).unwrap();
    assert_eq!(files_only.parts(), 0);
    assert!(files_only.compare(&expected).is_same() && expected.compare(&files_only).is_same());
}

/// `snapshots/<revision>/model.safetensors` leads to `blobs/<digest>` in a Hugging Face cache.
#[test]
fn links_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let file = safetensors(&[tensor("a", &[4], 1)]);
    write(dir.path(), "blobs/0123", &file);
    let snapshot = dir.path().join("snapshots/main");
    fs::create_dir_all(&snapshot).unwrap();
    symlink("../../blobs/0123", snapshot.join("model.safetensors")).unwrap();
    write(dir.path(), "shared/vocab.json", b"{}");
    symlink("../../shared", snapshot.join("tokenizer")).unwrap();
    let manifest = hash(&snapshot).unwrap();
    assert_eq!(
        names(&manifest),
        ["model.safetensors", "tokenizer/vocab.json"]
    );
    assert_eq!(manifest.files()[0].sha256, of(&file));
    assert_eq!(manifest.files()[0].contents.count(), Some(1));
}

#[test]
fn what_is_beside_the_model_is_passed_over_at_the_top_alone() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "config.json", b"{}");
    let alone = hash(dir.path()).unwrap();
    write(dir.path(), ".git/HEAD", b"ref");
    write(dir.path(), ".cache/huggingface/download/x.lock", b"");
    assert_eq!(hash(dir.path()).unwrap(), alone);
    write(dir.path(), ".gitattributes", b"*");
    write(dir.path(), "sub/.git/HEAD", b"ref");
    write(dir.path(), ".cache/other", b"");
    let manifest = hash(dir.path()).unwrap();
    assert_eq!(
        names(&manifest),
        [
            ".cache/other",
            ".gitattributes",
            "config.json",
            "sub/.git/HEAD"
        ]
    );
}

fn with(name: &str, make: impl FnOnce(&Path)) -> WeightsError {
    // A directory in one of its own: what is above it is somebody else's otherwise, and changes.
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("model");
    write(&dir, "config.json", b"{}");
    make(&dir.join(name));
    let error = hash(&dir).unwrap_err();
    assert!(error.to_string().contains(name), "{error}");
    error
}

#[test]
fn what_is_no_file_is_refused_by_name() {
    let error = with("loop", |path| symlink("loop", path).unwrap());
    assert!(matches!(error, WeightsError::Circle { .. }), "{error}");
    let error = with("up", |path| symlink("..", path).unwrap());
    assert!(
        matches!(
            error,
            WeightsError::Circle { .. } | WeightsError::TooMany { .. }
        ),
        "{error}"
    );
    let error = with("self", |path| symlink(".", path).unwrap());
    assert!(matches!(error, WeightsError::Circle { .. }), "{error}");
    let error = with("nowhere", |path| symlink("nothing", path).unwrap());
    assert!(matches!(error, WeightsError::Io { .. }), "{error}");
    let error = with("pipe", |path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    });
    assert!(error.to_string().contains("a pipe"), "{error}");
    let error = with("socket", |path| drop(UnixListener::bind(path).unwrap()));
    assert!(error.to_string().contains("a socket"), "{error}");
    let error = with("null", |path| symlink("/dev/null", path).unwrap());
    assert!(error.to_string().contains("a device"), "{error}");
}

#[test]
fn names_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().unwrap();
    let name = std::ffi::OsStr::from_bytes(b"\xff.json");
    fs::write(dir.path().join(name), b"{}").unwrap();
    let error = hash(dir.path()).unwrap_err();
    assert!(matches!(error, WeightsError::Name { .. }), "{error}");
}

#[test]
fn empty_folders_and_none_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = hash(dir.path()).unwrap_err();
    assert!(matches!(error, WeightsError::Empty { .. }), "{error}");
    fs::create_dir(dir.path().join("below")).unwrap();
    assert!(matches!(hash(dir.path()), Err(WeightsError::Empty { .. })));
    assert!(matches!(
        Source::open(dir.path().join("nothing")),
        Err(WeightsError::Io { .. })
    ));
}

#[test]
fn files_by_name_or_one_file_are_a_model_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = safetensors(&[tensor("a", &[4], 1)]);
    write(dir.path(), "x/model.safetensors", &file);
    let path = dir.path().join("x/model.safetensors");
    let one = weights::manifest(&Source::open(&path).unwrap(), &always()).unwrap();
    assert_eq!(names(&one), ["model.safetensors"]);
    let named = Source::Files(vec![
        ("b/weights.safetensors".into(), path.clone()),
        ("a".into(), path.clone()),
    ]);
    let manifest = weights::manifest(&named, &always()).unwrap();
    assert_eq!(names(&manifest), ["a", "b/weights.safetensors"]);
    assert_eq!(manifest.files()[0].contents, Contents::Plain);
    let twice = Source::Files(vec![("a".into(), path.clone()), ("a".into(), path.clone())]);
    assert!(matches!(
        weights::manifest(&twice, &always()),
        Err(WeightsError::Twice { .. })
    ));
    for bad in ["", "/a", "a//b", "../a", "a/."] {
        let bad = Source::Files(vec![(bad.into(), path.clone())]);
        assert!(weights::manifest(&bad, &always()).is_err());
    }
}

#[test]
fn an_index_names_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(dir.path());
    hash(dir.path()).unwrap();
    let index = "model.safetensors.index.json";
    let fault = |bytes: &[u8], says: &str| {
        write(dir.path(), index, bytes);
        let error = hash(dir.path()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(index) && text.contains(says), "{text}");
        // Whoever only wants to compare gets a manifest all the same.
        let found = weights::examine(&Source::open(dir.path()).unwrap(), &always()).unwrap();
        assert_eq!(found.faults.len(), 1);
        assert_eq!(found.faults[0].name, index);
        assert_eq!(found.manifest.files().len(), 7);
    };
    fault(b"{}", "weight_map");
    fault(
        b"{\"weight_map\":{\"a\":\"gone.safetensors\"}}",
        "gone.safetensors, which is not there",
    );
    let elsewhere = br#"{"weight_map":{"lm_head.weight":"model-00001-of-00002.safetensors"}}"#;
    fault(elsewhere, "tensor lm_head.weight is in model-00001");
}

#[test]
fn a_malformed_file_is_examined_without_its_parts() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.safetensors", b"not that");
    write(
        dir.path(),
        "b.safetensors",
        &safetensors(&[tensor("a", &[4], 1)]),
    );
    assert!(matches!(
        hash(dir.path()),
        Err(WeightsError::Malformed { .. })
    ));
    let found = weights::examine(&Source::open(dir.path()).unwrap(), &always()).unwrap();
    assert_eq!(found.faults.len(), 1);
    assert_eq!(found.manifest.files()[0].contents, Contents::Plain);
    assert_eq!(found.manifest.files()[0].sha256, of(b"not that"));
    assert_eq!(found.manifest.files()[1].contents.count(), Some(1));
}
