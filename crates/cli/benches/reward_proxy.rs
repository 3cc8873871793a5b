//! What the proxy adds to a call of a reward model: calls with it and without it, in turns, on loopback. Prints both
//! medians, and their difference beside the 2 ms that it may be.
//!
//! `BATCH=8 CALLS=2000 cargo bench -p rlhf-audit --bench reward_proxy`

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be set up ends the measurement"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the proxy may add at the median.
const ALLOWED: Duration = Duration::from_millis(2);
/// The bytes of each query, prompt and response together.
const QUERY_BYTES: usize = 4_096;

fn main() {
    let (batch, calls) = (number("BATCH", 8), number("CALLS", 2_000));
    let desk = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rlhf-audit"));
        command
            .args(args)
            .current_dir(desk.path())
            .env("RLHF_AUDIT_STATE_DIR", desk.path().join("state"));
        command
    };
    assert!(
        run(&["init"])
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let token = "rat_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let server = Started::new(run(&["serve", "--port", "0", "--admin-token", token]));
    let model = reward_model(batch);
    let server_url = format!("http://{}", server.address);
    println!("{calls} calls of {batch} queries of {QUERY_BYTES} bytes each way, in turns");
    for on_error in ["pass", "refuse"] {
        let upstream = format!("http://{model}");
        let proxy = Started::new(run(&[
            "proxy",
            "reward",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            &upstream,
            "--name",
            on_error,
            "--on-error",
            on_error,
            "--spool",
            on_error,
            "--server",
            &server_url,
            "--token",
            token,
        ]));
        let body = request(batch);
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..calls + 50 {
            without.push(call(model, &body));
            with.push(call(proxy.address, &body));
        }
        let (without, with) = (percentiles(without), percentiles(with));
        let added = with.0.saturating_sub(without.0);
        let verdict = if added <= ALLOWED { "kept" } else { "MISSED" };
        println!(
            "--on-error {on_error:6}  without {:>8.3?} (p99 {:>8.3?})   with {:>8.3?} (p99 {:>8.3?})   adds {added:>8.3?} at p50; at \
             most {ALLOWED:?}: {verdict}",
            without.0, without.1, with.0, with.1,
        );
    }
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A command that says where it listens; killed when dropped.
struct Started {
    child: Child,
    address: SocketAddr,
}

impl Started {
    fn new(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("on http://")?;
            rest.split_whitespace().next()?.parse().ok()
        });
        // Keep the pipe drained.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.expect("it says where it listens"),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers each call at once.
fn reward_model(batch: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let content = format!("{{\"rewards\":{0:?},\"scores\":{0:?}}}", vec![0.5; batch]);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let content = content.clone();
            std::thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                read_message(&mut stream);
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: \
                     close\r\n\r\n{content}",
                    content.len()
                );
            });
        }
    });
    address
}

/// A call over a connection of its own, as OpenRLHF makes them.
fn call(address: SocketAddr, body: &[u8]) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(body).unwrap();
    let answer = read_message(&mut stream);
    let took = began.elapsed();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    took
}

fn request(batch: usize) -> Vec<u8> {
    let prompt = "p".repeat(QUERY_BYTES / 2);
    let query = format!("{prompt}{}", "r".repeat(QUERY_BYTES / 2));
    let content = format!(
        "{{\"query\":{:?},\"prompts\":{:?}}}",
        vec![query; batch],
        vec![prompt; batch]
    );
    let head = format!(
        "POST /get_reward HTTP/1.1\r\nhost: rm\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        content.len()
    );
    format!("{head}{content}").into_bytes()
}

/// A message with a `content-length`, whole.
fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut chunk).unwrap_or(0);
        bytes.extend_from_slice(&chunk[..read]);
        let head = bytes
            .windows(4)
            .take(4_096)
            .position(|window| window == b"\r\n\r\n");
        let length = head.and_then(|end| {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| {
                line.strip_prefix("content-length:")?
                    .trim()
                    .parse::<usize>()
                    .ok()
            });
            Some(end + 4 + length?)
        });
        if read == 0 || length.is_some_and(|length| bytes.len() >= length) {
            return bytes;
        }
    }
}

/// p50 and p99, without the first 50, which warm up.
fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.drain(..50);
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
