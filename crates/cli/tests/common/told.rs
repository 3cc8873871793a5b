//! Who is told: receivers of webhooks and of mail.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::json;
use testkit::services;

use super::eventually;

/// What signs webhooks.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Keeps what is posted to it, headers and all.
pub(crate) fn receiver() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (send, posts) = channel();
    thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let (mut request, mut chunk) = (String::new(), [0; 4096]);
            while !whole(&request) {
                let read = stream.read(&mut chunk).unwrap();
                request.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
            }
            // The first is refused: it is sent again, under the same id.
            let status = if at == 0 { "500 Not Now" } else { "204 Taken" };
            write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            .unwrap();
            if send.send(request).is_err() {
                return;
            }
        }
    });
    (url, posts)
}

fn whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    header(head, "content-length").parse::<usize>().unwrap() == body.len()
}

/// The value of a header; nothing where there is none.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value)
}

/// The library of Standard Webhooks itself says whether it would take a post.
pub(crate) fn is_taken(request: &str, secret: &str) -> bool {
    const SCRIPT: &str = "
import json, sys
from standardwebhooks.webhooks import Webhook
post = json.load(sys.stdin)
Webhook(sys.argv[1]).verify(post['body'], post['headers'])
";
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: BTreeMap<_, _> = names.map(|name| (name, header(head, name))).into();
    let mut python = Command::new(services::python("standardwebhooks"))
        .args(["-c", SCRIPT, secret])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let post = json!({ "body": body, "headers": headers }).to_string();
    python
        .stdin
        .take()
        .unwrap()
        .write_all(post.as_bytes())
        .unwrap();
    python.wait().unwrap().success()
}

/// A program that serves until it is dropped, and what it prints.
pub(crate) struct Printing {
    child: Child,
    pub(crate) port: u16,
    pub(crate) lines: Receiver<String>,
}

impl Printing {
    fn start(mut command: Command, port: u16) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let printed = BufReader::new(child.stdout.take().unwrap()).lines();
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in printed.map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let server = Self { child, port, lines };
        eventually("it listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// An SMTP server that prints what it gets.
pub(crate) struct MailServer;

impl MailServer {
    /// With further arguments of aiosmtpd's.
    pub(crate) fn start(args: &[&str]) -> Printing {
        let port = free_port();
        let mut command = Command::new(services::python("aiosmtpd"));
        command
            .args(["-u", "-m", "aiosmtpd", "-n", "-l"])
            .arg(format!("127.0.0.1:{port}"))
            .args(args)
            .args(["-c", "aiosmtpd.handlers.Debugging", "stdout"]);
        Printing::start(command, port)
    }
}

/// Takes posts over TLS and prints each body on a line.
pub(crate) fn https_receiver(certificate: &Path, key: &Path) -> Printing {
    const SCRIPT: &str = "
import http.server, ssl, sys
class Take(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        print(body.decode(), flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Take)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
";
    let port = free_port();
    let mut command = Command::new(services::python("standardwebhooks"));
    command
        .args(["-u", "-c", SCRIPT, &port.to_string()])
        .args([certificate, key]);
    Printing::start(command, port)
}
