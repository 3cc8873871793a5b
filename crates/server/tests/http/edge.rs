//! Between the server and whoever asks: encryption, pages of other origins, an address for health and metrics.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use server::{Options, Tls};
use ureq::http::{Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::support::{Server, code};

#[test]
fn health_and_metrics_move_to_an_address_of_their_own() {
    let server = Server::start_with(Options {
        operation_apart: true,
        ..Options::default()
    });
    let apart = format!("http://{}", server.operation.unwrap());
    let there = |path: &str| server.run(Request::get(format!("{apart}{path}")).body(()).unwrap());
    for path in ["/health", "/health/live", "/health/ready", "/metrics"] {
        assert_eq!(there(path).status, 200, "{path}");
        let here = server.ask("get", path, None, None);
        assert_eq!(
            (here.status, code(&here).as_str()),
            (404, "no-such-path"),
            "{path}"
        );
    }
    // And nothing else is there, whoever asks.
    for path in [
        "/",
        "/log/policy",
        "/v1/runs",
        "/v1/tokens",
        "/openapi.json",
    ] {
        let request = Request::get(format!("{apart}{path}"))
            .header("authorization", format!("Bearer {}", server.admin));
        assert_eq!(server.run(request.body(()).unwrap()).status, 404, "{path}");
    }
    assert_eq!(server.ask("get", "/log/policy", None, None).status, 200);
    assert!(
        there("/metrics")
            .header("content-security-policy")
            .starts_with("default-src 'none'")
    );
}

#[test]
fn pages_of_other_origins_read_nothing_unless_they_are_named() {
    let origin = "https://audit.example";
    let ask = |server: &Server, method: &str, path: &str, origin: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", server.url))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization")
            .header("authorization", format!("Bearer {}", server.producer));
        server.run(request.body(()).unwrap())
    };
    let allowed = "access-control-allow-origin";
    let server = Server::start();
    for method in ["GET", "OPTIONS"] {
        assert_eq!(ask(&server, method, "/v1/runs", origin).header(allowed), "");
    }
    let server = Server::start_with(Options {
        cors_origins: vec![origin.parse().unwrap()],
        ..Options::default()
    });
    let answer = ask(&server, "GET", "/v1/runs", origin);
    assert_eq!((answer.status, answer.header(allowed)), (200, origin));
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    let other = ask(&server, "GET", "/v1/runs", "https://evil.example");
    assert_eq!(other.header(allowed), "");
    let before = ask(&server, "OPTIONS", "/v1/records", origin);
    assert_eq!((before.status, before.header(allowed)), (200, origin));
    assert!(
        before
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    // Appends that pass the router by otherwise.
    let append = Request::post(format!("{}/v1/records", server.url))
        .header("origin", origin)
        .header("content-type", "application/x-ndjson")
        .header("authorization", format!("Bearer {}", server.producer));
    let answer = server.run(append.body(&b"{}"[..]).unwrap());
    assert_eq!((answer.status, answer.header(allowed)), (400, origin));
}

/// A certificate of its own for 127.0.0.1, and its key.
fn certificate(dir: &Path, name: &str) -> (Vec<u8>, Vec<u8>) {
    let (key, cert) = (
        dir.join(format!("{name}.key")),
        dir.join(format!("{name}.pem")),
    );
    let config = dir.join("openssl.cnf");
    let text = "[req]\ndistinguished_name = name\nx509_extensions = end\nprompt = no\n[name]\nCN = test\n\
                [end]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = IP:127.0.0.1\n";
    std::fs::write(&config, text).unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-config"])
        .arg(&config)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    (std::fs::read(cert).unwrap(), std::fs::read(key).unwrap())
}

/// Asks as a new client that trusts this certificate alone.
fn ask(server: &Server, trusted: &[u8]) -> Result<Response<Body>, ureq::Error> {
    let roots = RootCerts::new_with_certs(&[Certificate::from_pem(trusted).unwrap().to_owned()]);
    let tls = TlsConfig::builder().root_certs(roots).build();
    let agent: Agent = Agent::config_builder().tls_config(tls).build().into();
    agent
        .get(format!("https://{}/log/policy", server.address))
        .call()
}

#[test]
fn connections_are_encrypted_with_the_certificate_of_the_day() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (
        certificate(dir.path(), "first"),
        certificate(dir.path(), "second"),
    );
    let tls = Tls::from_pem(&first.0, &first.1).unwrap();
    let server = Server::start_with(Options {
        tls: Some(tls.clone()),
        ..Options::default()
    });
    let answer = ask(&server, &first.0).unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.headers()["strict-transport-security"],
        "max-age=31536000"
    );
    assert!(ask(&server, &second.0).is_err(), "another certificate");
    // Whoever speaks in the clear is not answered.
    let mut clear = server.connect();
    write!(clear, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut clear, &mut answer);
    assert!(!answer.starts_with(b"HTTP/"));

    // A certificate without its key is not taken, and the old one goes on.
    assert!(tls.replace(&second.0, &first.1).is_err());
    assert!(tls.replace(b"", &first.1).is_err());
    assert!(ask(&server, &first.0).is_ok());
    tls.replace(&second.0, &second.1).unwrap();
    assert!(ask(&server, &second.0).is_ok());
    assert!(ask(&server, &first.0).is_err());
}
