//! Trust policies and the proofs one hands over: what they accept, and what not.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use tlog::policy::{MAX_DEFINITIONS, ledger_policy};
use tlog::{
    Checkpoint, Ed25519Cosigner, Ed25519Signer, LeafIndex, MemoryTree, MlDsa44Signer, Policy,
    PolicyError, SignedNote, TlogProof, TlogProofError, TreeSize, VerifierKey, inclusion_proof,
    leaf_hash,
};

const ORIGIN: &str = "rlhf-audit.example/ledger";
const TIME: u64 = 1_790_000_000;

type Expected = fn(&PolicyError) -> bool;

fn log() -> (Ed25519Signer, MlDsa44Signer) {
    let ed25519 = Ed25519Signer::from_seed(ORIGIN, [1; 32]).unwrap();
    (ed25519, MlDsa44Signer::from_seed(ORIGIN, [2; 32]).unwrap())
}

fn witness(number: u8) -> Ed25519Cosigner {
    Ed25519Cosigner::from_seed(&format!("witness.example/{number}"), [number + 100; 32]).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint::new(ORIGIN, TreeSize(7), leaf_hash(b"root")).unwrap()
}

/// A checkpoint signed by the log's Ed25519 key and these witnesses.
fn cosigned(witnesses: &[u8]) -> Vec<u8> {
    let text = checkpoint().to_string();
    let mut signatures = vec![log().0.sign(&text)];
    signatures.extend(
        witnesses
            .iter()
            .map(|w| witness(*w).sign(&checkpoint(), TIME).unwrap()),
    );
    SignedNote::new(text, signatures)
        .unwrap()
        .to_string()
        .into_bytes()
}

/// The example of the specification, with keys.
fn example() -> String {
    let (log, _) = log();
    let key = |number| witness(number).verifier_key().to_string();
    format!(
        "# The policy of the specification's example.\n\
         log {} https://log.example/\n\n\
         witness X1 {}\nwitness X2 {}\n\twitness  X3\t{} https://x3.example \n\
         group X-witnesses 2 X1 X2 X3\n\n\
         witness Y1 {}\nwitness Y2 {}\nwitness Y3 {}\n  # three more\n\
         group Y-witnesses any Y1 Y2 Y3\n\n\
         group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
        log.verifier_key(),
        key(1),
        key(2),
        key(3),
        key(4),
        key(5),
        key(6)
    )
}

#[test]
fn the_specifications_example_wants_two_of_x_and_one_of_y() {
    let policy = Policy::parse(example().as_bytes()).unwrap();
    assert_eq!(policy.witnesses().count(), 6);
    assert_eq!(
        policy.logs()[0].url.as_deref(),
        Some(&b"https://log.example/"[..])
    );
    assert!(policy.requires_witnesses());
    for enough in [
        &[1, 2, 4][..],
        &[1, 3, 6],
        &[2, 3, 5],
        &[1, 2, 3, 4, 5, 6],
        &[6, 3, 2],
    ] {
        let verified = policy.check(&cosigned(enough)).unwrap();
        assert_eq!(verified.checkpoint, checkpoint());
        assert_eq!(verified.witness_signatures.len(), enough.len());
        assert_eq!(verified.signed_by.len(), 1 + enough.len());
        assert_eq!(verified.witness_signatures[0].timestamp, Some(TIME));
    }
    for few in [
        &[][..],
        &[1, 2],
        &[1, 4],
        &[4, 5, 6],
        &[3, 4, 5, 6],
        &[1, 2, 3],
    ] {
        let error = policy.check(&cosigned(few)).unwrap_err();
        let PolicyError::Quorum {
            quorum,
            signed,
            missing,
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!((quorum.as_str(), signed.len()), ("X-and-Y", few.len()));
        assert_eq!(missing.len(), 6 - few.len());
    }
    // Witnesses that the policy does not know add nothing.
    assert!(policy.check(&cosigned(&[1, 7, 8, 4])).is_err());
}

#[test]
fn a_ledgers_policy_wants_both_of_its_keys() {
    let (ed25519, ml_dsa_44) = log();
    let file = ledger_policy(ed25519.verifier_key(), ml_dsa_44.verifier_key());
    let policy = Policy::parse(file.as_bytes()).unwrap();
    let both = checkpoint().sign(&ed25519, &ml_dsa_44, TIME).unwrap();
    let verified = policy.check(both.to_string().as_bytes()).unwrap();
    assert_eq!(
        verified.signed_by,
        [
            format!("{ORIGIN} (Ed25519)"),
            format!("{ORIGIN} (ML-DSA-44 cosignature)")
        ]
    );
    let text = checkpoint().to_string();
    let first = SignedNote::new(text.clone(), vec![ed25519.sign(&text)]).unwrap();
    let error = policy.check(first.to_string().as_bytes());
    assert!(
        matches!(error, Err(PolicyError::Quorum { .. })),
        "{error:?}"
    );
    let second = vec![ml_dsa_44.sign(&checkpoint(), TIME).unwrap()];
    let second = SignedNote::new(text, second).unwrap();
    let error = policy.check(second.to_string().as_bytes());
    assert!(
        matches!(error, Err(PolicyError::NotSignedByLog { .. })),
        "{error:?}"
    );
}

#[test]
fn keys_alone_make_a_policy_that_wants_all_of_them() {
    let (ed25519, ml_dsa_44) = log();
    let [first, second] = [ed25519.verifier_key(), ml_dsa_44.verifier_key()].map(Clone::clone);
    let other = witness(1).verifier_key().clone();
    let check = |keys: &[&VerifierKey], note: &SignedNote| {
        let keys: Vec<VerifierKey> = keys.iter().copied().cloned().collect();
        Policy::from_vkeys(&keys)?.check(note.to_string().as_bytes())
    };
    let both = checkpoint().sign(&ed25519, &ml_dsa_44, TIME).unwrap();
    assert!(check(&[&first], &both).is_ok());
    assert_eq!(check(&[&second], &both).unwrap().signed_by.len(), 1);
    assert!(check(&[&first, &second], &both).is_ok());
    assert!(check(&[&second, &first], &both).is_ok());
    assert!(matches!(
        check(&[&first, &other], &both),
        Err(PolicyError::Quorum { .. })
    ));
    assert!(matches!(
        check(&[&first, &first], &both),
        Err(PolicyError::DuplicateKey { .. })
    ));
    assert!(matches!(check(&[], &both), Err(PolicyError::NoKeys)));
    assert!(matches!(check(&[&other], &both), Err(PolicyError::NoKeys)));

    let text = checkpoint().to_string();
    let only_first = SignedNote::new(text.clone(), vec![ed25519.sign(&text)]).unwrap();
    assert!(check(&[&first], &only_first).is_ok());
    assert!(check(&[&second], &only_first).is_err());
    assert!(check(&[&first, &second], &only_first).is_err());

    let stranger = MlDsa44Signer::from_seed("other.example", [2; 32]).unwrap();
    let error = check(&[stranger.verifier_key()], &both);
    assert!(
        matches!(error, Err(PolicyError::UnknownOrigin { .. })),
        "{error:?}"
    );
}

#[test]
fn a_wrong_signature_of_any_known_key_condemns_the_checkpoint() {
    let policy = Policy::parse(example().as_bytes()).unwrap();
    let text = checkpoint().to_string();
    let mut other = checkpoint();
    other.size = TreeSize(8);
    let mut signatures = vec![log().0.sign(&text)];
    signatures.extend([1, 2, 4].map(|w| witness(w).sign(&checkpoint(), TIME).unwrap()));
    // Witness 5 is not needed, but what it signed is something else.
    signatures.push(witness(5).sign(&other, TIME).unwrap());
    let note = SignedNote::new(text, signatures).unwrap().to_string();
    assert!(matches!(
        policy.check(note.as_bytes()),
        Err(PolicyError::Note(_))
    ));
}

#[test]
fn another_listed_log_cannot_sign_for_this_one() {
    let other = Ed25519Signer::from_seed("other.example", [9; 32]).unwrap();
    let file = format!(
        "log {}\nlog {}\nquorum none\n",
        log().0.verifier_key(),
        other.verifier_key()
    );
    let policy = Policy::parse(file.as_bytes()).unwrap();
    assert!(!policy.requires_witnesses());
    assert!(policy.check(&cosigned(&[])).is_ok());
    let text = checkpoint().to_string();
    let note = SignedNote::new(text.clone(), vec![other.sign(&text)]).unwrap();
    let error = policy.check(note.to_string().as_bytes());
    assert!(
        matches!(error, Err(PolicyError::NotSignedByLog { .. })),
        "{error:?}"
    );

    let elsewhere = Policy::parse(b"quorum none\n")
        .unwrap()
        .check(&cosigned(&[]));
    assert!(matches!(elsewhere, Err(PolicyError::UnknownOrigin { .. })));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
fn malformed_policies_are_refused() {
    let key = log().0.verifier_key().to_string();
    let second = log().1.verifier_key().to_string();
    let w1 = witness(1).verifier_key().to_string();
    let w2 = witness(2).verifier_key().to_string();
    let renamed = VerifierKey::new(
        "another.name",
        witness(1).verifier_key().signature_type(),
        &witness(1).verifier_key().public_key(),
    )
    .unwrap();
    let two = format!("witness a {w1}\nwitness b {w2}\n");
    let cases: Vec<(String, Expected)> = vec![
        (String::new(), |e| {
            matches!(e, PolicyError::QuorumLines { seen: 0 })
        }),
        (format!("log {key}\n"), |e| {
            matches!(e, PolicyError::QuorumLines { seen: 0 })
        }),
        ("quorum none\nquorum none\n".into(), |e| {
            matches!(e, PolicyError::QuorumLines { seen: 2 })
        }),
        ("quorum none".into(), |e| {
            matches!(e, PolicyError::Unterminated { line: 1 })
        }),
        ("quorum none\r\n".into(), |e| {
            matches!(
                e,
                PolicyError::ControlCharacter {
                    line: 1,
                    seen: b'\r'
                }
            )
        }),
        ("#\u{7f}\nquorum none\n".into(), |e| {
            matches!(e, PolicyError::ControlCharacter { .. })
        }),
        ("quorum\n".into(), |e| {
            matches!(e, PolicyError::Syntax { .. })
        }),
        ("quorum a b\n".into(), |e| {
            matches!(e, PolicyError::Syntax { .. })
        }),
        ("Quorum none\n".into(), |e| {
            matches!(e, PolicyError::Syntax { .. })
        }),
        ("quorum all\n".into(), |e| {
            matches!(e, PolicyError::UnknownName { .. })
        }),
        (format!("quorum a\n{two}"), |e| {
            matches!(e, PolicyError::UnknownName { line: 1, .. })
        }),
        ("log\nquorum none\n".into(), |e| {
            matches!(e, PolicyError::Syntax { .. })
        }),
        (format!("log {key} u v\nquorum none\n"), |e| {
            matches!(e, PolicyError::Syntax { .. })
        }),
        ("log what\nquorum none\n".into(), |e| {
            matches!(e, PolicyError::Key { line: 1, .. })
        }),
        (format!("log {key}\nlog {key}\nquorum none\n"), |e| {
            matches!(e, PolicyError::DuplicateKey { .. })
        }),
        (format!("witness a {key}\nquorum none\n"), |e| {
            matches!(e, PolicyError::NotAWitnessKey { .. })
        }),
        (
            format!("witness a {w1}\nwitness b {renamed}\nquorum none\n"),
            |e| matches!(e, PolicyError::DuplicateKey { .. }),
        ),
        (format!("witness a {w1}\nwitness a {w2}\nquorum a\n"), |e| {
            matches!(e, PolicyError::DuplicateName { line: 2, .. })
        }),
        (format!("witness none {second}\nquorum none\n"), |e| {
            matches!(e, PolicyError::DuplicateName { .. })
        }),
        (format!("{two}group a all b\nquorum a\n"), |e| {
            matches!(e, PolicyError::DuplicateName { .. })
        }),
        (format!("{two}group none all b\nquorum a\n"), |e| {
            matches!(e, PolicyError::DuplicateName { .. })
        }),
        (format!("{two}group g all\nquorum g\n"), |e| {
            matches!(e, PolicyError::Syntax { .. })
        }),
        (format!("{two}group g all none\nquorum g\n"), |e| {
            matches!(e, PolicyError::UnknownName { .. })
        }),
        (format!("{two}group g all g\nquorum g\n"), |e| {
            matches!(e, PolicyError::UnknownName { .. })
        }),
        (format!("{two}group g 1 a a\nquorum g\n"), |e| {
            matches!(e, PolicyError::MemberTwice { .. })
        }),
        (
            format!("{two}group g any a\ngroup h any a b\nquorum h\n"),
            |e| matches!(e, PolicyError::MemberTwice { line: 4, .. }),
        ),
        (format!("{two}group g 0 a b\nquorum g\n"), |e| {
            matches!(e, PolicyError::Threshold { .. })
        }),
        (format!("{two}group g 3 a b\nquorum g\n"), |e| {
            matches!(e, PolicyError::Threshold { .. })
        }),
        (format!("{two}group g +1 a b\nquorum g\n"), |e| {
            matches!(e, PolicyError::Threshold { .. })
        }),
    ];
    for (file, expected) in cases {
        let error = Policy::parse(file.as_bytes()).unwrap_err();
        assert!(expected(&error), "{file:?} gives {error:?}");
    }
}

#[test]
fn names_are_octets_and_the_limits_are_generous() {
    let w1 = witness(1).verifier_key().to_string();
    let w2 = witness(2).verifier_key().to_string();
    let mut file = format!("witness K {w1}\nwitness \u{212a} {w2}\n").into_bytes();
    file.extend_from_slice(b"# \xff\xfe\ngroup \xff any K\nquorum \xff\n");
    let policy = Policy::parse(&file).unwrap();
    assert_eq!(
        policy.witnesses().last().unwrap().name,
        "\u{212a}".as_bytes()
    );

    let of = |n: usize| {
        use std::fmt::Write as _;
        let mut file = String::new();
        for i in 0..n {
            let mut seed = [7; 32];
            seed[..8].copy_from_slice(&(i as u64).to_be_bytes());
            let key = Ed25519Cosigner::from_seed("w", seed).unwrap();
            writeln!(file, "witness w{i} {}", key.verifier_key()).unwrap();
        }
        file + "quorum w0\n"
    };
    assert!(Policy::parse(of(MAX_DEFINITIONS).as_bytes()).is_ok());
    let error = Policy::parse(of(MAX_DEFINITIONS + 1).as_bytes());
    assert!(matches!(error, Err(PolicyError::TooMany { .. })));
}

fn proof() -> (TlogProof, Policy) {
    let tree: MemoryTree = (0..7u8).map(|i| leaf_hash(&[i])).collect();
    let (ed25519, ml_dsa_44) = log();
    let checkpoint = Checkpoint::new(ORIGIN, tree.size(), tree.root()).unwrap();
    let proof = TlogProof {
        extra: None,
        index: LeafIndex(3),
        hashes: inclusion_proof(&tree, LeafIndex(3), tree.size()).unwrap(),
        checkpoint: checkpoint
            .sign(&ed25519, &ml_dsa_44, TIME)
            .unwrap()
            .to_string(),
    };
    let file = ledger_policy(ed25519.verifier_key(), ml_dsa_44.verifier_key());
    (proof, Policy::parse(file.as_bytes()).unwrap())
}

#[test]
fn a_tlog_proof_is_read_back_and_verified() {
    let (proof, policy) = proof();
    for extra in [None, Some(vec![]), Some(b"extra data".to_vec())] {
        let proof = TlogProof {
            extra,
            ..proof.clone()
        };
        let text = proof.to_string();
        assert_eq!(text.parse::<TlogProof>().unwrap(), proof);
        let verified = proof.verify(&leaf_hash(&[3]), &policy).unwrap();
        assert_eq!(verified.checkpoint.size, TreeSize(7));
    }
    let error = proof.verify(&leaf_hash(&[4]), &policy);
    assert!(matches!(error, Err(TlogProofError::Proof(_))), "{error:?}");
    let moved = TlogProof {
        index: LeafIndex(2),
        ..proof.clone()
    };
    assert!(moved.verify(&leaf_hash(&[3]), &policy).is_err());
    let stranger = Policy::from_vkeys(&[Ed25519Signer::from_seed("other", [5; 32])
        .unwrap()
        .verifier_key()
        .clone()])
    .unwrap();
    let error = proof.verify(&leaf_hash(&[3]), &stranger);
    assert!(matches!(error, Err(TlogProofError::Policy(_))), "{error:?}");
}

#[test]
fn malformed_tlog_proofs_are_refused() {
    let text = proof().0.to_string();
    let hash = leaf_hash(b"x");
    let lines = |n: usize| text.split_inclusive('\n').take(n).collect::<String>();
    for (what, broken) in [
        ("nothing", String::new()),
        ("another version", text.replace("@v1", "@v2")),
        ("CRLF", text.replace('\n', "\r\n")),
        ("no index", text.replace("index 3\n", "")),
        ("padded index", text.replace("index 3", "index 03")),
        ("signed index", text.replace("index 3", "index +3")),
        ("index with a space", text.replace("index 3", "index  3")),
        (
            "extra after index",
            text.replace("index 3\n", "index 3\nextra AA==\n"),
        ),
        (
            "extra twice",
            text.replace("index 3", "extra AA==\nextra AA==\nindex 3"),
        ),
        (
            "extra no base64",
            text.replace("index 3", "extra !\nindex 3"),
        ),
        (
            "a hash too short",
            text.replace("index 3\n", "index 3\nAAAA\n"),
        ),
        (
            "too many hashes",
            text.replace(
                "index 3\n",
                &format!("index 3\n{}", format!("{hash}\n").repeat(62)),
            ),
        ),
        ("cut before the empty line", lines(4)),
        ("header only", lines(1)),
    ] {
        assert!(TlogProof::parse(broken.as_bytes()).is_err(), "{what}");
    }
    assert!(TlogProof::parse(b"\xff").is_err());
    let (proof, policy) = proof();
    let cut = TlogProof {
        checkpoint: String::new(),
        ..proof
    };
    assert!(cut.verify(&leaf_hash(&[3]), &policy).is_err());
}

#[test]
fn a_log_can_be_held_to_its_word_without_the_quorum() {
    let (ed25519, ml_dsa_44) = log();
    let file = format!(
        "{}witness w {}\ngroup both all log-ml-dsa-44 w\nquorum both\n",
        ledger_policy(ed25519.verifier_key(), ml_dsa_44.verifier_key())
            .replace("quorum log-ml-dsa-44\n", ""),
        witness(1).verifier_key()
    );
    let policy = Policy::parse(file.as_bytes()).unwrap();
    let note = checkpoint().sign(&ed25519, &ml_dsa_44, TIME).unwrap();
    let alone = note.to_string();
    assert!(matches!(
        policy.check(alone.as_bytes()),
        Err(PolicyError::Quorum { .. })
    ));
    let said = policy.check_log(alone.as_bytes()).unwrap();
    assert_eq!(said.checkpoint, checkpoint());
    assert_eq!(policy.keys_of(ORIGIN).len(), 2);
    assert!(policy.keys_of("another").is_empty());

    // A wrong signature of a known key condemns the note all the same.
    let mut forged = note;
    let other = Checkpoint::new(ORIGIN, TreeSize(8), leaf_hash(b"root")).unwrap();
    forged.add(witness(1).sign(&other, TIME).unwrap()).unwrap();
    assert!(matches!(
        policy.check_log(forged.to_string().as_bytes()),
        Err(PolicyError::Note(_))
    ));
}

#[test]
fn a_policy_without_a_log_is_completed_by_the_context() {
    let file = format!("witness w {}\nquorum w\n", witness(1).verifier_key());
    let policy = Policy::parse(file.as_bytes()).unwrap();
    assert!(policy.check(&cosigned(&[1])).is_err());
    let policy = policy.or_log(log().0.verifier_key());
    assert!(policy.check(&cosigned(&[1])).is_ok());
    let stranger = Ed25519Signer::from_seed("another", [9; 32]).unwrap();
    let same = policy.clone().or_log(stranger.verifier_key());
    assert_eq!(same, policy);
}
