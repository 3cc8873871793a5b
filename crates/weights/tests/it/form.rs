//! The manifest's form: one model, one spelling.

use proptest::prelude::*;
use record::Sha256;
use weights::{Contents, Entry, Manifest, ManifestFile, Tensor};

use crate::models::{checkpoint, hash};

fn sample() -> Manifest {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(dir.path());
    hash(dir.path()).unwrap()
}

#[test]
fn what_is_written_is_read() {
    let manifest = sample();
    let bytes = manifest.to_bytes();
    record::canonical::check(&bytes).unwrap();
    assert_eq!(Manifest::parse(&bytes).unwrap(), manifest);
    assert_eq!(manifest.sha256(), crate::models::of(&bytes));
}

/// Every way to spell it otherwise is refused.
#[test]
fn another_spelling_is_no_manifest() {
    let text = String::from_utf8(sample().to_bytes()).unwrap();
    let hex = "0".repeat(64);
    for (from, to) in [
        ("{\"files\":[", "{ \"files\":["),
        ("model-manifest/v1", "model-manifest/v2"),
        ("{\"bytes\":21,", "{\"bytes\":21.0,"),
        ("{\"bytes\":21,", "{\"bytes\":-21,"),
        ("{\"bytes\":21,", "{\"bytes\":21,\"extra\":1,"),
        ("\"name\":\"config.json\"", "\"name\":\"zconfig.json\""),
        ("\"name\":\"config.json\"", "\"name\":\"../config.json\""),
        ("\"name\":\"config.json\"", "\"name\":\"/config.json\""),
        ("\"name\":\"config.json\"", "\"name\":\"\""),
        (
            "\"name\":\"lm_head.weight\"",
            "\"name\":\"h.0.bias\",\"x\":1",
        ),
        ("\"format\":\"safetensors\"", "\"format\":\"torch-zip\""),
        ("\"format\":\"safetensors\"", "\"format\":\"gguf\""),
        ("\"name\":\"wte.weight\"", "\"name\":\"a\""),
        ("\"shape\":[8]", "\"shape\":[9007199254740992]"),
    ] {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text, "{from}");
        assert!(Manifest::parse(other.as_bytes()).is_err(), "{to}");
    }
    let empty = "{\"files\":[],\"format\":\"rlhf-audit-model-manifest/v1\"}";
    assert!(Manifest::parse(empty.as_bytes()).is_err());
    let header = format!("\"format\":\"torch-zip\",\"header\":\"{hex}\"");
    let other = text.replacen("\"format\":\"torch-zip\"", &header, 1);
    assert!(Manifest::parse(other.as_bytes()).is_err());
    for length in (0..text.len()).step_by(41) {
        assert!(Manifest::parse(&text.as_bytes()[..length]).is_err());
    }
}

#[test]
fn what_cannot_stand_in_a_manifest_is_refused_before() {
    let file = |name: &str, bytes| ManifestFile {
        name: name.to_owned(),
        bytes,
        sha256: Sha256([1; 32]),
        contents: Contents::Plain,
    };
    assert!(Manifest::new(Vec::new()).is_err());
    assert!(Manifest::new(vec![file("a", 1), file("a", 2)]).is_err());
    assert!(Manifest::new(vec![file("a", 1 << 53)]).is_err());
    assert!(Manifest::new(vec![file("a\0b", 1)]).is_err());
    let sorted = Manifest::new(vec![file("b", 1), file("a", 2)]).unwrap();
    assert_eq!(sorted.files()[0].name, "a");
    assert_eq!(sorted.bytes(), 3);
}

/// What [`Manifest::listed`] gives makes a record, however many files there are and however they are named.
#[test]
fn a_record_lists_what_it_can_hold() {
    let all = sample().listed();
    let names: Vec<_> = all.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names.len(), 7);
    assert!(names.is_sorted());

    let file = |name: String, bytes, contents| ManifestFile {
        name,
        bytes,
        sha256: Sha256([1; 32]),
        contents,
    };
    let mut files: Vec<_> = (0..400)
        .map(|n| file(format!("f{n:03}"), n, Contents::Plain))
        .collect();
    let weights = Contents::TorchZip { entries: None };
    files.push(file("tiny.pt".into(), 0, weights));
    files.push(file("é".repeat(129), 1_000, Contents::Plain));
    files.push(file("a\nb".into(), 1_000, Contents::Plain));
    let listed = Manifest::new(files).unwrap().listed();
    assert_eq!(listed.len(), 256);
    assert_eq!((&*listed[0].name, &*listed[255].name), ("f145", "tiny.pt"));
    let body = record::kinds::ModelCheckpoint::new(listed, "checkpoint".into());
    let mut writer = record::StreamWriter::open(
        record::Scope::Ledger,
        record::StreamName::parse("trainer").unwrap(),
        record::ProducerName::parse("trainer").unwrap(),
        record::SigningKey::from_bytes(&[1; 32]),
        std::sync::Arc::new(testkit::log::StepClock::new(1)),
        std::sync::Arc::new(testkit::log::SeededEntropy::new(1)),
    );
    writer.write(record::Draft::new(body)).unwrap();
}

fn any_contents() -> impl Strategy<Value = Contents> {
    let digest = any::<[u8; 32]>().prop_map(Sha256);
    let tensor = (
        "[a-z.é\"]{1,9}",
        digest.clone(),
        prop::collection::vec(0_u64..99, 0..3),
    );
    let tensor = tensor.prop_map(|(name, sha256, shape)| Tensor {
        bytes: 4 * shape.iter().product::<u64>(),
        dtype: "F32".into(),
        name,
        sha256,
        shape,
    });
    let entry = ("[a-z/0-9]{1,9}", digest.clone(), 0_u64..1 << 40);
    let entry = entry.prop_map(|(name, sha256, bytes)| Entry {
        bytes,
        name,
        sha256,
    });
    let some = |tensors: Vec<Tensor>| {
        let mut tensors = tensors;
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        tensors.dedup_by(|a, b| a.name == b.name);
        tensors
    };
    prop_oneof![
        Just(Contents::Plain),
        (
            digest,
            prop::option::of(prop::collection::vec(tensor, 0..5))
        )
            .prop_map(move |(header, tensors)| Contents::Safetensors {
                header,
                tensors: tensors.map(some),
            }),
        prop::option::of(prop::collection::vec(entry, 0..5)).prop_map(|entries| {
            let entries = entries.map(|mut entries| {
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                entries.dedup_by(|a, b| a.name == b.name);
                entries
            });
            Contents::TorchZip { entries }
        }),
    ]
}

proptest! {
    /// Any manifest is read as it was written, and is the same as itself alone.
    #[test]
    fn any_manifest_is_read_as_written(
        files in prop::collection::btree_map("[a-z]{1,5}(/[a-z.]{1,5}x)?", (any::<[u8; 32]>(), 0_u64..1 << 50, any_contents()), 1..6),
    ) {
        let files = files.into_iter().map(|(name, (sha256, bytes, contents))| ManifestFile {
            name,
            bytes,
            sha256: Sha256(sha256),
            contents,
        });
        let manifest = Manifest::new(files.collect()).unwrap();
        let bytes = manifest.to_bytes();
        prop_assert_eq!(&Manifest::parse(&bytes).unwrap(), &manifest);
        prop_assert!(manifest.compare(&manifest).is_same());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(manifest) = Manifest::parse(&bytes) {
            prop_assert_eq!(manifest.to_bytes(), bytes);
        }
    }
}
