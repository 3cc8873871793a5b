//! Torch checkpoints: entries by name, no pickle read.

use weights::{Contents, WeightsError};

use crate::models::{hash_one, of, parts, torch_zip, zip};

const ENTRIES: [(&str, &[u8]); 4] = [
    ("archive/data.pkl", b"\x80\x02cos\nsystem\n(S'exit 1'\ntR."),
    ("archive/data/0", &[7; 5_000]),
    ("archive/data/1", b""),
    ("archive/version", b"3\n"),
];

#[test]
fn each_entry_has_its_digest_and_nothing_is_unpickled() {
    let file = torch_zip(&ENTRIES);
    for name in [
        "model.pt",
        "pytorch_model.bin",
        "rng_state_0.pth",
        "last.ckpt",
    ] {
        let manifest = hash_one(name, &file).unwrap();
        let found = &manifest.files()[0];
        assert_eq!(found.sha256, of(&file));
        let mut expected = ENTRIES.map(|(name, bytes)| (name.to_owned(), of(bytes)));
        expected.sort();
        assert_eq!(parts(&found.contents), expected);
    }
}

#[test]
fn other_archives_and_older_checkpoints_are_hashed_as_they_are() {
    let plain = |name: &str, bytes: &[u8]| {
        let manifest = hash_one(name, bytes).unwrap();
        let found = &manifest.files()[0];
        assert_eq!(
            (found.sha256, &found.contents),
            (of(bytes), &Contents::Plain),
            "{name}"
        );
    };
    plain("legacy.pt", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.");
    plain("short.bin", b"PK");
    plain("empty.bin", b"");
    plain("archive.zip", &torch_zip(&ENTRIES));
    // Compressed, which torch does not write: the bytes of an entry are not there as they are.
    plain(
        "deflated.bin",
        &zip(&ENTRIES, rawzip::CompressionMethod::DEFLATE),
    );
}

#[test]
fn archives_that_are_cut_off_or_lie_are_refused() {
    let whole = torch_zip(&ENTRIES);
    for length in (4..whole.len())
        .step_by(97)
        .chain(whole.len() - 30..whole.len())
    {
        let cut = hash_one("model.pt", &whole[..length]);
        assert!(
            matches!(cut, Err(WeightsError::Malformed { .. })),
            "{length}: {cut:?}"
        );
    }
    let twice = torch_zip(&[("a/data/0", b"x"), ("a/data/0", b"y")]);
    let refused = hash_one("model.pt", &twice).unwrap_err();
    assert!(refused.to_string().contains("is there twice"), "{refused}");
    // The directory sends both entries to the first one's bytes.
    let mut overlapping = torch_zip(&[("a/data/0", b"xx"), ("a/data/1", b"yy")]);
    let directory: Vec<usize> = overlapping
        .windows(4)
        .enumerate()
        .filter(|(_, bytes)| bytes == b"PK\x01\x02")
        .map(|(at, _)| at)
        .collect();
    overlapping.copy_within(directory[0] + 42..directory[0] + 46, directory[1] + 42);
    let refused = hash_one("model.pt", &overlapping).unwrap_err();
    assert!(
        matches!(refused, WeightsError::Malformed { .. }),
        "{refused}"
    );
}

/// A single bit anywhere: hashed or refused, and never the same digest.
#[test]
fn any_flipped_bit_shows() {
    let whole = torch_zip(&ENTRIES[..3]);
    let good = hash_one("model.pt", &whole).unwrap();
    for at in (0..whole.len())
        .step_by(13)
        .chain(whole.len() - 250..whole.len())
    {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        match hash_one("model.pt", &flipped) {
            Ok(found) => assert_ne!(found.files()[0].sha256, good.files()[0].sha256),
            Err(WeightsError::Malformed { .. }) => {}
            Err(other) => panic!("byte {at}: {other:?}"),
        }
    }
}
