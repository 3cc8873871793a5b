//! Traces of requests as a collector gets them, and none where none is configured.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use common::logged::{Logged, send};
use common::{ADMIN, Desk};

/// First line and body.
type Posted = (String, Vec<u8>);

/// What is posted to a collector.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Posted>>>);

impl Collector {
    /// Takes whatever comes; gives its address too.
    fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Self::default();
        let taking = collector.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                taking.take(stream.unwrap());
            }
        });
        (collector, format!("http://{address}"))
    }

    /// One request after the other, until the connection ends.
    fn take(&self, stream: TcpStream) {
        let mut answers = stream.try_clone().unwrap();
        let mut requests = BufReader::new(stream);
        loop {
            let (mut path, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if requests.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                let line = line.trim_end();
                if line.is_empty() {
                    break;
                }
                match line.split_once(':') {
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                        length = value.trim().parse().unwrap();
                    }
                    _ if path.is_empty() => line.clone_into(&mut path),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            requests.read_exact(&mut body).unwrap();
            self.0.lock().unwrap().push((path, body));
            let _ = answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    }

    /// Whether these bytes came in one of the requests.
    fn has(&self, bytes: &[u8]) -> bool {
        let all = self.0.lock().unwrap();
        all.iter()
            .any(|(_, body)| body.windows(bytes.len()).any(|window| window == bytes))
    }
}

#[test]
fn a_request_is_a_span_of_its_callers_trace() {
    let (collector, url) = Collector::start();
    let desk = Desk::new();
    let variables = [
        ("RLHF_AUDIT_ADMIN_TOKEN", ADMIN),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
    ];
    let mut server = Logged::start(&desk, &["--port", "0"], &variables);
    let bearer = format!("Bearer {ADMIN}");
    let asked = |trace: &str, method: &str, path: &str| {
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        let headers = [
            ("traceparent", parent.as_str()),
            ("authorization", bearer.as_str()),
        ];
        send(&format!("{}{path}", server.url), method, &headers, "").0
    };
    assert_eq!(
        asked(
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "GET",
            "/v1/runs?limit=1"
        ),
        200
    );
    // Appends have a way of their own.
    assert_eq!(
        asked("00112233445566778899aabbccddeeff", "POST", "/v1/records"),
        415
    );
    // Stopping sends what is left.
    assert!(server.stop().success(), "{}", server.log());
    let paths: Vec<String> = collector
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|(path, _)| path.clone())
        .collect();
    assert!(!paths.is_empty(), "{}", server.log());
    assert!(
        paths
            .iter()
            .all(|path| path.starts_with("POST /v1/traces ")),
        "{paths:?}"
    );
    for (what, bytes) in [
        (
            "the caller's trace",
            &0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()[..],
        ),
        (
            "the append's trace",
            &0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes()[..],
        ),
        (
            "the caller's span",
            &0x00f0_67aa_0ba9_02b7_u64.to_be_bytes()[..],
        ),
        ("the route", b"GET /v1/runs"),
        ("the append", b"POST /v1/records"),
        ("who sends it", b"rlhf-audit"),
    ] {
        assert!(collector.has(bytes), "{what} did not reach the collector");
    }
    assert!(!collector.has(ADMIN.as_bytes()));
}

#[test]
fn a_collector_that_is_gone_is_no_trouble() {
    let desk = Desk::new();
    let variables = [
        ("RLHF_AUDIT_ADMIN_TOKEN", ADMIN),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
    ];
    let mut server = Logged::start(&desk, &["--port", "0"], &variables);
    assert_eq!(
        send(&format!("{}/health", server.url), "GET", &[], "").0,
        200
    );
    assert!(server.stop().success(), "{}", server.log());
}
