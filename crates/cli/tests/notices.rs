//! Who is told of what, by webhook and by mail; and by which authorities the program trusts those that it tells, asks
//! and stores with.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use client::Client;
use common::logged::Logged;
use common::told::{MailServer, SECRET, header, https_receiver, is_taken, receiver};
use common::{ADMIN, Desk, eventually, text};
use serde_json::{Value, json};
use testkit::services::{Authority, Redis};

/// Only the look at whether all is well, often.
const WATCHFUL: &str = "[[schedule]]\nname = \"integrity\"\noff = true\n[[schedule]]\nname = \"integrity-whole\"\noff = true\n\
    [[schedule]]\nname = \"watch\"\nkind = \"watch\"\nevery = \"1s\"\n[patience]\ncheckpoint = \"1s\"\ncosignature = \"1s\"\n";
const SCHEDULED: (&str, &str) = ("RLHF_AUDIT_NO_SCHEDULER", "false");

/// A policy with a witness that is not there.
fn absent_witness(desk: &Desk) {
    let generate = [
        "key",
        "generate",
        "--name",
        "w.example/1",
        "--out",
        "witness.key",
    ];
    let made = desk.json(&generate);
    let key = made["public"]["witness_vkey"].as_str().unwrap();
    let policy = fs::read_to_string(desk.path("audit-data/policy")).unwrap();
    let log: Vec<&str> = policy
        .lines()
        .filter(|line| line.starts_with("log "))
        .collect();
    let text = format!(
        "{}\nwitness w1 {key} http://127.0.0.1:1\nquorum w1\n",
        log.join("\n")
    );
    fs::write(desk.path("witnesses"), text).unwrap();
}

/// Waits until all of `events` were told, and gives what was said of each.
fn told(
    mut next: impl FnMut() -> Option<(String, Value)>,
    events: &[&str],
) -> BTreeMap<String, Value> {
    let deadline = Instant::now() + Duration::from_mins(2);
    let mut found = BTreeMap::new();
    while !events.iter().all(|event| found.contains_key(*event)) {
        assert!(Instant::now() < deadline, "{events:?} in {found:?}");
        found.extend(next());
    }
    found
}

#[test]
fn a_stale_checkpoint_a_missing_cosignature_a_finding_and_a_dead_job_are_told() {
    let desk = Desk::with_ledger();
    absent_witness(&desk);
    let (url, posts) = receiver();
    let mails = MailServer::start(&[]);
    fs::write(desk.path("secret"), SECRET).unwrap();
    let config = format!(
        "port = 0\nwitness-policy = \"witnesses\"\nadmin-token = \"{ADMIN}\"\n{WATCHFUL}\
         [[webhook]]\nname = \"ops\"\nurl = \"{url}\"\nsecret-file = \"secret\"\n\
         [[mail]]\nname = \"mail\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"audit@example.org\"\n\
         to = [\"ops@example.org\"]\n",
        mails.port
    );
    fs::write(desk.path("rlhf-audit.toml"), config).unwrap();
    let mut server = Logged::start(&desk, &[], &[SCHEDULED]);
    let client = Client::new(&server.url, Some(ADMIN)).unwrap();
    let at = ["--server", server.url.as_str(), "--token", ADMIN];

    // A job of a run that there is not.
    let job = client
        .add_job("model-card", &json!({ "run": "no-such-run" }))
        .unwrap();
    desk.ok(&[&["run", "start", "--name", "first"], &at[..]].concat());
    let finding = r#"{"kind":"finding.raised","body":{"finding":"kl-drift","severity":"warning","evidence":[0]}}"#;
    let appended = desk.run_with(
        &[&["append", "--run", "first"], &at[..]].concat(),
        finding.as_bytes(),
    );
    assert!(
        appended.status.success(),
        "{}",
        text(&appended.stdout, &appended.stderr)
    );

    let next = || {
        let post = posts.recv_timeout(Duration::from_secs(1)).ok()?;
        assert!(is_taken(&post, SECRET), "{post}");
        let (head, body) = post.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert!(!header(head, "webhook-id").is_empty());
        Some((
            body["type"].as_str().unwrap().to_owned(),
            body["data"].clone(),
        ))
    };
    let said = told(next, &["cosignature.missing", "finding.raised", "job.dead"]);
    assert_eq!(said["job.dead"]["job"], job);
    assert_eq!(said["job.dead"]["kind"], "model-card");
    assert_eq!(said["finding.raised"]["finding"], "kl-drift");
    assert_eq!(said["cosignature.missing"]["cosigned"], 0);
    assert!(said["cosignature.missing"]["published"].as_u64().unwrap() > 0);
    assert!(!said.contains_key("checkpoint.stale"), "{said:?}");

    // Records are durable, and no further bundle can be written: something is in its place.
    let bundles = desk.path("audit-data/log/tile/entries/000.p");
    let in_the_way: Vec<_> = (1..256)
        .map(|width| bundles.join(width.to_string()))
        .filter(|path| !path.exists())
        .collect();
    for path in &in_the_way {
        fs::create_dir(path).unwrap();
        fs::write(path.join("x"), "").unwrap();
    }
    desk.ok(&[&["run", "start", "--name", "second"], &at[..]].concat());
    let said = told(next, &["checkpoint.stale"]);
    let stale = &said["checkpoint.stale"];
    assert!(
        stale["durable"].as_u64() > stale["published"].as_u64(),
        "{stale}"
    );
    assert!(!stale["reason"].as_str().unwrap().is_empty(), "{stale}");
    for path in &in_the_way {
        fs::remove_dir_all(path).unwrap();
    }

    // The same, by mail.
    let mut subjects = BTreeSet::new();
    let wanted = [
        "checkpoint.stale",
        "cosignature.missing",
        "finding.raised",
        "job.dead",
    ];
    let deadline = Instant::now() + Duration::from_mins(2);
    while !wanted.iter().all(|event| subjects.contains(*event)) {
        assert!(Instant::now() < deadline, "{subjects:?}");
        let Ok(line) = mails.lines.recv_timeout(Duration::from_secs(1)) else {
            continue;
        };
        if let Some(subject) = line.strip_prefix("Subject: [rlhf-audit] ") {
            subjects.insert(subject.split(' ').next().unwrap().to_owned());
        }
    }
    assert!(server.stop().success(), "{}", server.log());
    desk.verified();
}

fn serves_tls(authority: &Authority) -> String {
    format!(
        "tls-cert = \"{}\"\ntls-key = \"{}\"\n",
        authority.certificate().display(),
        authority.key().display()
    )
}

/// Webhook, mail by either kind of TLS, Redis and the command line's own server, each with a certificate that an
/// authority signed which only `SSL_CERT_FILE` names.
#[test]
fn an_authority_of_ones_own_is_trusted_where_it_is_named_and_nowhere_else() {
    let desk = Desk::with_ledger();
    let authority = Authority::new(desk.path("authority"));
    let (certificate, key) = (authority.certificate(), authority.key());
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let hook = https_receiver(Path::new(certificate), Path::new(key));
    let implicit = MailServer::start(&["--smtpscert", certificate, "--smtpskey", key]);
    let starttls = MailServer::start(&["--tlscert", certificate, "--tlskey", key]);
    let redis = Redis::start_with_tls(&authority);
    fs::write(desk.path("secret"), SECRET).unwrap();
    let config = format!(
        "port = 0\nadmin-token = \"{ADMIN}\"\nredis-url = \"{}\"\n{}{WATCHFUL}[[webhook]]\nname = \"ops\"\n\
         url = \"https://localhost:{}/hook\"\nsecret-file = \"secret\"\n{}{}",
        redis.url(),
        serves_tls(&authority),
        hook.port,
        mail("implicit", "tls", implicit.port),
        mail("starttls", "starttls", starttls.port),
    );
    fs::write(desk.path("rlhf-audit.toml"), config).unwrap();
    let root = authority.root();
    let trusted = ("SSL_CERT_FILE", root.to_str().unwrap());
    let list = |server: &Logged, variables: &[(&str, &str)]| {
        let url = server.url.replace("127.0.0.1", "localhost");
        let output = desk
            .command(&["jobs", "list", "--json", "--server", &url, "--token", ADMIN])
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        (output.status.code(), text(&output.stdout, &output.stderr))
    };
    let run = |server: &Logged, args: &[&str]| {
        let url = server.url.replace("127.0.0.1", "localhost");
        let args = [args, &["--json", "--server", &url, "--token", ADMIN]].concat();
        let output = desk.command(&args).envs([trusted]).output().unwrap();
        text(&output.stdout, &output.stderr)
    };

    // Nobody is trusted: the command line refuses the server, and the server whoever it would tell.
    let mut server = Logged::start(&desk, &[], &[SCHEDULED]);
    let (code, said) = list(&server, &[]);
    assert_eq!(code, Some(3), "{said}");
    let (code, said) = list(&server, &[trusted]);
    assert_eq!(code, Some(0), "{said}");
    let job = run(
        &server,
        &[
            "jobs",
            "run",
            "model-card",
            "--run",
            "no-such-run",
            "--no-wait",
        ],
    );
    let refused = |server: &Logged| {
        let jobs: Value = serde_json::from_str(&list(server, &[trusted]).1).unwrap();
        let jobs = jobs["jobs"].as_array().unwrap().clone();
        let retried = jobs.into_iter().filter(|job| {
            let reason = job["reason"].as_str().unwrap_or_default().to_lowercase();
            job["kind"] == "notification" && reason.contains("certificate")
        });
        retried.count()
    };
    eventually(&format!("nobody is told: {job}"), || refused(&server) == 3);
    assert!(
        server.log().contains("the bell for jobs is not heard"),
        "{}",
        server.log()
    );
    assert!(server.stop().success());
    assert!(hook.lines.try_recv().is_err());

    // The same server, told whom to trust: what waits is sent, and new things at once.
    let mut server = Logged::start(&desk, &[], &[SCHEDULED, trusted]);
    let wait = Duration::from_mins(1);
    let body: Value = serde_json::from_str(&hook.lines.recv_timeout(wait).unwrap()).unwrap();
    assert_eq!(body["type"], "job.dead");
    for mails in [&implicit, &starttls] {
        let deadline = Instant::now() + wait;
        loop {
            let line = mails.lines.recv_timeout(deadline - Instant::now()).unwrap();
            if line.starts_with("Subject: [rlhf-audit] job.dead") {
                break;
            }
        }
    }
    let done = run(&server, &["jobs", "run", "integrity"]);
    assert!(done.contains("\"sound\":true"), "{done}");
    assert!(
        !server.log().contains("the bell for jobs is not heard"),
        "{}",
        server.log()
    );

    // An auditor trusts by the same means. A log without records would be nothing to check.
    run(&server, &["run", "start", "--name", "seen"]);
    an_auditor_trusts(&desk, &server.url, trusted);
    assert!(server.stop().success());
}

fn an_auditor_trusts(desk: &Desk, url: &str, trusted: (&str, &str)) {
    let log = format!("{}/log", url.replace("127.0.0.1", "localhost"));
    let verify = |variables: &[(&str, &str)]| {
        let output = desk
            .command(&[
                "verify",
                &log,
                "--policy",
                "audit-data/policy",
                "--token",
                ADMIN,
            ])
            .envs(variables.iter().copied())
            .output();
        let output = output.unwrap();
        (output.status.code(), text(&output.stdout, &output.stderr))
    };
    eventually("it is published and verified", || {
        verify(&[trusted]).0 == Some(0)
    });
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(3), "{said}");
}

fn mail(name: &str, tls: &str, port: u16) -> String {
    format!(
        "[[mail]]\nname = \"{name}\"\nhost = \"localhost\"\nport = {port}\ntls = \"{tls}\"\n\
         from = \"audit@example.org\"\nto = [\"ops@example.org\"]\n"
    )
}
