//! Who gets in, as an operator sets it up: tokens and their limits, a second admin, encryption, an address for metrics.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{ADMIN, Desk, Server, eventually, get, text};
use serde_json::Value;

fn at<'a>(server: &'a Server, token: &'a str) -> [&'a str; 4] {
    ["--server", &server.url, "--token", token]
}

fn json(desk: &Desk, args: &[&str], place: [&str; 4]) -> Value {
    desk.json(&[args, &place].concat())
}

#[test]
fn tokens_are_made_shown_and_revoked_with_what_limits_them() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let admin = at(&server, ADMIN);
    let run = json(&desk, &["run", "start", "--name", "one"], admin);
    json(&desk, &["run", "seal", "one"], admin);
    let create = [
        "token",
        "create",
        "--name",
        "body",
        "--role",
        "auditor",
        "--expires",
        "90d",
    ];
    let create = [
        &create[..],
        &["--parts", "documents,records", "--run", "one"],
    ]
    .concat();
    let made = json(&desk, &create, admin);
    let id = made["id"].as_str().unwrap();
    let shown = json(&desk, &["token", "show", id], admin);
    assert_eq!(shown["state"], "valid");
    assert_eq!(shown["parts"], serde_json::json!(["documents", "records"]));
    assert_eq!(shown["runs"], serde_json::json!([run["run"]]));
    assert!(
        shown["expires"].is_string() && shown["last_used"].is_null(),
        "{shown}"
    );

    let auditor = at(&server, made["token"].as_str().unwrap());
    desk.ok(&[&["bundle", "one", "-o", "one.bundle"][..], &auditor].concat());
    desk.ok(&["verify", "one.bundle", "--policy", "audit-data/policy"]);
    desk.fails(
        2,
        &[&["bundle", "one", "--openings", "-o", "x"][..], &auditor].concat(),
    );
    let said = desk.ok(&[&["token", "show", id][..], &admin].concat());
    for line in [
        "last used",
        "parts          documents records",
        "runs           ",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let said = desk.ok(&[&["token", "list"][..], &admin].concat());
    assert!(said.contains("auditor") && !said.contains("rat_"), "{said}");

    desk.ok(&[&["token", "revoke", id][..], &admin].concat());
    desk.fails(
        2,
        &[&["card", "one", "-o", "x.html"][..], &auditor].concat(),
    );
    let wrong = [
        "token", "create", "--name", "x", "--role", "reader", "--parts", "records",
    ];
    let said = desk.fails(2, &[&wrong[..], &admin].concat());
    assert!(said.contains("limit what an auditor reads"), "{said}");
    desk.fails(
        2,
        &[
            "token",
            "create",
            "--name",
            "x",
            "--role",
            "reader",
            "--expires",
            "soon",
        ],
    );
    server.stop();
    desk.verified();
}

#[test]
fn a_second_admin_approves_of_admins_and_of_keys() {
    let desk = Desk::with_ledger();
    let other = desk.json(&["token", "create", "--name", "second", "--role", "admin"]);
    let server = Server::start_with(&desk, &["--require-approval"]);
    let (first, second) = (
        at(&server, ADMIN),
        at(&server, other["token"].as_str().unwrap()),
    );
    let create = ["token", "create", "--name", "third", "--role", "admin"];
    let asked = json(&desk, &create, first);
    let request = asked["request"].as_str().unwrap();
    let again = [&create[..], &["--request", request]].concat();
    desk.fails(2, &[&again[..], &first].concat());
    desk.fails(2, &[&["approval", "approve", request][..], &first].concat());
    json(&desk, &["approval", "approve", request], second);
    let third = json(&desk, &again, first);
    assert!(third["token"].as_str().unwrap().starts_with("rat_"));

    let asked = json(&desk, &["approval", "request", "--rotate", "log"], first);
    let rotation = asked["request"].as_str().unwrap();
    let said = desk.ok(&[&["approval", "list"][..], &first].concat());
    assert!(said.contains("pending") && said.contains("used"), "{said}");
    json(&desk, &["approval", "approve", rotation], second);
    server.stop();
    let said = desk.fails(2, &["key", "rotate", "--purpose", "operator"]);
    assert!(
        said.contains("approval request --rotate operator"),
        "{said}"
    );
    desk.ok(&["key", "rotate", "--purpose", "log"]);
    desk.fails(2, &["key", "rotate", "--purpose", "log"]);
    desk.verified();
}

/// Whoever asks the server's own address finds neither.
#[test]
fn health_and_metrics_have_an_address_of_their_own() {
    let desk = Desk::with_ledger();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    drop(port);
    let server = Server::start_with(&desk, &["--metrics-listen", &address]);
    for path in ["/metrics", "/health/ready"] {
        assert_eq!(get(&format!("http://{address}{path}")).0, 200, "{path}");
        assert_eq!(get(&format!("{}{path}", server.url)).0, 404, "{path}");
    }
    server.stop();
}

/// A key, and a certificate for 127.0.0.1 that it signs itself, in files of these names.
fn certify(desk: &Desk, name: &str) {
    std::fs::write(
        desk.path("openssl.cnf"),
        "[req]\ndistinguished_name = name\nx509_extensions = end\nprompt = no\n[name]\nCN = test\n\
         [end]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = IP:127.0.0.1\n",
    )
    .unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-config", "openssl.cnf"])
        .args(["-keyout", "tls.key", "-out", name])
        .current_dir(desk.dir.path())
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        text(&made.stdout, &made.stderr)
    );
}

/// The server's answer to one who trusts this certificate alone; `None`: they did not agree.
fn ask(port: &str, trusted: &Path) -> Option<String> {
    let mut asking = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-no_ign_eof"])
        .args(["-connect", &format!("127.0.0.1:{port}"), "-CAfile"])
        .arg(trusted)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = asking.stdin.take().unwrap();
    let _ = input.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    asking
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut answer)
        .unwrap();
    drop(input);
    asking.wait().unwrap();
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

/// A server that speaks TLS, and its port.
fn encrypted(desk: &Desk) -> (Child, String) {
    let mut child = desk
        .command(&[
            "serve",
            "--port",
            "0",
            "--tls-cert",
            "tls.pem",
            "--tls-key",
            "tls.key",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let port = lines
        .by_ref()
        .map(|line| line.unwrap())
        .find_map(|line| {
            let rest = line.split_once("on https://127.0.0.1:")?.1;
            Some(rest.split_whitespace().next()?.to_owned())
        })
        .expect("the server says where it listens");
    std::thread::spawn(move || lines.for_each(drop));
    (child, port)
}

#[test]
fn a_server_encrypts_and_reads_its_certificate_anew() {
    let desk = Desk::with_ledger();
    certify(&desk, "tls.pem");
    let serve = ["serve", "--port", "0", "--tls-cert", "tls.pem", "--tls-key"];
    desk.fails(2, &[&serve[..], &["tls.pem"]].concat());
    desk.fails(2, &["serve", "--port", "0", "--tls-cert", "tls.pem"]);
    let key = desk.path("tls.key");
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let said = desk.fails(2, &[&serve[..], &["tls.key"]].concat());
    assert!(said.contains("chmod 640"), "{said}");
    mode(0o600);

    let (mut server, port) = encrypted(&desk);
    let first = desk.path("first.pem");
    std::fs::copy(desk.path("tls.pem"), &first).unwrap();
    let answer = ask(&port, &first).expect("an answer");
    assert!(answer.contains("strict-transport-security"), "{answer}");
    certify(&desk, "tls.pem");
    mode(0o600);
    assert!(ask(&port, &desk.path("tls.pem")).is_none(), "not yet");
    let pid = server.id().to_string();
    let signal = |name| {
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    signal("HUP");
    eventually("the new certificate is used", || {
        ask(&port, &desk.path("tls.pem")).is_some()
    });
    assert!(ask(&port, &first).is_none());
    signal("TERM");
    assert!(server.wait().unwrap().success());
}
