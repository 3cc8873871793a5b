//! What differs between two models is named: the file, and in it the tensor.

use std::fs;
use std::path::Path;

use weights::{Comparison, Difference, PartChange, PartDifference};

use crate::models::{checkpoint, hash, safetensors, tensor, torch_zip, write};

/// A checkpoint with something done to it, held against how it was.
fn changed(change: impl FnOnce(&Path)) -> Comparison {
    let dir = tempfile::tempdir().unwrap();
    checkpoint(dir.path());
    let before = hash(dir.path()).unwrap();
    change(dir.path());
    before.compare(&hash(dir.path()).unwrap())
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn part(name: &str, change: PartChange) -> PartDifference {
    PartDifference {
        name: name.to_owned(),
        change,
    }
}

/// The one file that differs, and how.
fn only(comparison: &Comparison) -> (&str, &Difference) {
    assert!(!comparison.is_part() && !comparison.is_same());
    assert!(comparison.missing.is_empty() && comparison.surplus.is_empty());
    let [one] = &comparison.differing[..] else {
        panic!("{comparison:?}")
    };
    (&one.name, &one.difference)
}

#[test]
fn the_same_model_is_the_same() {
    let comparison = changed(|_| {});
    assert!(comparison.is_same(), "{comparison:?}");
    assert_eq!(comparison.same_files, 7);
}

#[test]
fn a_flipped_bit_is_in_its_tensor() {
    let shard = "model-00001-of-00002.safetensors";
    let comparison = changed(|dir| {
        let path = dir.join(shard);
        let end = fs::metadata(&path).unwrap().len() as usize;
        flip(&path, end - 1);
    });
    let (name, difference) = only(&comparison);
    assert_eq!(name, shard);
    let expected = Difference::Parts(vec![part("h.0.bias", PartChange::Values)]);
    assert_eq!(*difference, expected);
    assert_eq!(comparison.differing.len(), 1);
    assert!(
        comparison.same_bytes > 2_048 + 2_048,
        "the other tensors are the same"
    );

    let comparison = changed(|dir| flip(&dir.join(shard), 8 + 20));
    // A flipped bit in the header makes another header, or none.
    let (name, difference) = only(&comparison);
    assert_eq!(name, shard);
    assert!(matches!(difference, Difference::Header), "{difference:?}");
}

#[test]
fn a_flipped_bit_of_an_optimizer_is_in_its_storage() {
    let comparison = changed(|dir| {
        let path = dir.join("optimizer.pt");
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(8).position(|bytes| bytes == [1; 8]).unwrap();
        flip(&path, at + 100);
    });
    let (name, difference) = only(&comparison);
    assert_eq!(name, "optimizer.pt");
    let expected = Difference::Parts(vec![part("optimizer/data/0", PartChange::Values)]);
    assert_eq!(*difference, expected);
}

#[test]
fn an_archive_that_differs_around_its_entries_says_so() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "a.pt",
        &torch_zip(&[("a/data/0", b"x"), ("a/data/1", b"y")]),
    );
    let before = hash(dir.path()).unwrap();
    write(
        dir.path(),
        "a.pt",
        &torch_zip(&[("a/data/1", b"y"), ("a/data/0", b"x")]),
    );
    let comparison = before.compare(&hash(dir.path()).unwrap());
    assert_eq!(*only(&comparison).1, Difference::Frame);
}

#[test]
fn tensors_that_come_go_or_grow_are_named() {
    let comparison = changed(|dir| {
        let tensors = [
            tensor("lm_head.weight", &[64, 8], 3),
            tensor("new", &[1], 1),
        ];
        write(
            dir,
            "model-00002-of-00002.safetensors",
            &safetensors(&tensors),
        );
    });
    let expected = vec![
        part("lm_head.weight", PartChange::Shape),
        part("new", PartChange::Surplus),
    ];
    assert_eq!(*only(&comparison).1, Difference::Parts(expected));
}

#[test]
fn files_that_are_missing_surplus_renamed_or_other_are_named() {
    let comparison = changed(|dir| {
        fs::remove_file(dir.join("optimizer.pt")).unwrap();
    });
    assert!(comparison.is_part() && !comparison.is_same());
    assert_eq!(comparison.missing, ["optimizer.pt"]);

    let comparison = changed(|dir| write(dir, "modeling.py", b"import os"));
    assert!(!comparison.is_part(), "somebody added code");
    assert_eq!(comparison.surplus, ["modeling.py"]);

    let comparison = changed(|dir| {
        fs::rename(dir.join("config.json"), dir.join("generation.json")).unwrap();
    });
    assert!(!comparison.is_part());
    let renamed = ("config.json".to_owned(), "generation.json".to_owned());
    assert_eq!(comparison.renamed, [renamed]);
    assert!(comparison.missing.is_empty() && comparison.surplus.is_empty());

    let comparison = changed(|dir| write(dir, "config.json", b"{}"));
    let expected = Difference::Bytes {
        expected_bytes: 21,
        found_bytes: 2,
    };
    assert_eq!(only(&comparison), ("config.json", &expected));
}
