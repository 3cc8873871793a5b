//! More than the server can take: it says so at once, keeps to its bounds, and goes on when the flood is over. Clients
//! that send, read or wait without end are cut off.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use ledger::{Ledger, Stores};
use record::kinds::AnnotationDemonstration;
use record::{Draft, Subject};
use serde_json::json;
use store::{Group, Journal, JournalEntry};

use super::support::{Server, SystemClock, SystemEntropy, code, eventually};

/// A journal on a disk that stands still while the gate is shut.
struct Gated {
    inner: Box<dyn Journal>,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let shut = self.shut.lock().unwrap();
        drop(self.opened.wait_while(shut, |shut| *shut).unwrap());
    }
}

impl Journal for Gated {
    fn next_index(&self) -> u64 {
        self.inner.next_index()
    }

    fn append_group(&mut self, first: u64, entries: &[JournalEntry<'_>]) -> store::Result<()> {
        self.gate.pass();
        self.inner.append_group(first, entries)
    }

    fn replay(
        &self,
        from: u64,
        visit: &mut dyn FnMut(Group<'_>) -> store::Result<()>,
    ) -> store::Result<()> {
        self.inner.replay(from, visit)
    }

    fn discard_before(&mut self, index: u64) -> store::Result<()> {
        self.inner.discard_before(index)
    }
}

fn gated(options: server::Options) -> (Server, Arc<Gate>) {
    let dir = tempfile::tempdir().unwrap();
    let settings = || ledger::Options::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
    drop(Ledger::create(dir.path(), settings()).unwrap());
    let gate = Arc::new(Gate::default());
    let ours = Arc::clone(&gate);
    let wrap = |stores: Stores| Stores {
        journal: Box::new(Gated {
            inner: stores.journal,
            gate: ours,
        }),
        ..stores
    };
    let ledger = Ledger::open_with(dir.path(), settings(), wrap).unwrap();
    (Server::start_on(dir, ledger, options), gate)
}

/// I5, and nothing waits without end: with a disk that stands still, what waits is bounded, and who comes on top of it
/// is turned away at once. All who were let in are answered once the disk goes on.
#[test]
fn a_disk_that_stands_still_fills_the_queue_and_then_turns_away() {
    let (server, gate) = gated(server::Options::default());
    // Four sealed values of 1 MiB each: in all more than the queue and the turn under way take.
    let value = json!("v".repeat((1 << 20) - 2));
    let mut streams: Vec<_> = (0..24)
        .map(|n| server.open_run(&format!("run-{n}"), &server.producer))
        .collect();
    for stream in &mut streams {
        for _ in 0..4 {
            let draft = Draft::new(AnnotationDemonstration::new());
            stream.write(draft.seal("response", &value, Subject::Run));
        }
    }
    gate.set(true);
    let server = &server;
    let mut turned_away = Vec::new();
    thread::scope(|scope| {
        let (told, answers) = std::sync::mpsc::channel();
        for stream in streams {
            let told = told.clone();
            scope.spawn(move || {
                let answer = server.post_lines(&stream.lines(), Some(&server.producer));
                let _ = told.send((answer, stream));
            });
        }
        drop(told);
        // Whoever is answered while nothing can be written has been turned away; the others wait.
        let (first, stream) = answers.recv_timeout(Duration::from_mins(2)).unwrap();
        assert_eq!((first.status, code(&first).as_str()), (503, "overloaded"));
        assert!(first.header("retry-after").parse::<u32>().unwrap() >= 1);
        turned_away.push(stream);
        // Nobody else is kept waiting by it.
        assert_eq!(server.ask("get", "/health/live", None, None).status, 200);
        let read = server.ask("get", "/v1/records", Some(&server.reader), None);
        assert_eq!(read.status, 200);
        gate.set(false);
        let mut taken = 0;
        for (answer, stream) in answers {
            if answer.status == 201 {
                taken += 1;
            } else {
                assert_eq!((answer.status, code(&answer).as_str()), (503, "overloaded"));
                turned_away.push(stream);
            }
        }
        assert!(taken > 0, "nobody was let in");
    });
    // Nothing of what was turned away was recorded, and it is taken now.
    for mut stream in turned_away {
        server.take(&mut stream);
    }
}

/// The head of an append, and the beginning of its body.
fn begin_append(server: &Server, length: usize, body: &[u8]) -> std::net::TcpStream {
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v1/records HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {length}\r\n\r\n",
        server.producer
    )
    .unwrap();
    stream.write_all(body).unwrap();
    stream
}

/// What a server sent before it closed the connection.
fn rest(mut stream: std::net::TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection closed with bytes unread may end in a reset, after the answer.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn half_sent_bodies_take_a_bounded_room_and_lose_it() {
    let server = Server::start_with(server::Options {
        body_room: 4 << 20,
        body_stall: Duration::from_secs(2),
        ..server::Options::default()
    });
    let mut stream = server.open_run("after", &server.producer);
    let half = vec![b' '; 2 << 20];
    let held: Vec<_> = (0..6)
        .map(|_| begin_append(&server, 3 << 20, &half))
        .collect();
    let answers: Vec<_> = held.into_iter().map(rest).collect();
    let (full, rest): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|answer| answer.starts_with("HTTP/1.1 503 "));
    assert!(
        full.iter().all(|answer| answer.contains("overloaded")
            && answer.to_lowercase().contains("retry-after: ")),
        "{answers:?}"
    );
    // There was room for one or two; the others may have been reset before they could read why.
    assert!(rest.len() < 6, "{answers:?}");
    let stalled = rest
        .iter()
        .filter(|answer| answer.starts_with("HTTP/1.1 408 "));
    assert!((1..=2).contains(&stalled.count()), "{answers:?}");
    // What they held is free again.
    stream.draft();
    server.take(&mut stream);
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let server = Server::start_with(server::Options {
        header_timeout: Duration::from_millis(300),
        ..server::Options::default()
    });
    assert_eq!(rest(server.connect()), "", "a connection without a request");
    let mut idle = server.connect();
    write!(idle, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let answer = rest(idle);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Also a reader that does not read holds a connection, and what is to be sent to it.
#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::start_with(server::Options {
        write_stall: Duration::from_millis(300),
        max_connections: 1,
        ..server::Options::default()
    });
    let mut deaf = server.connect();
    // Pages enough to fill what the two systems buffer.
    let asked = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2_000);
    deaf.set_write_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let _ = deaf.write_all(asked.as_bytes());
    // The only connection there is comes free.
    eventually(|| {
        let mut next = server.connect();
        write!(
            next,
            "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .ok()?;
        rest(next).starts_with("HTTP/1.1 200 ").then_some(())
    });
    drop(deaf);
}
