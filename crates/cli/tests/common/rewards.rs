//! A reward model over HTTP, and callers of it, without any library between them and the bytes.

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// A reward model that gives each query the number that it begins with; by the path it can do worse. Its threads end with
/// the test.
pub(crate) struct RewardModel {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl RewardModel {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // A caller that hung up is its own concern.
                thread::spawn(move || drop(answer(stream, &kept)));
            }
        });
        Self { address, heard }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, head and body.
    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The answer of the path `/get_reward`, in bytes.
pub(crate) fn rewards(body: &[u8]) -> String {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let queries = asked["query"].as_array().cloned().unwrap_or_default();
    let numbers: Vec<f64> = queries
        .iter()
        .map(|query| {
            query
                .as_str()
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    // A space that no program would write: bytes have to stay bytes.
    format!(
        " {}",
        json!({ "rewards": numbers, "scores": numbers, "extra_logs": { "ones": vec![1; numbers.len()] } })
    )
}

fn answer(mut stream: TcpStream, requests: &Mutex<Vec<Vec<u8>>>) -> io::Result<()> {
    let (head, body) = read(&mut stream, false)?;
    let whole = [head.as_bytes(), b"\r\n\r\n", &body].concat();
    requests
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(whole);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, content) = match path {
        "/500" => (
            "500 Internal Server Error",
            "{\"detail\": \"out of memory\"}".to_owned(),
        ),
        "/garbage" => ("200 OK", "<html>".to_owned()),
        "/nan" => ("200 OK", "{\"rewards\": [NaN]}".to_owned()),
        "/health" => ("200 OK", "well".to_owned()),
        "/slow" => {
            thread::sleep(Duration::from_secs(6));
            ("200 OK", rewards(&body))
        }
        "/cut" => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{{\"rewards\""
            )?;
            return Ok(());
        }
        "/chunked" => {
            let text = rewards(&body);
            let (first, rest) = text.split_at(5);
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
                rest.len()
            )?;
            return Ok(());
        }
        _ => ("200 OK", rewards(&body)),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Model: Rm-1\r\nContent-Length: {}\r\nKeep-Alive: \
         timeout=5\r\nConnection: close\r\n\r\n{content}",
        content.len()
    )
}

/// Head and body of a message; `to_end` where its end is that of the connection.
pub(crate) fn read(stream: &mut impl Read, to_end: bool) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..read]);
        let end = bytes
            .windows(4)
            .take(16 << 10)
            .position(|window| window == b"\r\n\r\n");
        let Some(end) = end else {
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let length = length.or_else(|| head.starts_with("GET ").then_some(0));
        if length.is_some_and(|length: usize| bytes.len() >= end + 4 + length) && !to_end
            || read == 0
        {
            return Ok((head, bytes[end + 4..].to_vec()));
        }
    }
}

/// Asks as OpenRLHF does, over a connection of its own; head and body of the answer.
pub(crate) fn ask(address: &str, path: &str, body: &[u8]) -> io::Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nX-Trainer-Id: A1\r\nConnection: \
         close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    read(&mut stream, true)
}

/// A request for rewards, with a space that no program would write.
pub(crate) fn query(numbers: &[u64]) -> Vec<u8> {
    let texts: Vec<String> = numbers
        .iter()
        .map(|n| format!("{n} Frage, Antwort 😀"))
        .collect();
    let prompts: Vec<String> = numbers.iter().map(|n| format!("{n} Frage,")).collect();
    format!(
        " {}",
        json!({ "query": texts, "prompts": prompts, "labels": vec![Value::Null; texts.len()] })
    )
    .into_bytes()
}
