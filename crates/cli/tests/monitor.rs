//! A monitor against a real server, and against logs that are false in each way that it is there to find.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use common::{ADMIN, Desk, Server, eventually, get, text};
use record::Scope;
use serde_json::Value;
use testkit::log::{LogBuilder, metric};
use testkit::web::Web;

/// So long that nothing made for a test is too old.
const NEVER_STALE: &[&str] = &["--max-age", "36500d"];

/// A log that is served as files, and a monitor of it.
struct Watched {
    desk: Desk,
    web: Web,
}

impl Watched {
    fn new(log: &LogBuilder) -> Self {
        let desk = Desk::new();
        fs::write(desk.path("policy"), log.policy_text()).unwrap();
        let served = desk.path("served");
        fs::create_dir(&served).unwrap();
        let watched = Self {
            web: Web::serve(&served),
            desk,
        };
        watched.serve(log);
        watched
    }

    fn served(&self) -> PathBuf {
        self.desk.path("served")
    }

    /// Serves this log from now on, and nothing of any other.
    fn serve(&self, log: &LogBuilder) {
        let _ = fs::remove_dir_all(self.served().join("tile"));
        log.write_to(&self.served()).unwrap();
    }

    fn args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let base = ["monitor", &self.web.url, "--policy", "policy", "--json"];
        [&base[..], NEVER_STALE, more].concat()
    }

    /// One look; its exit code and what it found.
    fn once(&self, more: &[&str]) -> (i32, Value) {
        let args = self.args(&[&["--once"], more].concat());
        let output = self.desk.run(&args);
        let code = output.status.code().unwrap();
        let look = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", text(&output.stdout, &output.stderr)));
        (code, look)
    }

    fn good(&self, more: &[&str]) -> Value {
        let (code, look) = self.once(more);
        assert_eq!((code, &look["status"]), (0, &"true".into()), "{look}");
        look
    }

    /// A look that has to find this, and nothing else; gives the alert.
    fn finds(&self, kind: &str, more: &[&str]) -> Value {
        let (code, look) = self.once(more);
        assert_eq!((code, &look["status"]), (1, &"false".into()), "{look}");
        assert_eq!(look["alerts"].as_array().unwrap().len(), 1, "{look}");
        let alert = look["alerts"][0].clone();
        assert_eq!(alert["kind"], kind, "{look}");
        alert
    }

    fn evidence(&self, alert: &Value, name: &str) -> Vec<u8> {
        let place = self.desk.path(alert["evidence"].as_str().unwrap());
        fs::read(place.join(name)).unwrap_or_else(|e| panic!("{name} of {alert}: {e}"))
    }
}

/// A log of two sealed runs and an open one, `seed` choosing what one early record says.
fn log(early: usize, records: usize) -> LogBuilder {
    let mut log = LogBuilder::new(7);
    let mut open = log.start_run("open", 3);
    log.write(&mut open, metric(early));
    log.sign(&mut open);
    log.sealed_run("first", 1, records);
    log
}

#[test]
fn a_server_that_does_as_it_should() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let url = format!("{}/log", server.url);
    let args = ["monitor", &url, "--once", "--token", ADMIN];
    // The first time the log's own word on its keys is taken, aloud.
    let output = desk.run(&args);
    let said = text(&output.stdout, &output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("the log's own word on its keys"), "{said}");
    let policy = |path| fs::read(desk.path(path)).unwrap();
    assert_eq!(policy("audit-monitor/policy"), policy("audit-data/policy"));

    let place = ["--server", &server.url, "--token", ADMIN];
    desk.ok(&[
        &["run", "start", "--name", "first", "--experiment", "safety"],
        &place[..],
    ]
    .concat());
    desk.ok(&[&["run", "seal", "first"], &place[..]].concat());
    let mut checked = 0;
    eventually("the run is checked", || {
        let look = desk.json(&args);
        assert_eq!(
            (&look["status"], &look["entries"]),
            (&"true".into(), &look["size"]),
            "{look}"
        );
        checked = look["entries"].as_u64().unwrap();
        checked > 3
    });
    let said = text(&[], &desk.run(&args).stderr);
    assert!(!said.contains("own word"), "only the first time: {said}");

    // A producer may not read; what was asked for and not had is not success.
    let (code, no_token) = (3, "rat_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB");
    desk.fails(code, &["monitor", &url, "--once", "--token", no_token]);
    // Without a token the entries are not read, and the look says nothing of them.
    let look = desk.json(&["monitor", &url, "--once"]);
    assert!(
        look["status"] == "true" && look["entries"].is_null(),
        "{look}"
    );

    let other = Desk::with_ledger();
    let policy = other.path("audit-data/policy");
    let policy = policy.to_str().unwrap();
    let said = desk.fails(
        1,
        &[
            "monitor",
            &url,
            "--once",
            "--policy",
            policy,
            "--state-dir",
            "other",
        ],
    );
    assert!(said.contains("ALERT checkpoint"), "{said}");
}

#[test]
fn a_fork_is_found_told_once_and_proven_by_what_is_kept() {
    let watched = Watched::new(&log(1, 200));
    let hook = ["--webhook", &watched.web.url];
    watched.good(&hook);
    // Another early record, and more behind it: signed with the same keys.
    watched.serve(&log(2, 300));
    let alert = watched.finds("fork", &hook);

    // I3 is broken, and the two notes and the policy show it to anybody.
    let policy = tlog::Policy::parse(&watched.evidence(&alert, "policy")).unwrap();
    let signed = |name| {
        policy
            .check(&watched.evidence(&alert, name))
            .unwrap()
            .checkpoint
    };
    let (old, new) = (signed("last-good.checkpoint"), signed("seen.checkpoint"));
    assert!(old.size < new.size);
    let proof = String::from_utf8(watched.evidence(&alert, "proof.txt")).unwrap();
    let proof: Vec<tlog::Hash> = proof.lines().map(|line| line.parse().unwrap()).collect();
    let then = String::from_utf8(watched.evidence(&alert, "root-then.txt")).unwrap();
    let then: tlog::Hash = then.trim_end().parse().unwrap();
    assert_ne!(then, old.root);
    tlog::proof::verify_consistency(old.size, new.size, &then, &new.root, &proof).unwrap();
    let readme = String::from_utf8(watched.evidence(&alert, "README.txt")).unwrap();
    assert!(readme.contains("has shown different histories"), "{readme}");

    // Told once, however often it is looked at; and again when it is over.
    let (code, look) = watched.once(&hook);
    assert_eq!(
        (code, look["alerts"].as_array().unwrap().len()),
        (1, 0),
        "{look}"
    );
    watched.serve(&log(1, 200));
    let look = watched.good(&hook);
    assert_eq!(look["alerts"][0]["resolved"], true, "{look}");
    let posts: Vec<Value> = watched
        .web
        .posts()
        .iter()
        .map(|post| serde_json::from_slice(post).unwrap())
        .collect();
    let told: Vec<_> = posts
        .iter()
        .map(|post| (post["kind"].as_str(), post["resolved"].as_bool()))
        .collect();
    assert_eq!(
        told,
        [(Some("fork"), Some(false)), (Some("fork"), Some(true))]
    );

    // The same size with another root needs no tile at all.
    watched.serve(&log(2, 200));
    fs::remove_dir_all(watched.served().join("tile")).unwrap();
    watched.finds("fork", &[]);
}

#[test]
fn an_older_checkpoint_put_back_is_a_rollback() {
    let (short, long) = (log(1, 100), log(1, 200));
    let watched = Watched::new(&long);
    watched.good(&[]);
    // All of the longer log's tiles are still there, or none.
    fs::write(
        watched.served().join("checkpoint"),
        long.checkpoint(short.size() - 1),
    )
    .unwrap();
    let alert = watched.finds("rollback", &[]);
    assert!(
        alert["summary"]
            .as_str()
            .unwrap()
            .contains("an older one was put back"),
        "{alert}"
    );
    watched.serve(&long);
    watched.good(&[]);
    fs::write(watched.served().join("checkpoint"), long.checkpoint(0)).unwrap();
    fs::remove_dir_all(watched.served().join("tile")).unwrap();
    watched.finds("rollback", &[]);
}

#[test]
fn what_is_no_checkpoint_of_the_log_and_tiles_that_lie() {
    let watched = Watched::new(&log(1, 200));
    watched.good(&[]);
    let checkpoint = watched.served().join("checkpoint");
    let mut note = fs::read(&checkpoint).unwrap();
    let at = note.len() - 10;
    note[at] = if note[at] == b'A' { b'B' } else { b'A' };
    fs::write(&checkpoint, note).unwrap();
    watched.finds("checkpoint", &[]);

    let watched = Watched::new(&log(1, 200));
    watched.good(&[]);
    watched.serve(&log(1, 300));
    let tiles = |dir: &Path| -> Vec<PathBuf> {
        fs::read_dir(dir)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .collect()
    };
    for file in tiles(&watched.served().join("tile/0"))
        .into_iter()
        .filter(|path| path.is_file())
    {
        let mut bytes = fs::read(&file).unwrap();
        bytes[40] ^= 1;
        fs::write(file, bytes).unwrap();
    }
    watched.finds("tiles", &[]);
}

#[test]
fn a_record_that_was_altered_is_named() {
    let mut grown = log(1, 200);
    let watched = Watched::new(&grown);
    assert_eq!(watched.good(&["--entries"])["entries"], grown.size());
    grown.sealed_run("second", 2, 50);
    watched.serve(&grown);
    let bundle = watched.served().join("tile/entries/001");
    let mut bytes = fs::read(&bundle).unwrap();
    // The last byte but one of the bundle's first entry, within a name.
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let at = 2 + length - 4;
    bytes[at] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let alert = watched.finds("entries", &["--entries"]);
    let failures = watched.evidence(&alert, "failures.json");
    let failures: Value = serde_json::from_slice(&failures).unwrap();
    let leaf = failures
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["check"] == "leaf")
        .unwrap();
    assert_eq!(leaf["index"], 256, "{failures}");
    watched.evidence(&alert, "tile/entries/001");
    // Without the entries nobody sees it: tiles and root are as they were.
    watched.good(&["--state-dir", "elsewhere"]);
}

#[test]
fn a_stream_that_the_seal_does_not_list_is_found_as_the_log_grows() {
    let mut log = log(1, 20);
    let watched = Watched::new(&log);
    let mut running = Running::start(&watched, &["--entries", "--interval", "1s"]);
    running.wait_for("a good look", |look| look["status"] == "true");

    let mut owner = log.start_run("hides", 5);
    let mut hidden = log.stream(owner.scope(), "rank7", "trainer", 5);
    log.write(&mut hidden, metric(1));
    log.sign(&mut hidden);
    watched.serve(&log);
    let size = log.size();
    running.wait_for("the growth", |look| {
        look["entries"] == size && look["status"] == "true"
    });
    // What was read at the look before is known at this one.
    log.seal(&mut owner, &[]);
    watched.serve(&log);
    let look = running.wait_for("the seal", |look| look["status"] == "false");
    let alert = &look["alerts"][0];
    assert_eq!(alert["kind"], "records", "{look}");
    assert!(
        alert["summary"]
            .as_str()
            .unwrap()
            .contains("the seal to list the stream rank7"),
        "{look}"
    );

    // A stream of a sealed run, later; and one whose records do not follow.
    let mut late = log.stream(owner.scope(), "late", "trainer", 5);
    log.write(&mut late, metric(1));
    watched.serve(&log);
    let look = running.wait_for("the late stream", |look| {
        look["alerts"][0]["kind"] == "records"
    });
    assert!(
        look["alerts"][0]["summary"]
            .as_str()
            .unwrap()
            .contains("no record of a run that"),
        "{look}"
    );
    let mut stream = log.stream(Scope::Ledger, "gap", "trainer", 6);
    log.write(&mut stream, metric(1));
    let _left_out = stream.write(metric(2)).unwrap();
    log.write(&mut stream, metric(3));
    watched.serve(&log);
    running.wait_for("the gap", |look| look["alerts"][0]["kind"] == "records");
}

#[test]
fn a_monitor_that_is_started_again_reads_what_is_new_and_knows_what_is_old() {
    let mut log = log(1, 250);
    let mut owner = log.start_run("hides", 5);
    let mut hidden = log.stream(owner.scope(), "rank7", "trainer", 5);
    log.write(&mut hidden, metric(1));
    log.sign(&mut hidden);
    let watched = Watched::new(&log);
    let entries_read = || -> Vec<String> {
        let asked = watched.web.asked();
        let entries = asked
            .into_iter()
            .filter_map(|path| Some(path.strip_prefix("/tile/entries/")?.to_owned()));
        entries.collect()
    };
    assert_eq!(watched.good(&["--entries"])["entries"], log.size());
    assert_eq!(entries_read().len(), 3);
    let mut open = log.start_run("more", 6);
    log.write(&mut open, metric(1));
    watched.serve(&log);
    assert_eq!(watched.good(&["--entries"])["entries"], log.size());
    let read = entries_read();
    assert!(read.len() == 1 && read[0].starts_with("002.p/"), "{read:?}");

    // Damaged, it is not believed: the log is read from the first entry.
    let kept = watched.desk.path("audit-monitor/entries");
    let mut bytes = fs::read(&kept).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&kept, bytes).unwrap();
    watched.good(&["--entries"]);
    assert_eq!(entries_read().len(), 3);

    // What the first monitor read is known to the last: the seal leaves a stream out.
    log.seal(&mut owner, &[]);
    watched.serve(&log);
    let alert = watched.finds("records", &["--entries"]);
    assert!(
        alert["summary"]
            .as_str()
            .unwrap()
            .contains("the seal to list the stream rank7"),
        "{alert}"
    );
    let (code, look) = watched.once(&["--entries"]);
    assert_eq!(
        (code, look["alerts"].as_array().unwrap().len()),
        (1, 0),
        "{look}"
    );
}

#[test]
fn a_log_that_stands_still_and_one_that_is_gone() {
    let watched = Watched::new(&log(1, 20));
    let url = watched.web.url.clone();
    let base = [
        "monitor",
        &url,
        "--policy",
        "policy",
        "--interval",
        "1s",
        "--max-age",
        "2s",
        "--exit-on-alert",
    ];
    let said = watched.desk.fails(1, &base);
    assert!(said.contains("ALERT stale"), "{said}");

    let Watched { desk, web } = watched;
    drop(web);
    let gone = [&base[..], &["--state-dir", "gone"]].concat();
    let said = desk.fails(3, &gone);
    assert!(said.contains("ALERT unavailable"), "{said}");
    assert!(!said.contains("FALSE"), "down is not false: {said}");
    let said = desk.fails(
        3,
        &[
            "monitor",
            &url,
            "--once",
            "--policy",
            "policy",
            "--state-dir",
            "once",
        ],
    );
    assert!(!said.contains("ALERT"), "not yet: {said}");
    let said = desk.fails(3, &["monitor", &url, "--once", "--state-dir", "none"]);
    assert!(
        said.contains("--policy"),
        "no policy and nobody to ask: {said}"
    );
}

#[test]
fn metrics_and_a_webhook_that_is_deaf_at_first() {
    let watched = Watched::new(&log(1, 200));
    watched.good(&[]);
    watched.web.refuse(4);
    watched.serve(&log(2, 300));
    let hook = [
        "--webhook",
        &watched.web.url,
        "--interval",
        "1s",
        "--metrics",
        "127.0.0.1:0",
    ];
    let mut running = Running::start(&watched, &hook);
    let metrics = running.metrics.clone().unwrap();
    running.wait_for("the fork", |look| look["alerts"][0]["kind"] == "fork");
    // Three tries, then kept for the next look: nobody is left untold.
    eventually("it is told", || !watched.web.posts().is_empty());
    let post: Value = serde_json::from_slice(&watched.web.posts()[0]).unwrap();
    assert_eq!(
        (&post["kind"], &post["resolved"]),
        (&"fork".into(), &false.into())
    );
    assert_eq!(post["url"], watched.web.url);
    eventually("it is counted", || {
        let text = String::from_utf8(get(&metrics).1).unwrap();
        [
            r#"rlhf_audit_monitor_standing{kind="fork"} 1"#,
            r#"rlhf_audit_monitor_alerts_total{kind="fork"} 1"#,
            r#"rlhf_audit_monitor_standing{kind="stale"} 0"#,
            "rlhf_audit_monitor_webhook_failures_total 1",
            "rlhf_audit_monitor_available 1",
        ]
        .iter()
        .all(|line| text.lines().any(|found| found == *line))
    });
    let taken = watched.desk.fails(3, &watched.args(&["--once"]));
    assert!(taken.contains("another monitor uses"), "{taken}");
}

/// A monitor that goes on, and is ended when dropped.
struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<Value>,
    metrics: Option<String>,
}

impl Running {
    fn start(watched: &Watched, more: &[&str]) -> Self {
        let mut child = watched
            .desk
            .command(&watched.args(more))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let metrics = more.contains(&"--metrics").then(|| {
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
            let line = lines.next().unwrap().unwrap();
            line.split_once("metrics on ").unwrap().1.to_owned()
        });
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if send.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            metrics,
        }
    }

    /// The next look that is so.
    fn wait_for(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        loop {
            let wait = std::time::Duration::from_mins(1);
            let look = self
                .lines
                .recv_timeout(wait)
                .unwrap_or_else(|_| panic!("never: {what}; last {last}"));
            if is(&look) {
                return look;
            }
            last = look;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
