//! A log read over HTTP, from a static file server with a token, as any reader would.
#![cfg(feature = "url")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use common::{Good, has, two_runs};
use verify::{Check, Options, Source, Verdict, VerifyError};

/// Serves a directory until it is dropped.
struct Server {
    address: String,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, counted, root) = (stop.clone(), asked.clone(), root.to_owned());
        let thread = thread::spawn(move || {
            thread::scope(|scope| {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let (root, counted) = (&root, &counted);
                    scope.spawn(move || serve(stream.unwrap(), root, counted));
                }
            });
        });
        Self {
            address,
            stop,
            asked,
            thread: Some(thread),
        }
    }

    fn source(&self, token: Option<&str>) -> Source {
        Source::url(&format!("http://{}/log/", self.address), token).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(&self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// One request, one answer, one connection.
fn serve(mut stream: TcpStream, root: &Path, asked: &AtomicU64) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else {
        return;
    };
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .map(|line| line.to_ascii_lowercase())
        .collect();
    let path = request
        .split(' ')
        .nth(1)
        .unwrap()
        .strip_prefix("/log/")
        .unwrap()
        .to_owned();
    let allowed = headers
        .iter()
        .any(|header| header == "authorization: bearer rat_secret");
    // The first request meets a busy server: it is asked again.
    let (status, body) = if asked.fetch_add(1, Ordering::Relaxed) == 0 {
        ("503 Service Unavailable", Vec::new())
    } else if path.contains("entries") && !allowed {
        ("401 Unauthorized", Vec::new())
    } else {
        let file: PathBuf = root.join(path);
        std::fs::read(file).map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body))
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body))
        .ok();
}

#[test]
fn a_log_at_a_url() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let server = Server::start(good.dir.path());
    let source = server.source(Some("rat_secret"));
    let report = verify::log(&source, &good.policy, &Options::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    assert_eq!(report.counts.records, log.size());
    assert!(
        report.to_string().contains("not looked for"),
        "files cannot be listed: {report}"
    );
    assert!(server.asked.load(Ordering::Relaxed) > 7);

    std::fs::remove_file(good.path("tile/0/001")).unwrap();
    let report = verify::log(&source, &good.policy, &Options::default()).unwrap();
    assert_eq!(report.failures_total, 1, "{report}");
    assert!(has(&report, Check::MissingFile), "{report}");
}

#[test]
fn no_token_no_verdict() {
    let good = Good::new(&two_runs(1));
    let server = Server::start(good.dir.path());
    let outcome = verify::log(&server.source(None), &good.policy, &Options::default());
    let Err(VerifyError::Unavailable { what, why }) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        what.contains("/log/tile/entries/") && why.contains("401"),
        "{what}: {why}"
    );
}

#[test]
fn what_is_no_log_and_what_is_no_url() {
    let empty = tempfile::tempdir().unwrap();
    let server = Server::start(empty.path());
    let outcome = verify::log(
        &server.source(None),
        &two_runs(1).policy(),
        &Options::default(),
    );
    assert!(
        matches!(outcome, Err(VerifyError::NoCheckpoint { .. })),
        "{outcome:?}"
    );
    assert!(matches!(
        Source::url("ftp://x", None),
        Err(VerifyError::Usage(_))
    ));
}
