//! Signed notes, checkpoints and cosignatures: the specifications' examples, round trips, refusals.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use ml_dsa::signature::Verifier as _;
use tlog::cosignature::{CosignatureError, MAX_TIMESTAMP, Subtree, verify_subtree};
use tlog::note::{MAX_NOTE_BYTES, MAX_SIGNATURES};
use tlog::{
    Checkpoint, Ed25519Cosigner, Ed25519Signer, LeafIndex, MlDsa44Signer, NoteError, NoteSignature,
    SignatureType, SignedNote, TreeSize, VerifierKey, leaf_hash,
};

const KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
const SOFA: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

const ORIGIN: &str = "rlhf-audit.example/ledger";
const TIME: u64 = 1_679_315_147;

type Expected = fn(&NoteError) -> bool;

fn keys() -> (Ed25519Signer, MlDsa44Signer) {
    let ed25519 = Ed25519Signer::from_seed(ORIGIN, [1; 32]).unwrap();
    (ed25519, MlDsa44Signer::from_seed(ORIGIN, [2; 32]).unwrap())
}

fn checkpoint() -> Checkpoint {
    Checkpoint::new(ORIGIN, TreeSize(70_000), leaf_hash(b"root")).unwrap()
}

#[test]
fn the_specifications_note_is_verified_by_the_specifications_key() {
    let key = VerifierKey::parse(KEY).unwrap();
    let note = SignedNote::parse(NOTE.as_bytes()).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    let verified = note.verify(std::slice::from_ref(&key)).unwrap();
    assert_eq!((verified[0].timestamp, &verified[0].key), (None, &key));
    assert_eq!(note.to_string(), NOTE);

    let altered = NOTE.replace("message", "massage");
    let note = SignedNote::parse(altered.as_bytes()).unwrap();
    let error = NoteError::BadSignature {
        name: key.name().to_owned(),
        id: key.id(),
    };
    assert_eq!(note.verify(&[key]), Err(error));
}

#[test]
fn the_specifications_cosigned_checkpoint_is_read() {
    let note = SignedNote::parse(SOFA.as_bytes()).unwrap();
    assert_eq!(
        Checkpoint::parse(note.text()).unwrap().size,
        TreeSize(20_852_163)
    );
    let lengths: Vec<usize> = note
        .signatures()
        .iter()
        .map(|s| s.signature().len())
        .collect();
    assert_eq!(lengths, [64, 72]);
    assert_eq!(note.signatures()[1].signature()[..8], TIME.to_be_bytes());
    assert_eq!(note.to_string(), SOFA);
    let (ed25519, _) = keys();
    let error = note.verify(&[ed25519.verifier_key().clone()]).unwrap_err();
    assert!(matches!(error, NoteError::NoKnownSignature { seen } if seen.len() == 2));
}

#[test]
fn the_text_ends_at_the_last_empty_line() {
    let text = "two\n\n\u{2014} looks like a signature\n\nmore\n";
    let (ed25519, _) = keys();
    let note = SignedNote::new(text.to_owned(), vec![ed25519.sign(text)]).unwrap();
    let read = SignedNote::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(read.text(), text);
    assert!(read.verify(&[ed25519.verifier_key().clone()]).is_ok());
}

#[test]
fn malformed_notes_are_refused() {
    let signature = NOTE.split_once("\n\n").unwrap().1;
    let no_separator = format!("text\n{signature}");
    let cases: Vec<(String, Expected)> = vec![
        (String::new(), |e| matches!(e, NoteError::NoSeparator)),
        (no_separator, |e| matches!(e, NoteError::NoSeparator)),
        ("text\n\n".into(), |e| matches!(e, NoteError::Unsigned)),
        (NOTE.trim_end().into(), |e| {
            matches!(e, NoteError::SignatureLine { line: 1 })
        }),
        (format!("{NOTE}x\n"), |e| {
            matches!(e, NoteError::SignatureLine { line: 2 })
        }),
        (NOTE.replace("\u{2014} ", "- "), |e| {
            matches!(e, NoteError::SignatureLine { .. })
        }),
        (NOTE.replace("\u{2014} ", "\u{2014}  "), |e| {
            matches!(e, NoteError::Name(_))
        }),
        (NOTE.replace("foo Uw", "foo  Uw"), |e| {
            matches!(e, NoteError::SignatureLine { .. })
        }),
        (NOTE.replace("foo Uw", "foo+ Uw"), |e| {
            matches!(e, NoteError::Name(_))
        }),
        (NOTE.replace("foo Uw", "f\u{a0}o Uw"), |e| {
            matches!(e, NoteError::Name(_))
        }),
        (NOTE.replace("aQM=", "aQM"), |e| {
            matches!(e, NoteError::SignatureLine { .. })
        }),
        (NOTE.replace("aQM=", "aQN="), |e| {
            matches!(e, NoteError::SignatureLine { .. })
        }),
        ("t\n\n\u{2014} a Uw2QOg==\n".into(), |e| {
            matches!(e, NoteError::SignatureLine { .. })
        }),
        (NOTE.replace(' ', "\t"), |e| {
            matches!(
                e,
                NoteError::ControlCharacter {
                    offset: 4,
                    seen: b'\t'
                }
            )
        }),
        (NOTE.replace('\n', "\r\n"), |e| {
            matches!(e, NoteError::ControlCharacter { .. })
        }),
    ];
    for (note, expected) in cases {
        let error = SignedNote::parse(note.as_bytes()).unwrap_err();
        assert!(expected(&error), "{note:?} gives {error:?}");
    }
    let mut bytes = NOTE.as_bytes().to_vec();
    bytes[3] = 0xff;
    assert_eq!(
        SignedNote::parse(&bytes),
        Err(NoteError::NotUtf8 { offset: 3 })
    );
}

#[test]
fn notes_are_limited_in_size_and_signatures() {
    let (text, line) = NOTE.split_once("\n\n").unwrap();
    let with = |n: usize| format!("{text}\n\n{}", line.repeat(n));
    let key = VerifierKey::parse(KEY).unwrap();
    let many = SignedNote::parse(with(MAX_SIGNATURES).as_bytes()).unwrap();
    assert_eq!(many.verify(&[key]).unwrap().len(), 1);
    let seen = MAX_SIGNATURES + 1;
    let error = NoteError::TooManySignatures { seen };
    assert_eq!(SignedNote::parse(with(seen).as_bytes()), Err(error.clone()));
    let mut full = many;
    assert_eq!(full.add(full.signatures()[0].clone()), Err(error));

    let long = "x".repeat(MAX_NOTE_BYTES + 1);
    let error = NoteError::TooLong {
        seen: MAX_NOTE_BYTES + 1,
    };
    assert_eq!(SignedNote::parse(long.as_bytes()), Err(error));
    assert_eq!(
        SignedNote::new("no newline".into(), vec![]),
        Err(NoteError::TextUnterminated)
    );
    assert_eq!(
        SignedNote::new("unsigned\n".into(), vec![]),
        Err(NoteError::Unsigned)
    );
}

#[test]
fn one_wrong_signature_of_a_known_key_condemns_the_note() {
    let (ed25519, _) = keys();
    let text = "text\n";
    let good = ed25519.sign(text);
    let wrong = ed25519.sign("other\n");
    let keys = [ed25519.verifier_key().clone()];
    for signatures in [vec![good.clone(), wrong.clone()], vec![wrong, good]] {
        let note = SignedNote::new(text.into(), signatures).unwrap();
        assert!(matches!(
            note.verify(&keys),
            Err(NoteError::BadSignature { .. })
        ));
    }
}

#[test]
fn a_log_signs_with_both_keys() {
    let (ed25519, ml_dsa_44) = keys();
    let note = checkpoint().sign(&ed25519, &ml_dsa_44, TIME).unwrap();
    let read = SignedNote::parse(note.to_string().as_bytes()).unwrap();
    let keys = [ed25519.verifier_key(), ml_dsa_44.verifier_key()].map(VerifierKey::clone);
    let verified = read.verify(&keys).unwrap();
    assert_eq!(
        verified.iter().map(|v| v.timestamp).collect::<Vec<_>>(),
        [None, Some(TIME)]
    );
    for key in &keys {
        assert_eq!(&VerifierKey::parse(&key.to_string()).unwrap(), key);
    }
    let other = Ed25519Signer::from_seed("other.example", [1; 32]).unwrap();
    assert!(checkpoint().sign(&other, &ml_dsa_44, TIME).is_err());
}

#[test]
fn an_altered_checkpoint_fails_under_every_kind_of_key() {
    let (ed25519, ml_dsa_44) = keys();
    let cosigner = Ed25519Cosigner::from_seed("witness.example", [3; 32]).unwrap();
    let text = checkpoint().to_string();
    let signatures = [
        (ed25519.sign(&text), ed25519.verifier_key()),
        (
            ml_dsa_44.sign(&checkpoint(), TIME).unwrap(),
            ml_dsa_44.verifier_key(),
        ),
        (
            cosigner.sign(&checkpoint(), TIME).unwrap(),
            cosigner.verifier_key(),
        ),
    ];
    let root = leaf_hash(b"root").to_string();
    for (signature, key) in signatures {
        let verify = |text: String, signature: NoteSignature| {
            SignedNote::new(text, vec![signature])
                .unwrap()
                .verify_by(key)
        };
        assert!(matches!(
            verify(text.clone(), signature.clone()),
            Ok(Some(_))
        ));
        for altered in [
            text.replace("70000", "70001"),
            text.replace("ledger", "ledges"),
            text.replace(&root, &leaf_hash(b"other").to_string()),
            format!("{text}\n"),
        ] {
            let result = verify(altered, signature.clone());
            assert!(result.is_err(), "{}", key.signature_type());
        }
        // Every byte counts: the time, the signature itself, its length.
        let line = signature.to_string();
        let encoded_at = line.rfind(' ').unwrap() + 1;
        for at in (encoded_at + 8..line.len() - 4)
            .step_by(101)
            .chain([encoded_at + 12])
        {
            let old = &line[at..=at];
            let new = if old == "A" { "B" } else { "A" };
            let mut spoilt = line.clone();
            spoilt.replace_range(at..=at, new);
            let result = verify(text.clone(), NoteSignature::parse(&spoilt).unwrap());
            assert!(
                result.is_err(),
                "{} with character {at} altered",
                key.signature_type()
            );
        }
        let mut cut = line;
        cut.truncate(encoded_at + (cut.len() - encoded_at) / 8 * 4);
        assert!(verify(text.clone(), NoteSignature::parse(&cut).unwrap()).is_err());
    }
}

/// The specification's example in full, so that witnesses elsewhere sign the same bytes.
#[test]
fn an_ed25519_cosignature_signs_header_time_and_the_whole_text() {
    let cosigner = Ed25519Cosigner::from_seed("witness.example.com/w1", [4; 32]).unwrap();
    let (text, _) = SOFA.split_once("\n\n").unwrap();
    for text in [format!("{text}\n"), format!("{text}\nextension\n")] {
        let signature = cosigner.sign(&text.parse().unwrap(), TIME).unwrap();
        let message = format!("cosignature/v1\ntime {TIME}\n{text}");
        let key = cosigner.verifier_key().public_key().try_into().unwrap();
        let key = ed25519_dalek::VerifyingKey::from_bytes(&key).unwrap();
        let (time, bytes) = signature.signature().split_at(8);
        assert_eq!(time, TIME.to_be_bytes());
        key.verify_strict(message.as_bytes(), &bytes.try_into().unwrap())
            .unwrap();
    }
}

#[test]
fn an_ml_dsa_44_cosignature_signs_the_structure_of_the_specification() {
    let (_, signer) = keys();
    let root = leaf_hash(b"root");
    let mut message = b"subtree/v1\n\0".to_vec();
    message.push(ORIGIN.len() as u8);
    message.extend_from_slice(ORIGIN.as_bytes());
    message.extend_from_slice(&TIME.to_be_bytes());
    message.push(ORIGIN.len() as u8);
    message.extend_from_slice(ORIGIN.as_bytes());
    message.extend_from_slice(&0u64.to_be_bytes());
    message.extend_from_slice(&70_000u64.to_be_bytes());
    message.extend_from_slice(root.as_bytes());

    let signature = signer.sign(&checkpoint(), TIME).unwrap();
    assert_eq!(signature.signature().len(), 8 + 2420);
    let (time, bytes) = signature.signature().split_at(8);
    assert_eq!(time, TIME.to_be_bytes());
    let public = signer.verifier_key().public_key();
    assert_eq!(public.len(), 1312);
    let key = ml_dsa::VerifyingKey::<ml_dsa::MlDsa44>::decode(public[..].try_into().unwrap());
    key.verify(&message, &ml_dsa::Signature::try_from(bytes).unwrap())
        .unwrap();
    assert_eq!(
        signer.verifier_key().signature_type(),
        SignatureType::MlDsa44Cosignature
    );
}

#[test]
fn extension_lines_are_not_signed_with_ml_dsa_44_but_are_with_ed25519() {
    let (_, ml_dsa_44) = keys();
    let cosigner = Ed25519Cosigner::from_seed("witness.example", [3; 32]).unwrap();
    let mut extended = checkpoint();
    extended.extensions.push("extension".into());
    let signatures = vec![ml_dsa_44.sign(&checkpoint(), TIME).unwrap()];
    let note = SignedNote::new(extended.to_string(), signatures).unwrap();
    assert!(note.verify_by(ml_dsa_44.verifier_key()).unwrap().is_some());
    let signatures = vec![cosigner.sign(&checkpoint(), TIME).unwrap()];
    let note = SignedNote::new(extended.to_string(), signatures).unwrap();
    assert!(note.verify_by(cosigner.verifier_key()).is_err());
}

#[test]
fn subtrees_are_cosigned_without_a_time_unless_they_begin_at_the_start() {
    let (ed25519, signer) = keys();
    let subtree = |start, end| Subtree {
        origin: ORIGIN,
        start: LeafIndex(start),
        end: LeafIndex(end),
        hash: leaf_hash(b"subtree"),
    };
    let key = signer.verifier_key();
    let signature = signer.sign_subtree(&subtree(8, 13), 0).unwrap();
    assert_eq!(verify_subtree(key, &subtree(8, 13), &signature), Ok(0));
    assert!(verify_subtree(key, &subtree(8, 14), &signature).is_err());
    assert!(verify_subtree(key, &subtree(0, 13), &signature).is_err());
    assert!(matches!(
        verify_subtree(ed25519.verifier_key(), &subtree(8, 13), &signature),
        Err(CosignatureError::KeyType { .. })
    ));
    let error = CosignatureError::SubtreeTimestamp { start: 8, seen: 1 };
    assert_eq!(signer.sign_subtree(&subtree(8, 13), 1), Err(error));
    let error = CosignatureError::NotASubtree { start: 1, end: 3 };
    assert_eq!(signer.sign_subtree(&subtree(1, 3), 0), Err(error));
    assert!(signer.sign_subtree(&subtree(5, 5), 0).is_err());
}

#[test]
fn times_and_names_that_do_not_fit_are_refused() {
    let (_, signer) = keys();
    let cosigner = Ed25519Cosigner::from_seed("w", [3; 32]).unwrap();
    assert!(signer.sign(&checkpoint(), MAX_TIMESTAMP).is_ok());
    let error = CosignatureError::Timestamp {
        seen: MAX_TIMESTAMP + 1,
    };
    assert_eq!(
        signer.sign(&checkpoint(), MAX_TIMESTAMP + 1),
        Err(error.clone())
    );
    assert_eq!(cosigner.sign(&checkpoint(), MAX_TIMESTAMP + 1), Err(error));

    let long = "o".repeat(256);
    assert!(MlDsa44Signer::from_seed(&long, [0; 32]).is_err());
    let far = Checkpoint::new(&long, TreeSize(1), leaf_hash(b"")).unwrap();
    assert_eq!(
        signer.sign(&far, 0),
        Err(CosignatureError::NameLength { seen: 256 })
    );
}
