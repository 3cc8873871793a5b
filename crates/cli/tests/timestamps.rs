//! Checkpoints stamped by OpenSSL's time-stamping authority: stored, served, bundled, verified by us and
//! by OpenSSL; and an authority that is down.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;
use std::sync::Arc;

use common::{ADMIN, Desk, Server, eventually, get, text};
use testkit::tsa::Tsa;

const EVENT: &[u8] = b"{\"kind\":\"metric.logged\",\"body\":{\"metrics\":{\"loss\":0.25}}}\n";

fn record(desk: &Desk, run: &str, place: &[&str]) {
    desk.ok(&[
        &["run", "start", "--name", run, "--experiment", "safety"],
        place,
    ]
    .concat());
    let output = desk.run_with(&[&["append", "--run", run], place].concat(), EVENT);
    assert!(
        output.status.success(),
        "{}",
        text(&output.stdout, &output.stderr)
    );
    desk.ok(&[&["run", "seal", run], place].concat());
}

/// A ledger with a sealed run, and an authority whose root is `ca.pem` beside it.
fn desk_and_tsa() -> (Desk, Arc<Tsa>) {
    let desk = Desk::with_ledger();
    let tsa = Arc::new(Tsa::new());
    fs::copy(tsa.path("ca.pem"), desk.path("ca.pem")).unwrap();
    fs::copy(desk.path("audit-data/policy"), desk.path("policy")).unwrap();
    (desk, tsa)
}

const VERIFY: &[&str] = &["verify", "audit-data", "--policy", "policy"];
const TRUSTED: &[&str] = &[
    "verify",
    "audit-data",
    "--policy",
    "policy",
    "--tsa-ca",
    "ca.pem",
];

#[test]
fn a_server_has_its_checkpoints_stamped_and_anybody_can_check() {
    let (desk, tsa) = desk_and_tsa();
    let service = tsa.serve("rsa");
    let server = Server::start_with(&desk, &["--tsa", &service.url, "--tsa-interval", "1s"]);
    let place = ["--server", &server.url, "--token", ADMIN];
    record(&desk, "first", &place);
    let latest = format!("{}/log/timestamps/latest", server.url);
    let size = || -> u64 {
        let (status, body) = get(&latest);
        let body = String::from_utf8(body).unwrap();
        if status == 200 {
            body.trim().parse().unwrap()
        } else {
            0
        }
    };
    // The run has at least six records; the last of them is in a stamped checkpoint sooner or later.
    let logged = desk.json(
        &[&[
            "verify",
            &format!("{}/log", server.url),
            "--policy",
            "policy",
            "--token",
            ADMIN,
        ][..]]
        .concat(),
    );
    let logged = logged["checkpoint"]["size"].as_u64().unwrap();
    eventually("the run is stamped", || size() >= logged);
    let at = size();

    // Public, and OpenSSL's verifier takes what is stored over the text of the note.
    let fetch = |name: &str| {
        let (status, body) = get(&format!("{}/log/timestamps/{name}", server.url));
        assert_eq!(status, 200, "{name}");
        body
    };
    let note = String::from_utf8(fetch(&format!("{at}.note"))).unwrap();
    let stamped = note.split("\n\n").next().unwrap().to_owned() + "\n";
    fs::write(tsa.path("note.txt"), stamped).unwrap();
    fs::write(tsa.path("note.tsr"), fetch(&format!("{at}.tsr"))).unwrap();
    tsa.openssl(&[
        "ts", "-verify", "-in", "note.tsr", "-data", "note.txt", "-CAfile", "ca.pem",
    ]);
    for no_file in ["0.tsr", "007.tsr", "..%2f..%2fpolicy", "x"] {
        assert_eq!(
            get(&format!("{}/log/timestamps/{no_file}", server.url)).0,
            404,
            "{no_file}"
        );
    }
    let url = format!("{}/log", server.url);
    let args = [
        "verify", &url, "--policy", "policy", "--token", ADMIN, "--tsa-ca", "ca.pem",
    ];
    let report = desk.json(&args);
    assert_eq!(report["timestamps"][0]["trusted"], true, "{report}");
    let metrics = String::from_utf8(get(&format!("{}/metrics", server.url)).1).unwrap();
    assert!(
        metrics.contains(&format!("rlhf_audit_timestamped_size {at}\n")),
        "{metrics}"
    );
    desk.ok(&[&["bundle", "first", "-o", "first.rlhf-bundle"], &place[..]].concat());

    // The last checkpoint, published as the server stops, is stamped too.
    desk.ok(&[
        &["run", "start", "--name", "second", "--experiment", "safety"],
        &place[..],
    ]
    .concat());
    server.stop();
    let newest = fs::read_to_string(desk.path("audit-data/log/timestamps/latest")).unwrap();
    let report = desk.json(TRUSTED);
    assert_eq!(report["verdict"], "verified", "{report}");
    assert_eq!(report["checkpoint"]["size"].to_string(), newest.trim());
    let said = desk.ok(TRUSTED);
    assert!(
        said.contains(&format!(
            "the first {} entries existed before ",
            newest.trim()
        )),
        "{said}"
    );
    assert!(said.contains("according to Test TSA rsa"), "{said}");

    // The bundle was written when the log was smaller, and carries what covers its run.
    let report = desk.json(&[
        "verify",
        "first.rlhf-bundle",
        "--policy",
        "policy",
        "--tsa-ca",
        "ca.pem",
    ]);
    assert_eq!(report["verdict"], "verified", "{report}");
    assert_eq!(report["timestamps"][0]["trusted"], true);
    assert!(
        report["timestamps"][0]["size"].as_u64().unwrap() >= logged - 1,
        "{report}"
    );
}

#[test]
fn a_timestamp_is_believed_of_whom_the_auditor_names_and_of_nobody_else() {
    let (desk, tsa) = desk_and_tsa();
    desk.fails(2, &["timestamp", "--tsa", "http://127.0.0.1:1/"]);
    record(&desk, "first", &[]);
    desk.ok(&["bundle", "first", "-o", "before.rlhf-bundle"]);
    let service = tsa.serve("rsa");
    let stamped = desk.json(&["timestamp", "--tsa", &service.url]);
    assert_eq!(stamped["authority"], "Test TSA rsa");
    assert!(
        desk.ok(&["timestamp", "--tsa", &service.url])
            .contains("already")
    );
    desk.ok(&["bundle", "first", "-o", "first.rlhf-bundle"]);
    // The log grows; the timestamp stays one of its beginnings.
    record(&desk, "second", &[]);
    desk.ok(&["bundle", "first", "-o", "later.rlhf-bundle"]);

    // I11: without roots it is said to be there and counts for nothing.
    for what in ["audit-data", "first.rlhf-bundle", "later.rlhf-bundle"] {
        let said = desk.ok(&["verify", what, "--policy", "policy"]);
        assert!(
            said.contains("Who made it was not checked"),
            "{what}: {said}"
        );
        assert!(!said.contains("a timestamp: the first"), "{what}: {said}");
        let said = desk.ok(&["verify", what, "--policy", "policy", "--tsa-ca", "ca.pem"]);
        assert!(said.contains("a timestamp: the first"), "{what}: {said}");
    }
    // Asked for and not there: no full success.
    let said = desk.fails(
        1,
        &[
            "verify",
            "before.rlhf-bundle",
            "--policy",
            "policy",
            "--tsa-ca",
            "ca.pem",
        ],
    );
    assert!(said.contains("there is no timestamp in it"), "{said}");

    let other = Tsa::new();
    fs::copy(other.path("ca.pem"), desk.path("other.pem")).unwrap();
    for what in ["audit-data", "first.rlhf-bundle"] {
        let said = desk.fails(
            1,
            &[
                "verify",
                what,
                "--policy",
                "policy",
                "--tsa-ca",
                "other.pem",
            ],
        );
        assert!(said.contains("no trusted root issued it"), "{what}: {said}");
    }
    let said = desk.fails(
        2,
        &[
            "verify",
            "audit-data",
            "--policy",
            "policy",
            "--tsa-ca",
            "policy",
        ],
    );
    assert!(said.contains("there is no certificate in it"), "{said}");

    // A token of another checkpoint, an altered one, and one without its checkpoint.
    let file = desk.path(stamped["file"].as_str().unwrap());
    let whole = fs::read(&file).unwrap();
    let mut altered = whole.clone();
    let last = altered.len() - 20;
    altered[last] ^= 1;
    let foreign = tsa.reply(
        &verify::timestamp::query(b"something else\n", [1; 16]),
        "rsa",
    );
    for (token, reason) in [(altered, "was altered"), (foreign, "not this checkpoint's")] {
        fs::write(&file, token).unwrap();
        for args in [VERIFY, TRUSTED] {
            assert!(desk.fails(1, args).contains(reason), "{reason}");
        }
    }
    fs::write(&file, whole).unwrap();
    desk.ok(TRUSTED);
    let note = file.with_extension("note");
    let (before, size) = (
        fs::read_to_string(&note).unwrap(),
        stamped["size"].to_string(),
    );
    fs::write(&note, before.replacen(&format!("\n{size}\n"), "\n3\n", 1)).unwrap();
    assert!(desk.fails(1, VERIFY).contains("timestamp"));
    fs::remove_file(&note).unwrap();
    assert!(desk.fails(1, VERIFY).contains("missing-file"));
}

#[test]
fn an_authority_that_is_down_delays_nothing_and_shows() {
    let (desk, _) = desk_and_tsa();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/tsa", closed.local_addr().unwrap());
    drop(closed);
    let server = Server::start_with(&desk, &["--tsa", &url, "--tsa-interval", "1s"]);
    record(&desk, "first", &["--server", &server.url, "--token", ADMIN]);
    eventually("the failure is counted", || {
        let metrics = String::from_utf8(get(&format!("{}/metrics", server.url)).1).unwrap();
        let failures = metrics
            .lines()
            .find_map(|line| line.strip_prefix("rlhf_audit_timestamp_failures_total "));
        failures.unwrap().parse::<u64>().unwrap() > 0
    });
    server.stop();
    assert_eq!(desk.json(VERIFY)["verdict"], "verified");
    let said = desk.fails(3, &["timestamp", "--tsa", &url]);
    assert!(said.contains("did not answer"), "{said}");
}
