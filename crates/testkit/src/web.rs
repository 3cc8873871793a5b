//! A static file server and a webhook in one thread: what serves a log to a monitor, and hears of it.

#![expect(
    clippy::missing_panics_doc,
    reason = "what cannot be set up fails the test"
)]

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// The body of an HTTP request with a `content-length`, and its request line.
///
/// # Errors
/// The connection ended early, or is no request.
pub fn read_request(stream: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&chunk[..read]);
        let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        let lower = head.to_ascii_lowercase();
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length
            .map_or(Ok(0), |length| length.trim().parse())
            .map_err(io::Error::other)?;
        if request.len() >= end + 4 + length {
            let line = head.lines().next().unwrap_or_default().to_owned();
            return Ok((line, request[end + 4..end + 4 + length].to_vec()));
        }
    }
}

/// Serves the files of a directory, and keeps what is sent by `POST`.
pub struct Web {
    /// Where, without a final slash.
    pub url: String,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    posts: Arc<Mutex<Posts>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Posts {
    taken: Vec<Vec<u8>>,
    /// The paths of what was asked for.
    asked: Vec<String>,
    /// How many are still to be answered with 500.
    refuse: usize,
}

impl Web {
    /// Serves `root` on a port of its own.
    pub fn serve(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, posts) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, kept) = (Arc::clone(&stop), Arc::clone(&posts));
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                // A client that hung up is its own concern.
                let _ = answer(stream, &root, &kept);
            }
        });
        Self {
            url: format!("http://{address}"),
            address,
            stop,
            posts,
            thread: Some(thread),
        }
    }

    /// Answers the next `count` requests by `POST` with 500.
    pub fn refuse(&self, count: usize) {
        self.lock().refuse = count;
    }

    /// The bodies of the requests by `POST` that were taken.
    pub fn posts(&self) -> Vec<Vec<u8>> {
        self.lock().taken.clone()
    }

    /// The paths asked for since the last call, in order.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().asked)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Posts> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes it from `accept`.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, root: &std::path::Path, posts: &Mutex<Posts>) -> io::Result<()> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    let (line, body) = read_request(&mut stream)?;
    let mut words = line.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut content = Vec::new();
    let status = if method == "POST" {
        let mut posts = posts.lock().unwrap_or_else(PoisonError::into_inner);
        if posts.refuse > 0 {
            posts.refuse -= 1;
            "500 Not Now"
        } else {
            posts.taken.push(body);
            "204 Taken"
        }
    } else {
        let mut posts = posts.lock().unwrap_or_else(PoisonError::into_inner);
        posts.asked.push(path.to_owned());
        drop(posts);
        match std::fs::read(root.join(path.trim_start_matches('/'))) {
            Ok(bytes) => {
                content = bytes;
                "200 OK"
            }
            Err(_) => "404 Not Found",
        }
    };
    let length = content.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )?;
    stream.write_all(&content)
}
