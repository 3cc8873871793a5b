//! A client is a witness: what it was shown once, it holds a server to (I20). The servers here hand out
//! the files of logs that were really signed, the honest ones and the forked.

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{Client, ClientError, Memory, RetryPolicy, Wait};
use tlog::{
    AddCheckpoint, Checkpoint, Ed25519Signer, HashReader as _, MemoryTree, MlDsa44Signer, Policy,
    TileId, TileLevel, TreeSize, leaf_hash,
};

const ORIGIN: &str = "rlhf-audit.example/remembered";

struct Log {
    tree: MemoryTree,
    keys: (Ed25519Signer, MlDsa44Signer),
}

impl Log {
    /// Logs of one key share their first three leaves and no more.
    fn new(word: &str, size: u64, key: u8) -> Self {
        let leaf = |index| {
            let word = if index < 3 { "same" } else { word };
            leaf_hash(format!("{word} {index}").as_bytes())
        };
        Self {
            tree: (0..size).map(leaf).collect(),
            keys: (
                Ed25519Signer::from_seed(ORIGIN, [key; 32]).unwrap(),
                MlDsa44Signer::from_seed(ORIGIN, [key; 32]).unwrap(),
            ),
        }
    }

    fn policy(&self) -> String {
        tlog::policy::ledger_policy(self.keys.0.verifier_key(), self.keys.1.verifier_key())
    }

    fn note(&self, size: u64) -> String {
        let root = tlog::root(&self.tree, TreeSize(size)).unwrap();
        let checkpoint = Checkpoint::new(ORIGIN, TreeSize(size), root).unwrap();
        let note = checkpoint.sign(&self.keys.0, &self.keys.1, 1_795_420_800);
        note.unwrap().to_string()
    }
}

type Files = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// Hands out files, as any web server does.
struct Server {
    url: String,
    files: Files,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let files = Files::default();
        let shared = Arc::clone(&files);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let Some(Ok(first)) = lines.next() else {
                    continue;
                };
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                let path = first.split(' ').nth(1).unwrap().to_owned();
                let found = shared.lock().unwrap().get(&path).cloned();
                let (status, body) = match found {
                    Some(body) => ("200 OK", body),
                    None => (
                        "404 Not Found",
                        br#"{"status":404,"code":"not-found","detail":"no"}"#.to_vec(),
                    ),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            }
        });
        Self { url, files }
    }

    /// Shows a log of so many leaves, from now on.
    fn show(&self, log: &Log, size: u64) {
        let mut files = HashMap::new();
        files.insert("/log/policy".to_owned(), log.policy().into_bytes());
        for id in tlog::tile::tiles_for_size(TreeSize(size)) {
            if let TileLevel::Hashes(_) = id.level() {
                let tile = log.tree.read_tile(id).unwrap();
                let hashes = &tile.hashes()[..usize::from(id.width())];
                let bytes: Vec<u8> = hashes.iter().flat_map(|h| *h.as_bytes()).collect();
                files.insert(format!("/log/{}", TileId::path(id)), bytes);
            }
        }
        files.insert("/log/checkpoint".to_owned(), log.note(size).into_bytes());
        *self.files.lock().unwrap() = files;
    }

    fn replace(&self, path: &str, with: Option<Vec<u8>>) {
        let mut files = self.files.lock().unwrap();
        match with {
            Some(bytes) => files.insert(path.to_owned(), bytes),
            None => files.remove(path),
        };
    }

    fn client(&self, dir: &Path) -> Result<Client, ClientError> {
        self.with(memory(dir))
    }

    fn with(&self, memory: Memory) -> Result<Client, ClientError> {
        Client::new(&self.url, None)
            .unwrap()
            .with_retry(RetryPolicy::NEVER)
            .remembering(memory)
    }
}

fn memory(dir: &Path) -> Memory {
    Memory::new(dir).with_patience(Duration::ZERO)
}

/// The contradiction found, and what is in the evidence.
#[track_caller]
fn contradiction(result: Result<Client, ClientError>) -> (String, HashMap<String, String>) {
    match result {
        Err(ClientError::Contradiction { what, evidence }) => {
            let pieces = std::fs::read_dir(evidence).unwrap().map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read_to_string(entry.path()).unwrap())
            });
            (what, pieces.collect())
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn a_log_that_grows_is_followed_through_every_kind_of_tile() {
    let dir = tempfile::tempdir().unwrap();
    let (server, log) = (Server::start(), Log::new("a", 70_000, 1));
    // Nothing shown is nothing to remember.
    server.client(dir.path()).unwrap();
    for size in [0, 1, 3, 255, 256, 257, 700, 65_536, 65_537, 70_000] {
        server.show(&log, size);
        server.client(dir.path()).unwrap();
        server.client(dir.path()).unwrap();
    }
    server.show(&log, 69_999);
    let (what, pieces) = contradiction(server.client(dir.path()));
    assert!(what.contains("rolled back"), "{what}");
    assert_eq!(pieces["kept"], log.note(70_000));
    assert_eq!(pieces["shown"], log.note(69_999));
}

#[test]
fn a_fork_is_refused_at_any_size_with_a_proof_that_it_is_one() {
    for (kept, shown) in [(4, 4), (4, 5), (256, 300), (300, 70_000), (300, 300)] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start();
        let (log, fork) = (Log::new("a", kept, 1), Log::new("b", shown, 1));
        server.show(&log, kept);
        server.client(dir.path()).unwrap();
        server.show(&fork, shown);
        let (what, pieces) = contradiction(server.client(dir.path()));
        assert!(
            what.contains("histor") || what.contains("changed"),
            "{what}"
        );
        // Whoever has the log's key and the evidence sees it without asking anybody.
        let policy = Policy::parse(log.policy().as_bytes()).unwrap();
        let before = policy.check(pieces["kept"].as_bytes()).unwrap().checkpoint;
        let after = policy.check(pieces["shown"].as_bytes()).unwrap().checkpoint;
        if kept == shown {
            assert_ne!(before.root, after.root);
        } else {
            let request = AddCheckpoint::parse(pieces["proof"].as_bytes()).unwrap();
            let (old, new, proof) = (before.size, after.size, &request.proof);
            let held = tlog::proof::verify_consistency(old, new, &before.root, &after.root, proof);
            assert!(held.is_err());
        }
        // The refusal does not make the client forget.
        contradiction(server.client(dir.path()));
        server.show(&log, kept);
        server.client(dir.path()).unwrap();
    }
}

#[test]
fn a_fork_while_a_client_works_ends_its_appends() {
    let dir = tempfile::tempdir().unwrap();
    let (server, log) = (Server::start(), Log::new("a", 20, 1));
    server.show(&log, 10);
    server.replace("/v1/records", Some(br#"{"records":[]}"#.to_vec()));
    let client = server.client(dir.path()).unwrap();
    client.append(&[], Wait::Durable).unwrap();
    client.conclude().unwrap();
    server.show(&Log::new("b", 20, 1), 20);
    server.replace("/v1/records", Some(br#"{"records":[]}"#.to_vec()));
    let began = Instant::now();
    let refused = loop {
        match client.append(&[], Wait::Durable) {
            Ok(_) => assert!(began.elapsed() < Duration::from_secs(30), "never noticed"),
            Err(error) => break error,
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let again = client.clone().conclude().unwrap_err();
    for error in [refused, again] {
        assert!(
            matches!(error, ClientError::Contradiction { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_server_that_is_only_behind_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let (server, log) = (Arc::new(Server::start()), Log::new("a", 30, 1));
    server.show(&log, 20);
    server.client(dir.path()).unwrap();
    server.show(&log, 15);
    let (later, own) = (Arc::clone(&server), Log::new("a", 30, 1));
    let catching_up = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        later.show(&own, 25);
    });
    let patient = Memory::new(dir.path()).with_patience(Duration::from_secs(30));
    server.with(patient).unwrap();
    catching_up.join().unwrap();
    server.show(&log, 24);
    contradiction(server.client(dir.path()));
}

#[test]
fn keys_are_trusted_on_first_use_and_not_again() {
    let dir = tempfile::tempdir().unwrap();
    let (server, log) = (Server::start(), Log::new("a", 10, 1));
    let stranger = Log::new("a", 10, 2);
    // Of a server that gives no key, or one that did not sign, nothing is believed.
    server.show(&log, 5);
    server.replace("/log/policy", None);
    assert!(server.client(dir.path()).is_err());
    server.replace("/log/policy", Some(stranger.policy().into_bytes()));
    assert!(matches!(
        server.client(dir.path()),
        Err(ClientError::Unexpected { .. })
    ));
    server.show(&log, 5);
    server.client(dir.path()).unwrap();
    // Another key for the same log, whatever policy comes with it.
    server.show(&stranger, 6);
    let (what, pieces) = contradiction(server.client(dir.path()));
    assert!(what.contains("not signed"), "{what}");
    assert_eq!(pieces["kept"], log.note(5));
    // A key from elsewhere is believed before the server's.
    let policy = Policy::parse(log.policy().as_bytes()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let given = memory(elsewhere.path()).with_policy(policy);
    contradiction(server.with(given.clone()));
    server.show(&log, 7);
    server.with(given).unwrap();
}

#[test]
fn tiles_that_are_withheld_or_wrong_show_nothing_to_be_true() {
    let dir = tempfile::tempdir().unwrap();
    let (server, log) = (Server::start(), Log::new("a", 600, 1));
    server.show(&log, 300);
    server.client(dir.path()).unwrap();
    server.show(&log, 600);
    server.replace("/log/tile/0/001", None);
    let error = server.client(dir.path()).unwrap_err();
    assert!(
        error.to_string().contains("not the tiles under it"),
        "{error}"
    );
    server.replace("/log/tile/0/001", Some(vec![7; 256 * 32]));
    contradiction(server.client(dir.path()));
    // A partial tile may have given way to the full one.
    server.show(&log, 600);
    let full = log
        .tree
        .read_tile(TileId::new(TileLevel::Hashes(0), 1, 256).unwrap())
        .unwrap();
    let bytes: Vec<u8> = full.hashes().iter().flat_map(|h| *h.as_bytes()).collect();
    server.replace("/log/checkpoint", Some(log.note(500).into_bytes()));
    server.replace("/log/tile/0/001", Some(bytes));
    server.replace("/log/tile/1/000.p/1", Some(log.tree_root_of_first_tile()));
    server.client(dir.path()).unwrap();
}

impl Log {
    fn tree_root_of_first_tile(&self) -> Vec<u8> {
        let root = tlog::root(&self.tree, TreeSize(256)).unwrap();
        root.as_bytes().to_vec()
    }
}

#[test]
fn clients_that_share_a_memory_forget_nothing_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (server, log) = (Server::start(), Log::new("a", 400, 1));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for size in (0..=400).step_by(20) {
                    let own = Log::new("a", 400, 1);
                    server.show(&own, size.max(1));
                    // Others may have shown more meanwhile: that is a rollback to this one, and stays one.
                    let _ = server.client(dir.path());
                }
            });
        }
    });
    server.show(&log, 400);
    server.client(dir.path()).unwrap();
    let kept = std::fs::read_dir(dir.path().join("logs")).unwrap();
    let kept = kept.last().unwrap().unwrap().path().join("checkpoint");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), log.note(400));
    server.show(&Log::new("b", 400, 1), 400);
    contradiction(server.client(dir.path()));
}

#[test]
fn a_memory_that_cannot_be_written_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "no directory").unwrap();
    let (server, log) = (Server::start(), Log::new("a", 10, 1));
    server.show(&log, 5);
    assert!(matches!(
        server.client(&file),
        Err(ClientError::Memory { .. })
    ));
}
