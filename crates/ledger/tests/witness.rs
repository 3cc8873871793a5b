//! A witness cosigns only what has grown from what it kept, and keeps before it signs (I18).

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{TestClock, entropy};
use ledger::witness::{Answer, Options, Witness, origin_hash};
use store::{ObjectStore, StoreError};
use tlog::{
    AddCheckpoint, Checkpoint, Ed25519Signer, MemoryTree, MlDsa44Signer, Policy, SignedNote,
    TreeSize, consistency_proof, leaf_hash,
};

const ORIGIN: &str = "rlhf-audit.example/watched";

/// A log in memory, whose leaves are what `word` makes of their index.
struct Log {
    tree: MemoryTree,
    word: &'static str,
    keys: (Ed25519Signer, MlDsa44Signer),
}

impl Log {
    fn new(word: &'static str) -> Self {
        let keys = (
            Ed25519Signer::from_seed(ORIGIN, [1; 32]).unwrap(),
            MlDsa44Signer::from_seed(ORIGIN, [2; 32]).unwrap(),
        );
        let tree = MemoryTree::default();
        Self { tree, word, keys }
    }

    fn grow(mut self, to: u64) -> Self {
        for index in self.tree.size().0..to {
            // Two logs share their first three leaves.
            let word = if index < 3 { "same" } else { self.word };
            self.tree
                .push(leaf_hash(format!("{word} {index}").as_bytes()));
        }
        self
    }

    fn policy(&self) -> Policy {
        let (ed25519, ml_dsa_44) = (self.keys.0.verifier_key(), self.keys.1.verifier_key());
        Policy::parse(tlog::policy::ledger_policy(ed25519, ml_dsa_44).as_bytes()).unwrap()
    }

    fn note_at(&self, size: u64) -> String {
        let root = tlog::root(&self.tree, TreeSize(size)).unwrap();
        let checkpoint = Checkpoint::new(ORIGIN, TreeSize(size), root).unwrap();
        checkpoint
            .sign(&self.keys.0, &self.keys.1, 1_795_420_800)
            .unwrap()
            .to_string()
    }

    fn request(&self, old: u64, new: u64) -> AddCheckpoint {
        AddCheckpoint {
            old: TreeSize(old),
            proof: consistency_proof(&self.tree, TreeSize(old), TreeSize(new)).unwrap(),
            checkpoint: self.note_at(new),
        }
    }
}

fn settings(log: &Log, clock: &Arc<TestClock>) -> Options {
    Options {
        clock: clock.clone(),
        entropy: entropy(),
        name: Some("witness.example/w1".to_owned()),
        ml_dsa_44: true,
        logs: vec![log.policy()],
    }
}

fn open(dir: &Path, log: &Log) -> Witness {
    Witness::open(dir, settings(log, &Arc::new(TestClock::new()))).unwrap()
}

fn post(witness: &Witness, request: &AddCheckpoint) -> Answer {
    witness.add_checkpoint(request.to_string().as_bytes())
}

/// What was cosigned holds under the witness's keys.
#[track_caller]
fn cosigned(witness: &Witness, request: &AddCheckpoint) -> Vec<u64> {
    let answer = post(witness, request);
    let Answer::Cosigned(lines) = answer else {
        panic!("not cosigned: {answer:?}");
    };
    let note = SignedNote::parse(format!("{}{lines}", request.checkpoint).as_bytes()).unwrap();
    let keys = witness.vkeys();
    assert_eq!(keys.len(), 2);
    keys.iter()
        .map(|key| note.verify_by(key).unwrap().unwrap().timestamp.unwrap())
        .collect()
}

#[test]
fn a_log_that_grows_is_cosigned_with_both_keys_and_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new("a").grow(1_000);
    let witness = open(dir.path(), &log);
    assert_eq!(witness.cosigned(&origin_hash(ORIGIN)), None);
    for (old, new) in [(0, 0), (0, 3), (3, 3), (3, 256), (256, 700)] {
        let times = cosigned(&witness, &log.request(old, new));
        assert!(times.iter().all(|time| *time >= 1_795_420_800));
        let shown = witness.cosigned(&origin_hash(ORIGIN)).unwrap();
        let note = SignedNote::parse(shown.as_bytes()).unwrap();
        // The log's two and the witness's two.
        assert_eq!(note.signatures().len(), 4);
        assert!(log.policy().check(shown.as_bytes()).is_ok());
    }
    let vkeys = witness.vkeys();
    drop(witness);
    let witness = open(dir.path(), &log);
    assert_eq!(witness.vkeys(), vkeys, "keys were lost");
    assert_eq!(post(&witness, &log.request(0, 900)), Answer::Conflict(700));
    cosigned(&witness, &log.request(700, 900));
    assert_eq!(witness.status().logs, [(ORIGIN.to_owned(), 900)]);
}

#[test]
fn every_refusal_is_the_specifications() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new("a").grow(50);
    let witness = open(dir.path(), &log);
    cosigned(&witness, &log.request(0, 20));

    // 400: what cannot be read, and an old size above the checkpoint's.
    for body in ["", "old 1\n\n", "old x\n\nnote", "nonsense"] {
        let answer = witness.add_checkpoint(body.as_bytes());
        assert!(
            matches!(answer, Answer::Malformed(_)),
            "{body:?}: {answer:?}"
        );
    }
    let backwards = AddCheckpoint {
        old: TreeSize(21),
        ..log.request(0, 20)
    };
    assert!(matches!(post(&witness, &backwards), Answer::Malformed(_)));

    // 404.
    let stranger = log
        .request(20, 30)
        .to_string()
        .replace(ORIGIN, "example.com/else");
    assert!(matches!(
        witness.add_checkpoint(stranger.as_bytes()),
        Answer::UnknownOrigin(_)
    ));

    // 403: no signature of a known key, or a wrong one beside a good one.
    let good = log.request(20, 30);
    let (text, lines) = good.checkpoint.split_once("\n\n").unwrap();
    let unknown = Ed25519Signer::from_seed("example.com/else", [7; 32]).unwrap();
    let text = format!("{text}\n");
    let by_another = AddCheckpoint {
        checkpoint: format!("{text}\n{}\n", unknown.sign(&text)),
        ..good.clone()
    };
    assert!(matches!(post(&witness, &by_another), Answer::NotSigned(_)));
    let other = log.keys.0.sign("something else\n");
    let ml_dsa_line = lines.lines().nth(1).unwrap();
    let one_wrong = AddCheckpoint {
        checkpoint: format!("{text}\n{other}\n{ml_dsa_line}\n"),
        ..good.clone()
    };
    assert!(matches!(post(&witness, &one_wrong), Answer::NotSigned(_)));
    // An unknown key beside a good one is ignored.
    let with_another = AddCheckpoint {
        checkpoint: format!("{text}\n{lines}{}\n", unknown.sign(&text)),
        ..good.clone()
    };

    // 409 says the size.
    for old in [0, 19] {
        assert_eq!(post(&witness, &log.request(old, 30)), Answer::Conflict(20));
    }
    assert_eq!(
        post(&witness, &log.request(0, 10)),
        Answer::Conflict(20),
        "a rollback"
    );

    // 422: a proof that is wrong, missing, too long; another root of the same size; an empty tree's.
    let mut wrong = good.clone();
    wrong.proof[0] = leaf_hash(b"wrong");
    let mut short = good.clone();
    short.proof.pop();
    let mut excess = good.clone();
    excess.proof.push(leaf_hash(b"more"));
    let fork = Log::new("b").grow(50);
    let same_size = AddCheckpoint {
        checkpoint: fork.note_at(20),
        ..log.request(20, 20)
    };
    for request in [wrong, short, excess, same_size, fork.request(20, 40)] {
        let answer = post(&witness, &request);
        assert!(matches!(answer, Answer::Inconsistent(_)), "{answer:?}");
    }
    // None of that moved anything, or kept the witness from going on.
    cosigned(&witness, &with_another);

    let fresh = tempfile::tempdir().unwrap();
    let witness = open(fresh.path(), &log);
    let proof_of_nothing = AddCheckpoint {
        proof: vec![leaf_hash(b"x")],
        ..log.request(0, 20)
    };
    assert!(matches!(
        post(&witness, &proof_of_nothing),
        Answer::Inconsistent(_)
    ));
    let text = format!("{ORIGIN}\n0\n{}\n", leaf_hash(b"no empty tree"));
    let empty = AddCheckpoint {
        old: TreeSize(0),
        proof: vec![],
        checkpoint: format!("{text}\n{}\n", log.keys.0.sign(&text)),
    };
    assert!(matches!(post(&witness, &empty), Answer::Inconsistent(_)));
    let counted: u64 = witness.status().answers.iter().map(|(_, n)| n).sum();
    assert_eq!(counted, 2);
}

#[test]
fn a_fork_leaves_evidence_that_convinces_without_the_witness() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new("a").grow(40);
    let fork = Log::new("b").grow(40);
    let witness = open(dir.path(), &log);
    cosigned(&witness, &log.request(0, 20));
    for _ in 0..2 {
        let answer = post(&witness, &fork.request(20, 30));
        assert!(matches!(answer, Answer::Inconsistent(_)), "{answer:?}");
    }
    let evidence = dir.path().join("evidence").join(origin_hash(ORIGIN));
    let pieces: Vec<_> = std::fs::read_dir(evidence).unwrap().collect();
    assert_eq!(pieces.len(), 1, "one piece for one statement");
    let piece = pieces[0].as_ref().unwrap().path();
    let kept = std::fs::read(piece.join("kept")).unwrap();
    let request = AddCheckpoint::parse(&std::fs::read(piece.join("request")).unwrap()).unwrap();
    let policy = log.policy();
    let kept = policy.check(&kept).unwrap().checkpoint;
    let shown = policy
        .check(request.checkpoint.as_bytes())
        .unwrap()
        .checkpoint;
    assert_eq!((kept.size.0, shown.size.0), (20, 30));
    let (old, new) = (kept.size, shown.size);
    assert!(
        tlog::proof::verify_consistency(old, new, &kept.root, &shown.root, &request.proof).is_err()
    );
}

#[test]
fn of_two_requests_at_once_one_is_judged_against_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new("a").grow(64);
    let fork = Log::new("b").grow(64);
    let witness = open(dir.path(), &log);
    cosigned(&witness, &log.request(0, 3));
    // Both have grown from what is kept; only one of them can be cosigned.
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let ask = |log: &Log| {
            let request = log.request(3, 40);
            let witness = &witness;
            scope.spawn(move || post(witness, &request))
        };
        let asked: Vec<_> = (0..4).map(|i| ask([&log, &fork][i % 2])).collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    let cosigned = answers
        .iter()
        .filter(|answer| matches!(answer, Answer::Cosigned(_)))
        .count();
    assert_eq!(cosigned, 1, "{answers:?}");
    let conflicts = answers.iter().filter(|a| **a == Answer::Conflict(40));
    assert_eq!(conflicts.count(), 3, "{answers:?}");
}

#[test]
fn a_clock_that_goes_back_takes_no_cosignature_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new("a").grow(40);
    let clock = Arc::new(TestClock::new());
    let witness = Witness::open(dir.path(), settings(&log, &clock)).unwrap();
    let before = cosigned(&witness, &log.request(0, 10));
    clock.jump(-3_600);
    let after = cosigned(&witness, &log.request(10, 20));
    assert!(after >= before, "{after:?} after {before:?}");
    drop(witness);
    let witness = Witness::open(dir.path(), settings(&log, &clock)).unwrap();
    assert!(cosigned(&witness, &log.request(20, 30)) >= after);
}

/// Fails the next `replace` of a key that ends as given, done or not.
struct Shaky {
    inner: Arc<dyn ObjectStore>,
    next: Arc<Mutex<Option<(&'static str, Left)>>>,
}

#[derive(Clone, Copy, Debug)]
enum Left {
    Nothing,
    All,
    AllUnsynced,
}

impl ObjectStore for Shaky {
    fn put_many(&self, objects: &[(&str, &[u8])]) -> store::Result<()> {
        self.inner.put_many(objects)
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> store::Result<()> {
        let mut next = self.next.lock().unwrap();
        let Some((_, left)) = next.filter(|(name, _)| key.ends_with(name)) else {
            return self.inner.replace(key, bytes);
        };
        *next = None;
        if !matches!(left, Left::Nothing) {
            self.inner.replace(key, bytes)?;
        }
        Err(match left {
            Left::AllUnsynced => StoreError::SyncFailed {
                path: key.into(),
                source: std::io::Error::other("injected"),
            },
            _ => StoreError::Injected {
                what: key.to_owned(),
            },
        })
    }

    fn get(&self, key: &str) -> store::Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }

    fn list(&self, prefix: &str) -> store::Result<Vec<String>> {
        self.inner.list(prefix)
    }

    fn delete(&self, key: &str) -> store::Result<()> {
        self.inner.delete(key)
    }
}

#[test]
fn nothing_is_signed_that_could_not_be_kept() {
    // What is left behind, and the size from which the witness goes on.
    for (left, size) in [
        (Left::Nothing, 20),
        (Left::All, 30),
        (Left::AllUnsynced, 30),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new("a").grow(50);
        let fork = Log::new("b").grow(50);
        let next = Arc::default();
        let failing = Arc::clone(&next);
        let clock = Arc::new(TestClock::new());
        let witness = Witness::open_with(dir.path(), settings(&log, &clock), |inner| {
            Arc::new(Shaky {
                inner,
                next: failing,
            })
        })
        .unwrap();
        cosigned(&witness, &log.request(0, 20));
        *next.lock().unwrap() = Some(("/checkpoint", left));
        let answer = post(&witness, &log.request(20, 30));
        assert!(matches!(answer, Answer::Failed(_)), "{left:?}: {answer:?}");

        let witness = if matches!(left, Left::AllUnsynced) {
            // What is on the disk is not known: nothing more is signed by this process.
            assert!(witness.status().failed.is_some());
            let answer = post(&witness, &log.request(20, 30));
            assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
            drop(witness);
            open(dir.path(), &log)
        } else {
            witness
        };
        if size == 30 {
            // Kept, and whoever was not answered learns so.
            assert_eq!(post(&witness, &fork.request(20, 30)), Answer::Conflict(30));
            let shown = witness.cosigned(&origin_hash(ORIGIN)).unwrap();
            assert!(shown.starts_with(&format!("{ORIGIN}\n30\n")), "{shown}");
        }
        cosigned(&witness, &log.request(size, 40));
    }
}

#[test]
fn a_directory_has_one_witness_with_one_name() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new("a").grow(5);
    let clock = Arc::new(TestClock::new());
    let witness = open(dir.path(), &log);
    let second = Witness::open(dir.path(), settings(&log, &clock)).unwrap_err();
    assert!(second.to_string().contains("another process"), "{second}");
    drop(witness);
    let renamed = Options {
        name: Some("witness.example/other".to_owned()),
        ..settings(&log, &clock)
    };
    let error = Witness::open(dir.path(), renamed).unwrap_err();
    assert!(error.to_string().contains("witness.example/w1"), "{error}");
    // One that has kept something goes on where it stood, and never starts over on a broken file.
    let witness = open(dir.path(), &log);
    cosigned(&witness, &log.request(0, 5));
    drop(witness);
    let file = dir
        .path()
        .join("logs")
        .join(origin_hash(ORIGIN))
        .join("checkpoint");
    std::fs::write(file, "torn").unwrap();
    assert!(Witness::open(dir.path(), settings(&log, &clock)).is_err());
}
