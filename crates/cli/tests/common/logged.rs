//! A server whose whole log is kept.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::{Desk, eventually};

/// `rlhf-audit serve`, with standard error in a file; killed when dropped.
pub(crate) struct Logged {
    child: Child,
    log: PathBuf,
    pub(crate) url: String,
}

impl Logged {
    pub(crate) fn start(desk: &Desk, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = desk.path("server.log");
        let file = File::create(&log).unwrap();
        let child = desk
            .command(&[&["serve"], args].concat())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            log,
            url: String::new(),
        };
        eventually("the server says where it listens", || {
            let log = server.log();
            let Some((_, rest)) = log.split_once(" on http") else {
                return false;
            };
            let rest = rest.split_whitespace().next();
            server.url = format!("http{}", rest.unwrap_or_default());
            server.url.contains("://")
        });
        server
    }

    /// Everything it has said so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request with a body, and perhaps a token; the status and the body of the answer.
pub(crate) fn send(url: &str, method: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    use std::fmt::Write as _;
    use std::io::{Read as _, Write as _};
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    write!(request, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
