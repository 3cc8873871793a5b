//! Ten times what a server has room for: its memory stays within bounds, it says that it is too much, and afterwards it
//! goes on.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use client::Wait;
use common::load::{Producer, client, settle};
use common::{ADMIN, Desk, Server};

/// Each declares and sends so much: about what one request may hold.
const BODY: usize = 20 << 20;
const CONNECTIONS: usize = 64;
/// The room for bodies (128 MiB), the queue (64 MiB), a group and its copies, and as much again for the allocator.
const BOUND_KIB: u64 = 640 << 10;

/// Of `/proc/<pid>/status`, in KiB.
fn memory(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.unwrap().trim_start_matches(':').trim();
    number.trim_end_matches(" kB").parse().unwrap()
}

/// Sends a body and says what was answered; 0 where the connection was closed before that could be read.
fn flood(address: &str, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    let head = format!(
        "POST /v1/records HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {ADMIN}\r\nconnection: close\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // It may answer, and hang up, before everything is sent.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    text.split_whitespace()
        .nth(1)
        .map_or(0, |status| status.parse().unwrap())
}

#[test]
fn memory_is_bounded_under_ten_times_what_there_is_room_for() {
    let desk = Desk::with_ledger();
    let mut crew = Producer::crew(2, 6_000);
    settle(&desk, &mut crew);
    let server = Server::start(&desk);
    let address = server.url.trim_start_matches("http://").to_owned();
    let before = memory(&server, "VmRSS");
    // What is no record is read whole before it is refused.
    let body = vec![b'x'; BODY];
    let (refused, overloaded) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| match flood(&address, &body) {
                400 | 413 | 422 => refused.fetch_add(1, Ordering::Relaxed),
                503 => overloaded.fetch_add(1, Ordering::Relaxed),
                0 => 0,
                other => panic!("{other}"),
            });
        }
        // Others are served meanwhile.
        assert!(server.is_live());
    });
    let peak = memory(&server, "VmHWM");
    eprintln!(
        "{CONNECTIONS} bodies of {} MiB at once: {} read and refused, {} turned away; memory {} MiB before, {} MiB at most",
        BODY >> 20,
        refused.load(Ordering::Relaxed),
        overloaded.load(Ordering::Relaxed),
        before >> 10,
        peak >> 10
    );
    assert!(peak < BOUND_KIB, "{peak} KiB");
    let client = client(&server.url);
    for producer in &mut crew {
        producer.send_and(&client, 9, Wait::Published).unwrap();
    }
    server.stop();
    settle(&desk, &mut crew);
}
