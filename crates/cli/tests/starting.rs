//! Starting where something is wrong: each trouble is said with its remedy; and `rlhf-audit health`, which asks how it went.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use common::disk::{Tmpfs, fill};
use common::logged::Logged;
use common::{ADMIN, Desk, Server, get, text};

const NOBODY: u32 = 65_534;

/// Answers one request with this and ends.
fn answering(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4_096];
        let _ = stream.read(&mut request).unwrap();
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .unwrap();
    });
    format!("http://{address}")
}

#[test]
fn health_says_whether_a_server_does_its_work() {
    let desk = Desk::new();
    let server = Server::start(&desk);
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let asked = |args: &[&str]| {
        desk.command(args)
            .env("PORT", &port)
            .env("RLHF_AUDIT_HOST", "0.0.0.0")
            .output()
            .unwrap()
    };
    for args in [&["health"][..], &["health", "--live"]] {
        let output = asked(args);
        let said = text(&output.stdout, &output.stderr);
        assert!(
            output.status.success() && said.starts_with("ok"),
            "{args:?}: {said}"
        );
    }
    server.stop();
    let output = asked(&["health"]);
    let said = text(&output.stdout, &output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("hint: see that the server runs"), "{said}");

    let ill = answering(
        "503 Service Unavailable",
        r#"{"status":"unavailable","parts":{"journal":{"status":"failed","detail":"no space left"}}}"#,
    );
    let said = desk.fails(1, &["health", "--url", &ill]);
    assert!(said.contains("journal failed: no space left"), "{said}");
}

#[test]
fn health_finds_an_encrypted_server_and_one_with_an_address_for_metrics() {
    let desk = Desk::new();
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ed25519",
            "-nodes",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-subj",
            "/CN=audit.example",
            "-days",
            "2",
        ])
        .current_dir(desk.dir.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let key = desk.path("key.pem");
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    let encrypted = Serving::start(
        &desk,
        "https://127.0.0.1:",
        &[
            "--data-dir",
            "one",
            "--tls-cert",
            "cert.pem",
            "--tls-key",
            "key.pem",
        ],
    );
    let apart = Serving::start(
        &desk,
        "health and metrics at http://127.0.0.1:",
        &["--data-dir", "two", "--metrics-listen", "127.0.0.1:0"],
    );
    let metrics = format!("127.0.0.1:{}", apart.port);
    for (name, value, port) in [
        ("RLHF_AUDIT_TLS_CERT", "cert.pem", encrypted.port.as_str()),
        ("RLHF_AUDIT_METRICS_LISTEN", &metrics, "1"),
    ] {
        let mut command = desk.command(&["health"]);
        let output = command.env("PORT", port).env(name, value).output().unwrap();
        let said = text(&output.stdout, &output.stderr);
        assert!(
            output.status.success() && said.starts_with("ok"),
            "{name}: {said}"
        );
    }
}

/// A server, and the port that it says after some words; killed when dropped.
struct Serving {
    child: std::process::Child,
    port: String,
}

impl Serving {
    fn start(desk: &Desk, words: &str, args: &[&str]) -> Self {
        let log = desk.path(&format!("{}.log", args[1]));
        let child = desk
            .command(&["serve", "--port", "0", "--admin-token", ADMIN])
            .args(args)
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut serving = Self {
            child,
            port: String::new(),
        };
        common::eventually("it listens", || {
            let said = fs::read_to_string(&log).unwrap();
            let Some((_, rest)) = said.split_once(words) else {
                return false;
            };
            let port = rest.chars().take_while(char::is_ascii_digit);
            serving.port = port.collect();
            said.contains("serving ")
        });
        serving
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_ledger_in_memory_is_said_to_be_lost_in_log_and_health() {
    let desk = Desk::new();
    let Some(_mounted) = Tmpfs::mount(&desk.path("memory"), 64) else {
        return;
    };
    let args = [
        "--port",
        "0",
        "--data-dir",
        "memory/data",
        "--admin-token",
        ADMIN,
    ];
    let mut server = Logged::start(&desk, &args, &[]);
    let log = server.log();
    let warned = log
        .lines()
        .any(|line| line.contains("WARN") && line.contains("mount a volume there"));
    assert!(warned, "{log}");
    let (status, body) = get(&format!("{}/health", server.url));
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(
        body.contains(r#""disk":{"status":"degraded""#) && body.contains("in memory"),
        "{body}"
    );
    assert!(server.stop().success());

    let mut server = Logged::start(&desk, &args, &[("RLHF_AUDIT_EPHEMERAL", "true")]);
    let (_, body) = get(&format!("{}/health", server.url));
    let body = String::from_utf8(body).unwrap();
    assert!(!body.contains("degraded"), "{body}");
    assert!(server.stop().success());
}

#[test]
fn a_port_that_is_taken_is_said() {
    let desk = Desk::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = desk.fails(3, &["serve", "--port", &port]);
    assert!(
        said.contains("cannot listen on 127.0.0.1:")
            && said.contains("hint: stop what listens there, or choose another port"),
        "{said}"
    );
}

#[test]
fn a_directory_that_may_not_be_written_is_said_with_who_has_to() {
    if !is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let desk = Desk::new();
    // The binary and the desk can be reached by everybody, the ledger's place cannot be written.
    fs::set_permissions(desk.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = desk.path("rlhf-audit");
    fs::copy(env!("CARGO_BIN_EXE_rlhf-audit"), &binary).unwrap();
    fs::create_dir(desk.path("volume")).unwrap();
    for directory in ["volume", "volume/below"] {
        let output = std::process::Command::new(&binary)
            .args(["serve", "--port", "0", "--data-dir", directory])
            .current_dir(desk.dir.path())
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        let said = text(&output.stdout, &output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(
            said.contains("chown -R 65534") && said.contains("volume"),
            "{directory}: {said}"
        );
    }
}

#[test]
fn a_disk_that_is_full_from_the_start_is_said() {
    let desk = Desk::new();
    let place = desk.path("small");
    let Some(_mounted) = Tmpfs::mount(&place, 2) else {
        return;
    };
    fill(&place.join("ballast"), 0);
    let said = desk.fails(3, &["serve", "--port", "0", "--data-dir", "small/data"]);
    assert!(
        said.contains("no space left") && said.contains("free some space"),
        "{said}"
    );
}

#[test]
fn a_database_that_is_down_is_said_with_what_to_try() {
    let desk = Desk::new();
    let gone = "postgres://someone:pw-of-theirs@127.0.0.1:1/none";
    let said = desk.fails(3, &["serve", "--port", "0", "--database-url", gone]);
    assert!(
        said.contains("hint: see that it runs") && said.contains("doctor database"),
        "{said}"
    );
    assert!(!said.contains("pw-of-theirs"), "{said}");
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}
