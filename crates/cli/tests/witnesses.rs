//! Real witnesses beside a real server: what they cosign, what they refuse, and what that is worth to
//! whoever verifies (I18, I19, I20).

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{ADMIN, Desk, Server};

/// A witness process, killed when dropped.
struct Witness {
    child: Child,
    address: String,
    vkeys: Vec<String>,
}

impl Witness {
    /// Watches the log of ./audit-data.
    fn start(desk: &Desk, name: &str, port: &str) -> Self {
        let args = [
            "witness",
            "--data-dir",
            name,
            "--port",
            port,
            "--name",
            &format!("witness.example/{name}"),
            "--ml-dsa-44",
            "--log",
            "audit-data/policy",
        ];
        let mut child = desk
            .command(&args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map(|line| line.unwrap())
            .find_map(|line| {
                let (_, rest) = line.split_once("on http://")?;
                Some(rest.split_whitespace().next()?.to_owned())
            })
            .expect("the witness says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let vkeys = out.take(2).map(|line| line.unwrap()).collect();
        Self {
            child,
            address,
            vkeys,
        }
    }

    fn port(&self) -> &str {
        self.address.rsplit_once(':').unwrap().1
    }

    /// SIGKILL, at once.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn post(&self, body: &str) -> Answer {
        ask(&self.address, &request("/add-checkpoint", body)).unwrap()
    }

    fn get(&self, path: &str) -> Answer {
        get(&self.address, path)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn get(address: &str, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n");
    ask(address, &request).unwrap()
}

/// `None` where the connection ends without an answer.
fn ask(address: &str, request: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    // Whoever is refused early may find the connection closed while it still sends.
    let _ = stream.write_all(request.as_bytes());
    answer(&mut stream)
}

fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer {
        status,
        head: head.to_lowercase(),
        body: body.to_owned(),
    })
}

#[track_caller]
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "it never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The policy of an auditor and of the server: this log, and `quorum` of these witnesses.
fn policy(desk: &Desk, witnesses: &[&Witness], quorum: &str) -> PathBuf {
    let own = fs::read_to_string(desk.path("audit-data/policy")).unwrap();
    let mut file = format!("{}\n", own.lines().next().unwrap());
    let mut names = Vec::new();
    for (number, witness) in witnesses.iter().enumerate() {
        for (kind, vkey) in ["", "-pq"].iter().zip(&witness.vkeys) {
            let name = format!("w{number}{kind}");
            writeln!(file, "witness {name} {vkey} http://{}", witness.address).unwrap();
            names.push(name);
        }
    }
    writeln!(file, "group all-of-them {quorum} {}", names.join(" ")).unwrap();
    file += "quorum all-of-them
";
    let path = desk.path("witnessed.policy");
    fs::write(&path, file).unwrap();
    path
}

fn serve(desk: &Desk, further: &[&str]) -> Server {
    let policy = desk.path("witnessed.policy");
    let args = [
        &[
            "--witness-policy",
            policy.to_str().unwrap(),
            "--witness-interval",
            "0.1",
        ],
        further,
    ];
    Server::start_with(desk, &args.concat())
}

fn remote<'a>(server: &'a Server, args: &[&'a str]) -> Vec<&'a str> {
    let place = ["--server", &server.url, "--token", ADMIN, "--key", "k"];
    [args, &place].concat()
}

fn record_run(desk: &Desk, server: &Server, name: &str) {
    desk.ok(&remote(server, &["run", "start", "--name", name]));
    append(desk, server, name, 3);
    desk.ok(&remote(server, &["run", "seal", name]));
}

fn append(desk: &Desk, server: &Server, name: &str, count: usize) {
    let events = "{\"kind\":\"metric.logged\",\"body\":{\"metrics\":{\"loss\":1}}}\n".repeat(count);
    let args = remote(server, &["append", "--run", name]);
    let output = desk.run_with(&args, events.as_bytes());
    let said = common::text(&output.stdout, &output.stderr);
    assert!(output.status.success(), "{said}");
}

fn host(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

fn size(note: &str) -> u64 {
    note.lines().nth(1).unwrap().parse().unwrap()
}

/// Waits until the whole log is under the quorum.
#[track_caller]
fn cosigned(server: &Server) -> String {
    eventually(|| {
        let published = get(host(server), "/log/checkpoint");
        let cosigned = get(host(server), "/log/checkpoint.cosigned");
        let there = published.status == 200
            && cosigned.status == 200
            && size(&cosigned.body) >= size(&published.body);
        there.then_some(cosigned.body)
    })
}

fn metric(server: &Server, line: &str) -> Option<f64> {
    let metrics = get(host(server), "/metrics").body;
    let found = metrics.lines().find_map(|l| l.strip_prefix(line))?;
    found.trim().parse().ok()
}

fn bundle(desk: &Desk, server: &Server, run: &str) -> String {
    let file = format!("{run}.bundle");
    desk.ok(&remote(server, &["bundle", run, "-o", &file]));
    file
}

#[test]
fn a_log_under_two_witnesses_satisfies_whoever_demands_both() {
    let desk = Desk::with_ledger();
    let first = Witness::start(&desk, "w0", "0");
    let second = Witness::start(&desk, "w1", "0");
    let demanding = policy(&desk, &[&first, &second], "all");
    let demanding = demanding.to_str().unwrap();
    let server = serve(&desk, &[]);
    record_run(&desk, &server, "watched");
    cosigned(&server);

    // The log over HTTP, and the bundle, carry both witnesses' word, and the report names them.
    let log = format!("{}/log", server.url);
    let verify = ["verify", &log, "--policy", demanding, "--token", ADMIN];
    let file = bundle(&desk, &server, "watched");
    for args in [&verify[..], &["verify", &file, "--policy", demanding]] {
        let report = desk.json(args);
        assert_eq!(report["verdict"], "verified", "{report}");
        let names = report["trust"]["witnesses"].to_string();
        for name in ["witness.example/w0", "witness.example/w1"] {
            assert!(names.contains(name), "{names}");
        }
        let said = desk.ok(args);
        assert!(said.contains("witness.example/w1"), "{said}");
    }

    // A witness that is down delays nobody, and is seen to be down.
    let port = second.port().to_owned();
    second.kill();
    record_run(&desk, &server, "unwatched");
    eventually(|| {
        metric(
            &server,
            "rlhf_audit_witness_failures_total{witness=\"w1+w1-pq\"}",
        )
        .filter(|failures| *failures > 0.0)
    });
    let lag = |witness: &str| {
        metric(
            &server,
            &format!("rlhf_audit_witness_lag_records{{witness=\"{witness}\"}}"),
        )
    };
    assert!(lag("w1+w1-pq").unwrap() > 0.0);
    eventually(|| lag("w0+w0-pq").filter(|lag| *lag == 0.0));
    let ready = get(host(&server), "/health/ready");
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert!(ready.body.contains("\"degraded\""), "{}", ready.body);
    assert!(
        ready.body.contains("w1+w1-pq: it did not answer"),
        "{}",
        ready.body
    );
    let file = bundle(&desk, &server, "unwatched");
    let said = desk.fails(1, &["verify", &file, "--policy", demanding]);
    assert!(
        said.contains("quorum \"all-of-them\" is not reached"),
        "{said}"
    );
    assert!(said.contains("\"w1\""), "{said}");
    desk.ok(&["verify", &file, "--policy", "audit-data/policy"]);
    // Of the whole log, what both have seen still satisfies; the report says that there is more.
    let report = desk.json(&verify);
    assert_eq!(report["verdict"], "verified", "{report}");
    assert!(
        report["notes"]
            .to_string()
            .contains("not cosigned the latest"),
        "{report}"
    );

    // Back again, it is brought up from where it was.
    let second = Witness::start(&desk, "w1", &port);
    cosigned(&server);
    // How long a quorum took after publication.
    eventually(|| {
        let stage = "rlhf_audit_append_stage_duration_seconds_count{stage=\"cosigned\"}";
        metric(&server, stage).filter(|count| *count > 0.0)
    });
    let file = bundle(&desk, &server, "unwatched");
    desk.ok(&["verify", &file, "--policy", demanding]);
    drop(server);

    // What was collected is on disk: in the directory, and in bundles made without any server.
    desk.ok(&["verify", "audit-data", "--policy", demanding]);
    desk.ok(&["bundle", "watched", "-o", "offline.bundle"]);
    desk.ok(&["verify", "offline.bundle", "--policy", demanding]);

    // The witnesses show what they cosigned, to whoever asks them.
    let origin = cosigned_origin(&desk);
    let shown = second.get(&format!(
        "/{}/checkpoint",
        ledger::witness::origin_hash(&origin)
    ));
    assert_eq!(shown.status, 200);
    assert!(shown.body.starts_with(&origin), "{}", shown.body);
    let health = second.get("/health/ready");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let metrics = second.get("/metrics").body;
    assert!(
        metrics.contains("rlhf_audit_witness_add_checkpoint_total{answer=\"cosigned\"}"),
        "{metrics}"
    );
}

fn cosigned_origin(desk: &Desk) -> String {
    let note = fs::read_to_string(desk.path("audit-data/log/checkpoint")).unwrap();
    note.lines().next().unwrap().to_owned()
}

#[test]
fn a_server_that_requires_the_quorum_shows_nothing_without_it_and_acknowledges_all_the_same() {
    let desk = Desk::with_ledger();
    let witness = Witness::start(&desk, "w0", "0");
    let demanding = policy(&desk, &[&witness], "all");
    let port = witness.port().to_owned();
    witness.kill();
    let server = serve(&desk, &["--require-quorum"]);
    desk.ok(&remote(&server, &["run", "start", "--name", "patient"]));
    append(&desk, &server, "patient", 2);
    let shown = get(host(&server), "/log/checkpoint");
    assert_eq!(shown.status, 404, "{}", shown.body);

    let witness = Witness::start(&desk, "w0", &port);
    let note = eventually(|| {
        let shown = get(host(&server), "/log/checkpoint");
        (shown.status == 200).then_some(shown.body)
    });
    fs::write(desk.path("note"), &note).unwrap();
    let bytes = fs::read(&demanding).unwrap();
    assert!(
        tlog::Policy::parse(&bytes)
            .unwrap()
            .check(note.as_bytes())
            .is_ok()
    );
    witness.kill();
    append(&desk, &server, "patient", 2);
    let kept = get(host(&server), "/log/checkpoint").body;
    let policy = tlog::Policy::parse(&bytes).unwrap();
    assert!(policy.check(kept.as_bytes()).is_ok(), "{kept}");
    // Killed in the midst of publishing, it would leave tiles that no checkpoint covers yet.
    server.stop();
    // The directory, in which what is shown is behind what is published, is whole.
    desk.ok(&["fsck"]);
    desk.ok(&[
        "verify",
        "audit-data",
        "--policy",
        demanding.to_str().unwrap(),
    ]);
    desk.fails(2, &["serve", "--port", "0", "--require-quorum"]);
}

/// A ledger's directory as it is, beside it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&from, &to);
            let mode = fs::metadata(&from).unwrap().permissions();
            fs::set_permissions(&to, mode).unwrap();
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

fn replace(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy(from, to);
}

#[test]
fn a_forked_log_and_one_rolled_back_are_refused_and_leave_evidence() {
    let desk = Desk::with_ledger();
    desk.ok(&["run", "start", "--name", "common"]);
    let (data, before) = (desk.path("audit-data"), desk.path("before"));
    copy(&data, &before);
    let witness = Witness::start(&desk, "w0", "0");
    policy(&desk, &[&witness], "all");
    let server = serve(&desk, &[]);
    record_run(&desk, &server, "told-to-some");
    let told = size(&cosigned(&server));
    drop(server);
    let later = desk.path("later");
    copy(&data, &later);

    // The same keys, and another history from here on, for people who have not seen the first.
    replace(&before, &data);
    fs::remove_dir_all(desk.path("state")).unwrap();
    let server = serve(&desk, &[]);
    desk.ok(&remote(
        &server,
        &["run", "start", "--name", "told-to-others"],
    ));
    let trouble = eventually(|| {
        let ready = get(host(&server), "/health/ready").body;
        ready.contains("it has cosigned").then_some(ready)
    });
    assert!(trouble.contains("rolled back"), "{trouble}");
    // As long as it is the shorter one it looks rolled back; once it is longer it is a fork.
    append(&desk, &server, "told-to-others", 2 * told as usize);
    let trouble = eventually(|| {
        let ready = get(host(&server), "/health/ready").body;
        ready.contains("inconsistent").then_some(ready)
    });
    assert!(trouble.contains("forked"), "{trouble}");
    assert!(get(host(&server), "/log/checkpoint.cosigned").status == 404);
    drop(server);
    let evidence = desk.path("w0/evidence");
    let logs: Vec<_> = fs::read_dir(&evidence).unwrap().collect();
    let pieces = fs::read_dir(logs[0].as_ref().unwrap().path()).unwrap();
    let piece = pieces.last().unwrap().unwrap().path();
    let own = tlog::Policy::parse(&fs::read(desk.path("audit-data/policy")).unwrap()).unwrap();
    let kept = own.check(&fs::read(piece.join("kept")).unwrap()).unwrap();
    let request = tlog::AddCheckpoint::parse(&fs::read(piece.join("request")).unwrap()).unwrap();
    let shown = own.check(request.checkpoint.as_bytes()).unwrap();
    assert!(kept.checkpoint.size < shown.checkpoint.size);

    // The history that was told first goes on being cosigned.
    replace(&later, &data);
    fs::remove_dir_all(desk.path("state")).unwrap();
    let server = serve(&desk, &[]);
    desk.ok(&remote(&server, &["run", "start", "--name", "goes-on"]));
    let note = eventually(|| Some(cosigned(&server)).filter(|note| size(note) > told));
    assert!(note.contains("witness.example/w0"), "{note}");
}

/// An add-checkpoint request for the log in ./audit-data, from the empty tree.
fn from_nothing(desk: &Desk) -> String {
    let note = fs::read_to_string(desk.path("audit-data/log/checkpoint")).unwrap();
    format!("old 0\n\n{note}")
}

#[test]
fn status_codes_are_the_specifications_and_slow_or_huge_requests_are_cut_off() {
    let desk = Desk::with_ledger();
    desk.ok(&["run", "start", "--name", "r"]);
    let good = from_nothing(&desk);
    let size = size(good.split_once("\n\n").unwrap().1);
    let witness = Witness::start(&desk, "w0", "0");

    let body = good.replacen(&cosigned_origin(&desk), "example.com/unknown", 1);
    assert_eq!(witness.post(&body).status, 404);
    let body = good.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size + 1), 1);
    assert_eq!(witness.post(&body).status, 403);
    for body in [
        "",
        "old 0\n",
        "what is this",
        &good.replacen("old 0", "old 00", 1),
    ] {
        assert_eq!(witness.post(body).status, 400, "{body:?}");
    }
    let body = good.replacen("old 0", &format!("old {}", size + 1), 1);
    assert_eq!(witness.post(&body).status, 400);
    let hash = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=";
    let body = good.replacen("old 0\n", &format!("old 0\n{hash}\n"), 1);
    assert_eq!(witness.post(&body).status, 422);
    let body = good.replacen("old 0", "old 1", 1);
    let conflict = witness.post(&body);
    assert_eq!((conflict.status, conflict.body.as_str()), (409, "0\n"));

    let cosigned = witness.post(&good);
    assert_eq!(cosigned.status, 200, "{}", cosigned.body);
    assert_eq!(cosigned.body.lines().count(), 2);
    assert!(
        cosigned
            .body
            .lines()
            .all(|line| line.starts_with("— witness.example/w0 "))
    );
    let conflict = witness.post(&good);
    assert_eq!((conflict.status, conflict.body), (409, format!("{size}\n")));
    assert!(
        conflict.head.contains("content-type: text/x.tlog.size"),
        "{}",
        conflict.head
    );

    // Huge: refused by what it says of itself, and by what it turns out to be.
    let huge = "x".repeat(1 << 20);
    assert_eq!(witness.post(&huge).status, 413);
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).repeat(16);
    let chunked = format!(
        "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    );
    let refused = ask(&witness.address, &chunked);
    assert!(refused.is_none_or(|answer| answer.status == 413));

    // Slow: neither headers nor body may take for ever, and many that try keep nobody out.
    let slow = |head: &str| {
        let mut stream = TcpStream::connect(&witness.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_mins(1)))
            .unwrap();
        stream
    };
    let head = "POST /add-checkpoint HTTP/1.1\r\nhost: w\r\n";
    let mut crowd: Vec<_> = (0..20).map(|_| slow(head)).collect();
    let mut drip = slow(&format!("{head}content-length: 9000\r\n\r\nold 0"));
    assert_eq!(witness.get("/health/live").status, 200);
    // One byte now and then does not buy more time.
    let began = Instant::now();
    let mut dripped = drip.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while began.elapsed() < Duration::from_mins(1) && dripped.write_all(b"0").is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let cut = answer(&mut drip).expect("an answer before the connection ends");
    assert_eq!(cut.status, 408);
    for stream in &mut crowd {
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        let cut = ended.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock);
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4") || cut);
    }
    drop(drip);
    dripping.join().unwrap();
    assert_eq!(witness.get("/health/live").status, 200);
}

#[test]
fn a_witness_killed_after_it_kept_and_before_it_answered_contradicts_nothing() {
    let desk = Desk::with_ledger();
    desk.ok(&["run", "start", "--name", "r"]);
    let mut witness = Witness::start(&desk, "w0", "0");
    let port = witness.port().to_owned();
    let origin = cosigned_origin(&desk);
    let kept = desk
        .path("w0/logs")
        .join(ledger::witness::origin_hash(&origin))
        .join("checkpoint");
    let mut known = 0;
    let began = Instant::now();
    // Until one was hit in between: kept, and nobody answered.
    loop {
        assert!(
            began.elapsed() < Duration::from_mins(2),
            "never hit in between"
        );
        let mut answers = Vec::new();
        // Each round a later checkpoint, so that there is something to keep.
        let input = b"{\"kind\":\"metric.logged\",\"body\":{\"metrics\":{\"loss\":1}}}\n";
        let output = desk.run_with(&["append", "--run", "r"], input);
        assert!(output.status.success());
        let body = from_known(&desk, known);
        let later = size(body.split_once("\n\n").unwrap().1);
        let before = fs::read(&kept).ok();
        let (address, message) = (witness.address.clone(), request("/add-checkpoint", &body));
        let asking = std::thread::spawn(move || ask(&address, &message));
        while fs::read(&kept).ok() == before && !asking.is_finished() {
            std::hint::spin_loop();
        }
        witness.kill();
        answers.extend(asking.join().unwrap());
        witness = Witness::start(&desk, "w0", &port);
        // What was answered is kept; what is kept is where the witness goes on.
        let conflict =
            witness.post(&from_known(&desk, later).replacen(&format!("old {later}"), "old 1", 1));
        assert_eq!(conflict.status, 409, "{}", conflict.body);
        let now: u64 = conflict.body.trim().parse().unwrap();
        let answered = answers.iter().any(|answer| answer.status == 200);
        assert!(
            now == later || (now == known && !answered),
            "{now}, {known}, {later}"
        );
        known = now;
        if now == later && !answered {
            break;
        }
    }
    // It shows the checkpoint with cosignatures, and takes the next.
    let shown = witness.get(&format!(
        "/{}/checkpoint",
        ledger::witness::origin_hash(&origin)
    ));
    assert_eq!(size(&shown.body), known);
    assert!(shown.body.contains("witness.example/w0"), "{}", shown.body);
    let again = witness.post(&from_known(&desk, known));
    assert_eq!(again.status, 200, "{}", again.body);
}

/// An add-checkpoint request from a size that the witness knows to the log in ./audit-data.
fn from_known(desk: &Desk, known: u64) -> String {
    struct Tiles(PathBuf);
    impl tlog::HashReader for Tiles {
        type Error = String;

        fn read_tile(&self, id: tlog::TileId) -> Result<tlog::HashTile, String> {
            let bytes = fs::read(self.0.join(id.path())).map_err(|e| e.to_string())?;
            tlog::HashTile::parse(&bytes, id.width()).map_err(|e| e.to_string())
        }
    }
    let note = fs::read_to_string(desk.path("audit-data/log/checkpoint")).unwrap();
    let tiles = Tiles(desk.path("audit-data/log"));
    let (old, new) = (tlog::TreeSize(known), tlog::TreeSize(size(&note)));
    let request = tlog::AddCheckpoint {
        old,
        proof: tlog::consistency_proof(&tiles, old, new).unwrap(),
        checkpoint: note,
    };
    request.to_string()
}

#[test]
fn a_witness_stops_when_told_and_says_what_it_needs() {
    let desk = Desk::with_ledger();
    let said = desk.fails(2, &["witness", "--port", "0"]);
    assert!(said.contains("--log"), "{said}");
    let said = desk.fails(3, &["witness", "--port", "0", "--log", "nowhere"]);
    assert!(said.contains("nowhere"), "{said}");
    let said = desk.fails(
        3,
        &[
            "witness",
            "--data-dir",
            "audit-data",
            "--port",
            "0",
            "--log",
            "audit-data/policy",
        ],
    );
    assert!(said.contains("holds a ledger"), "{said}");
    let mut witness = Witness::start(&desk, "w0", "0");
    // Once it answers, it listens for signals too.
    assert_eq!(witness.get("/health/live").status, 200);
    let pid = witness.child.id().to_string();
    let told = std::process::Command::new("kill")
        .arg(&pid)
        .status()
        .unwrap();
    assert!(told.success());
    assert_eq!(witness.child.wait().unwrap().code(), Some(0));
    let vkeys = fs::read_to_string(desk.path("w0/vkeys")).unwrap();
    assert_eq!(vkeys.lines().collect::<Vec<_>>(), witness.vkeys);
}

/// What a client does at a server that shows these directories one after the other.
fn refused(desk: &Desk, server: &Server) -> (String, PathBuf) {
    let started = remote(server, &["run", "start", "--name", "never"]);
    let said = desk.fails(1, &started);
    assert!(said.contains("contradicts itself"), "{said}");
    let evidence = said.split_once("the evidence is in ").unwrap().1;
    let path = PathBuf::from(evidence.lines().next().unwrap().trim());
    assert!(path.join("why").exists(), "{said}");
    (said, path)
}

#[test]
fn a_client_refuses_a_server_that_rewrote_what_it_showed_and_keeps_the_evidence() {
    let desk = Desk::with_ledger();
    desk.ok(&["run", "start", "--name", "common"]);
    let (data, before) = (desk.path("audit-data"), desk.path("before"));
    copy(&data, &before);
    let server = Server::start(&desk);
    record_run(&desk, &server, "shown");
    // What the client remembers is what was published when it last looked.
    desk.ok(&remote(&server, &["run", "list"]));
    drop(server);
    let shown = desk.path("shown-data");
    copy(&data, &shown);
    let own = tlog::Policy::parse(&fs::read(desk.path("audit-data/policy")).unwrap()).unwrap();
    let signed = |path: PathBuf| own.check(&fs::read(path).unwrap()).unwrap().checkpoint;

    // Rolled back.
    replace(&before, &data);
    let server = Server::start(&desk);
    let (said, evidence) = refused(&desk, &server);
    assert!(said.contains("rolled back"), "{said}");
    let (kept, short) = (
        signed(evidence.join("kept")),
        signed(evidence.join("shown")),
    );
    assert!(kept.size > short.size);
    drop(server);

    // Grown again to more than was shown, with another history.
    desk.ok(&["run", "start", "--name", "rewritten"]);
    let events = "{\"kind\":\"metric.logged\",\"body\":{\"metrics\":{\"loss\":2}}}\n".repeat(50);
    let output = desk.run_with(&["append", "--run", "rewritten"], events.as_bytes());
    assert!(output.status.success());
    let server = Server::start(&desk);
    let (said, evidence) = refused(&desk, &server);
    assert!(said.contains("records were changed"), "{said}");
    let kept = signed(evidence.join("kept"));
    let proof = fs::read(evidence.join("proof")).unwrap();
    let proof = tlog::AddCheckpoint::parse(&proof).unwrap();
    let forged = signed(evidence.join("shown"));
    assert_eq!(proof.old, kept.size);
    let (old, new) = (kept.size, forged.size);
    assert!(
        tlog::proof::verify_consistency(old, new, &kept.root, &forged.root, &proof.proof).is_err()
    );
    // Nothing of it was sent, and the refusal stands however often it is tried.
    refused(&desk, &server);
    let runs = desk.path("elsewhere");
    let elsewhere = runs.to_str().unwrap();
    let place = remote(
        &server,
        &["run", "list", "--state-dir", elsewhere, "--json"],
    );
    assert!(!desk.ok(&place).contains("never"));
    drop(server);

    // With its true history back, the server is good again.
    replace(&shown, &data);
    let server = Server::start(&desk);
    desk.ok(&remote(&server, &["run", "start", "--name", "again"]));
    // A policy from elsewhere is believed in place of the server's.
    let stranger = Desk::with_ledger();
    let theirs = stranger.path("audit-data/policy");
    let policy = theirs.to_str().unwrap();
    let place = remote(&server, &["run", "list", "--policy", policy]);
    let said = desk.fails(1, &place);
    assert!(
        said.contains("not signed by the log that is known"),
        "{said}"
    );
    let place = remote(&server, &["run", "list", "--policy", "audit-data/policy"]);
    desk.ok(&place);
}
