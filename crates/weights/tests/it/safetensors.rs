//! The safetensors format: read as its own reader does, and refused where that refuses.

use proptest::prelude::*;
use weights::{Contents, WeightsError};

use crate::models::{Made, hash_one, of, parts, safetensors, tensor, with_header};

#[test]
fn each_tensor_and_the_header_have_their_digest() {
    let made = [
        tensor("b", &[3, 5], 1),
        tensor("a", &[], 2),
        tensor("empty", &[0, 7], 3),
        tensor("z", &[100_000], 4),
    ];
    let file = safetensors(&made);
    let manifest = hash_one("model.safetensors", &file).unwrap();
    let [found] = manifest.files() else {
        panic!("{manifest:?}")
    };
    assert_eq!((found.bytes, found.sha256), (file.len() as u64, of(&file)));
    let Contents::Safetensors {
        header,
        tensors: Some(tensors),
    } = &found.contents
    else {
        panic!("{found:?}")
    };
    let data = made.iter().map(|tensor| tensor.bytes.len()).sum::<usize>();
    assert_eq!(*header, of(&file[..file.len() - data]));
    let names: Vec<_> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "empty", "z"]);
    for tensor in tensors {
        let made = made.iter().find(|made| made.name == tensor.name).unwrap();
        assert_eq!(tensor.sha256, of(&made.bytes), "{}", made.name);
        assert_eq!(tensor.bytes, made.bytes.len() as u64);
        assert_eq!((tensor.dtype.as_str(), &tensor.shape), ("F32", &made.shape));
    }
}

/// What is wrong with a file, in the words of the error.
#[track_caller]
fn refused(what: &str, file: &[u8], says: &str) {
    match hash_one("model.safetensors", file) {
        Err(WeightsError::Malformed { name, why }) => {
            assert_eq!(name, "model.safetensors");
            assert!(why.contains(says), "{what}: {why}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn headers_that_are_none_are_refused() {
    refused("nothing", b"", "0 bytes");
    refused("a part of the length", b"\x08\0\0", "3 bytes");
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend(b"{}");
    refused("a huge header", &huge, "18446744073709551615 bytes");
    let mut large = 100_000_001_u64.to_le_bytes().to_vec();
    large.extend(b"{}");
    refused("a header over the limit", &large, "the most is 100000000");
    refused(
        "a header beyond the end",
        b"\x09\0\0\0\0\0\0\0{}",
        "2 follow",
    );
    refused("no header", &with_header(b"", b""), "does not begin");
    refused("an array", &with_header(b"[]", b""), "does not begin");
    refused("no JSON", &with_header(b"{]", b""), "its header:");
    refused(
        "not UTF-8",
        &with_header(b"{\"\xff\":1}", b""),
        "its header:",
    );
    refused("more behind", &with_header(b"{}{}", b""), "its header:");
    refused("no tensor", &with_header(b"{\"a\":1}", b""), "its header:");
    refused(
        "metadata that is no text",
        &with_header(b"{\"__metadata__\":{\"a\":1}}", b""),
        "its header:",
    );
    refused("bytes of nobody", &with_header(b"{}", b"x"), "the file at");
}

#[test]
fn tensors_that_lie_are_refused() {
    let one = |tensor: &str| with_header(format!("{{\"a\":{tensor}}}").as_bytes(), &[0; 8]);
    refused(
        "too long",
        &one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}"#),
        "unknown field",
    );
    refused(
        "another size",
        &one(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#),
        "[3] does not take the 8 bytes",
    );
    refused(
        "a shape beyond all numbers",
        &one(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}"#),
        "does not take",
    );
    refused(
        "half a byte",
        &one(r#"{"dtype":"F4","shape":[3],"data_offsets":[0,8]}"#),
        "does not take",
    );
    refused(
        "backwards",
        &one(r#"{"dtype":"U8","shape":[8],"data_offsets":[8,0]}"#),
        "before it begins",
    );
    refused(
        "beyond the end",
        &one(r#"{"dtype":"U8","shape":[9],"data_offsets":[0,9]}"#),
        "the file at",
    );
    refused(
        "beyond all numbers",
        &one(
            r#"{"dtype":"U8","shape":[0],"data_offsets":[18446744073709551615,18446744073709551615]}"#,
        ),
        "cannot be",
    );
    refused(
        "negative",
        &one(r#"{"dtype":"U8","shape":[-1],"data_offsets":[0,8]}"#),
        "its header:",
    );
    refused(
        "a type that is none",
        &one(r#"{"dtype":"f 32","shape":[8],"data_offsets":[0,8]}"#),
        "is no type",
    );
}

#[test]
fn tensors_that_leave_a_gap_or_overlap_are_refused() {
    let two = |a: [u64; 2], b: [u64; 2]| {
        let shape = |of: [u64; 2]| of[1] - of[0];
        let header = serde_json::json!({
            "a": {"dtype": "U8", "shape": [shape(a)], "data_offsets": a},
            "b": {"dtype": "U8", "shape": [shape(b)], "data_offsets": b},
        });
        with_header(header.to_string().as_bytes(), &[0; 8])
    };
    refused("overlapping", &two([0, 5], [4, 8]), "begins at byte");
    refused("a gap", &two([0, 3], [4, 8]), "begins at byte");
    refused(
        "the same bytes twice",
        &two([0, 8], [0, 8]),
        "begins at byte",
    );
    refused("a late start", &two([1, 4], [4, 8]), "begins at byte");
    refused("an early end", &two([0, 4], [4, 7]), "the file at");
    let tensor = r#"{"dtype":"U8","shape":[8],"data_offsets":[0,8]}"#;
    let twice = format!("{{\"a\":{tensor},\"a\":{tensor}}}");
    refused(
        "one name twice",
        &with_header(twice.as_bytes(), &[0; 8]),
        "a is there twice",
    );
}

#[test]
fn what_is_unusual_and_right_is_taken() {
    // A type that came later; spaces behind the header; no tensors at all.
    let header = br#"{"a":{"dtype":"F12_E7M4","shape":[7],"data_offsets":[0,8]}}   "#;
    let manifest = hash_one("model.safetensors", &with_header(header, &[1; 8])).unwrap();
    assert_eq!(
        parts(&manifest.files()[0].contents),
        [("a".to_owned(), of(&[1; 8]))]
    );
    let manifest = hash_one("model.safetensors", &with_header(b"{}", b"")).unwrap();
    assert_eq!(parts(&manifest.files()[0].contents), []);
    for (dtype, shape, bytes) in [
        ("F4", 16, 8),
        ("F6_E2M3", 4, 3),
        ("C64", 1, 8),
        ("BOOL", 3, 3),
    ] {
        let made = Made {
            name: "t".into(),
            dtype,
            shape: vec![shape],
            bytes: vec![9; bytes],
        };
        hash_one("model.safetensors", &safetensors(&[made])).unwrap();
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = safetensors(&[tensor("a", &[9], 1), tensor("b", &[2, 2], 2)]);
    for length in 0..whole.len() {
        let cut = hash_one("model.safetensors", &whole[..length]);
        assert!(
            matches!(cut, Err(WeightsError::Malformed { .. })),
            "{length}: {cut:?}"
        );
    }
    let mut longer = whole;
    longer.push(0);
    assert!(hash_one("model.safetensors", &longer).is_err());
}

fn any_tensor() -> impl Strategy<Value = Made> {
    let types = prop::sample::select(vec![("U8", 1_u64), ("BF16", 2), ("F32", 4), ("I64", 8)]);
    let shape = prop::collection::vec(0_u64..6, 0..4);
    ("[a-zA-Z0-9._ äß\"\\\\]{0,12}", types, shape, any::<u8>()).prop_map(
        |(name, (dtype, size), shape, seed)| {
            let length = size * shape.iter().product::<u64>();
            Made {
                name,
                dtype,
                shape,
                bytes: (0..length).map(|n| n as u8 ^ seed).collect(),
            }
        },
    )
}

proptest! {
    /// Any tensors in any order: the digests are those of their bytes.
    #[test]
    fn any_model_is_hashed_by_its_tensors(mut made in prop::collection::vec(any_tensor(), 0..12)) {
        made.sort_by(|a, b| a.name.cmp(&b.name));
        made.dedup_by(|a, b| a.name == b.name);
        let mut expected: Vec<_> = made.iter().map(|made| (made.name.clone(), of(&made.bytes))).collect();
        expected.sort();
        made.reverse();
        let manifest = hash_one("m.safetensors", &safetensors(&made)).unwrap();
        prop_assert_eq!(parts(&manifest.files()[0].contents), expected);
    }

    /// Whatever the bytes are, they are hashed or refused.
    #[test]
    fn any_bytes_are_hashed_or_refused(at in 0_usize..200, byte in any::<u8>(), cut in any::<bool>()) {
        let mut file = safetensors(&[tensor("a", &[9], 1), tensor("b", &[2, 2], 2)]);
        let at = at % file.len();
        if cut {
            file.truncate(at);
        } else {
            file[at] = byte;
        }
        match hash_one("m.safetensors", &file) {
            Ok(manifest) => prop_assert_eq!(manifest.files()[0].sha256, of(&file)),
            Err(WeightsError::Malformed { .. }) => {}
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }
}
