//! Jobs, through the binary: workers that are killed and frozen, a Redis that is emptied and stopped, schedulers that
//! take over, damage that is found and told of. What is to be done is done, and once.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use client::{Client, Job, JobQuery};
use common::told::{MailServer, SECRET, header, is_taken, receiver};
use common::{ADMIN, Desk, Server, eventually, text};
use serde_json::{Value, json};
use testkit::services;

/// Usual schedules, off: what is done is what a test asks for.
const QUIET: &str = "[[schedule]]\nname = \"integrity\"\noff = true\n[[schedule]]\nname = \"integrity-whole\"\noff = true\n\
    [[schedule]]\nname = \"watch\"\noff = true\n";

/// A worker or a scheduler, killed when dropped.
struct Process {
    child: Child,
    name: String,
}

impl Process {
    fn start(desk: &Desk, args: &[&str]) -> Self {
        let mut child = desk
            .command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // On a terminal, and off it.
        let before = [
            format!("rlhf-audit: {} ", args[0]),
            format!("\"message\":\"{} ", args[0]),
        ];
        let name = lines
            .by_ref()
            .map(|line| line.unwrap())
            .find_map(|line| {
                let mut rest = before
                    .iter()
                    .filter_map(|word| line.split_once(word.as_str()));
                Some(rest.next()?.1.split_whitespace().next()?.to_owned())
            })
            .expect("it says its name");
        thread::spawn(move || lines.for_each(drop));
        Self { child, name }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A database of its own, with a ledger in it.
fn site(name: &str) -> (Desk, String) {
    let postgres = services::postgres();
    postgres.sql(&format!("CREATE DATABASE {name}"));
    let url = format!("{}/{name}", postgres.url().trim_end_matches("/postgres"));
    let desk = Desk::new();
    desk.ok(&["init", "--database-url", &url]);
    fs::write(desk.path("quiet.toml"), QUIET).unwrap();
    (desk, url)
}

fn holder(job: &Job) -> &str {
    job.worker.as_deref().unwrap_or_default()
}

fn running(client: &Client) -> Vec<Job> {
    let query = JobQuery {
        state: Some("running".to_owned()),
        ..JobQuery::default()
    };
    // A server that cannot reach its database for a moment is asked again.
    client.jobs(&query).map_or(Vec::new(), |page| page.jobs)
}

/// Starts so many runs on the server's own streams; gives their ids.
fn started(client: &Client, count: usize) -> Vec<String> {
    (0..count)
        .map(|n| {
            let new = client::NewRun {
                name: format!("run-{n}"),
                ..client::NewRun::default()
            };
            client.create_run(&new).unwrap().run.as_str().to_owned()
        })
        .collect()
}

/// The records of a kind that a server shows.
fn records(client: &Client, kind: &str) -> Vec<Value> {
    let mut query = client::RecordQuery {
        kind: Some(kind.to_owned()),
        ..client::RecordQuery::default()
    };
    let mut all = Vec::new();
    loop {
        let page = client.records(&query).unwrap();
        for logged in &page.records {
            all.push(serde_json::from_str(logged.record.get()).unwrap());
        }
        query.after = page.next;
        if query.after.is_none() {
            return all;
        }
    }
}

/// I26: three workers are killed and frozen in turn, and Redis is emptied, frozen and stopped meanwhile. Every card is
/// issued, and once.
#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, with all that goes wrong in it"
)]
fn workers_killed_and_frozen_lose_and_double_nothing() {
    let (desk, database) = site("killed");
    let mut redis = services::Redis::start();
    let redis_url = redis.url();
    let at = [
        "--database-url",
        database.as_str(),
        "--redis-url",
        redis_url.as_str(),
    ];
    let server = Server::start_with(
        &desk,
        &[&at[..], &["--workers", "0", "--config", "quiet.toml"]].concat(),
    );
    let work = [&["worker"], &at[..], &["--lease", "2s", "--threads", "2"]].concat();
    let client = Client::new(&server.url, Some(ADMIN)).unwrap();
    let runs = started(&client, 80);
    let mut workers: Vec<Process> = (0..3).map(|_| Process::start(&desk, &work)).collect();
    let jobs: Vec<String> = runs
        .iter()
        .map(|run| {
            client
                .add_job("model-card", &json!({ "run": run }))
                .unwrap()
        })
        .collect();
    let busy = |worker: &Process| {
        let mut found = None;
        eventually("a worker has a job", || {
            found = running(&client)
                .into_iter()
                .find(|job| holder(job) == worker.name);
            // Whoever is never seen at work has had its turn: all is done.
            found.is_some()
                || client
                    .jobs(&JobQuery::default())
                    .is_ok_and(|page| page.jobs.iter().all(|job| job.state == "done"))
        });
        found
    };
    for (turn, worker) in workers.iter_mut().enumerate() {
        busy(worker);
        worker.signal("KILL");
        let next = Process::start(&desk, &work);
        std::mem::replace(worker, next).kill();
        match turn {
            0 => redis.flush(),
            1 => redis.signal("STOP"),
            _ => redis.signal("CONT"),
        }
    }
    redis.stop();
    let mut taken_over = 0;
    for worker in &workers {
        let job = busy(worker);
        worker.signal("STOP");
        if let Some(job) = job {
            // Or its end was heard just before: then it may rest for a while.
            eventually("the job is not left to the frozen worker", || {
                client
                    .job(&job.id)
                    .is_ok_and(|now| now.attempt > job.attempt || now.state != "running")
            });
            taken_over += 1;
        }
        worker.signal("CONT");
    }
    redis.restart();
    // What failed meanwhile rests for up to a minute before its last try.
    let deadline = Instant::now() + Duration::from_mins(4);
    let is_done = |id: &String| client.job(id).is_ok_and(|job| job.state == "done");
    while !jobs.iter().all(is_done) {
        assert!(Instant::now() < deadline, "not all is done");
        thread::sleep(Duration::from_millis(200));
    }
    // A job is done once its record is durable; it can be read a moment later.
    let mut issued: BTreeMap<String, usize> = BTreeMap::new();
    eventually("every card can be read", || {
        issued.clear();
        for record in records(&client, "document.issued") {
            *issued
                .entry(record["body"]["run"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
        issued.len() == runs.len()
    });
    assert!(issued.values().all(|count| *count == 1), "{issued:?}");
    assert!(taken_over > 0, "nobody was frozen at work");
    let retaken = jobs
        .iter()
        .filter(|id| client.job(id).unwrap().attempt > 1)
        .count();
    assert!(retaken > 0, "no job was begun twice");
    let metrics = common::get(&format!("{}/metrics", server.url)).1;
    let metrics = String::from_utf8(metrics).unwrap();
    let line = format!(
        "rlhf_audit_job_outcomes_total{{kind=\"model-card\",outcome=\"done\"}} {}",
        runs.len()
    );
    assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
    // What several wrote is one log that holds.
    desk.verifies(&server.url);
    // Nobody waits for a bell that is gone.
    let checked = desk.json(&[
        "jobs",
        "run",
        "integrity",
        "--server",
        &server.url,
        "--token",
        ADMIN,
    ]);
    assert_eq!(checked["result"]["sound"], true, "{checked}");
}

/// A schedule's time is used once, whichever of two schedulers is killed.
#[test]
fn of_two_schedulers_one_acts_and_the_other_takes_over() {
    let (desk, database) = site("scheduled");
    let config =
        format!("{QUIET}[[schedule]]\nname = \"often\"\nkind = \"model-cards\"\nevery = \"1s\"\n");
    fs::write(desk.path("often.toml"), config).unwrap();
    let at = [
        "--database-url",
        database.as_str(),
        "--config",
        "often.toml",
    ];
    let server = Server::start_with(&desk, &at[..2]);
    let client = Client::new(&server.url, Some(ADMIN)).unwrap();
    let schedule = [&["scheduler"], &at[..]].concat();
    let mut schedulers: Vec<Process> = (0..2).map(|_| Process::start(&desk, &schedule)).collect();
    let all = || {
        let query = JobQuery {
            kind: Some("model-cards".to_owned()),
            limit: Some(1_000),
            ..JobQuery::default()
        };
        client.jobs(&query).unwrap().jobs
    };
    eventually("jobs are added", || all().len() >= 4);
    let postgres = services::postgres();
    let url = database.clone();
    let acting = || {
        postgres.sql_in(
            &url,
            "SELECT holder FROM rlhf_audit.leases WHERE name = 'scheduler'",
        )
    };
    let leader = acting();
    let place = schedulers
        .iter()
        .position(|s| s.name == leader)
        .expect("one of them acts");
    schedulers.remove(place).kill();
    eventually("the other takes over", || acting() == schedulers[0].name);
    let before = all().len();
    eventually("jobs are added again", || all().len() >= before + 3);
    let seconds: Vec<i64> = all()
        .iter()
        .map(|job| job.created.0.div_euclid(1_000_000))
        .collect();
    let different: BTreeSet<i64> = seconds.iter().copied().collect();
    assert_eq!(different.len(), seconds.len(), "one a second: {seconds:?}");
}

/// A tile is damaged under a running server: the check finds it, the log says so once, and whoever is to know is told.
#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, from the damage to its repair"
)]
fn a_tampered_tile_is_found_recorded_and_told_of() {
    let desk = Desk::with_ledger();
    desk.ok(&["run", "start", "--name", "first"]);
    let events: Vec<String> = (0..600)
        .map(|n| {
            format!("{{\"kind\":\"metric.logged\",\"body\":{{\"metrics\":{{\"loss\":{n}}}}}}}\n")
        })
        .collect();
    let events = events.concat();
    let appended = desk.run_with(&["append", "--run", "first"], events.as_bytes());
    assert!(
        appended.status.success(),
        "{}",
        text(&appended.stdout, &appended.stderr)
    );
    let (url, received) = receiver();
    let mails = MailServer::start(&[]);
    let smtp_port = mails.port;
    fs::write(desk.path("secret"), SECRET).unwrap();
    let config = format!(
        "{QUIET}[[webhook]]\nname = \"ops\"\nurl = \"{url}\"\nsecret-file = \"secret\"\n\
         [[mail]]\nname = \"mail\"\nhost = \"127.0.0.1\"\nport = {smtp_port}\ntls = \"none\"\nfrom = \"audit@example.org\"\n\
         to = [\"ops@example.org\"]\nevents = [\"integrity.failed\"]\n"
    );
    fs::write(desk.path("jobs.toml"), config).unwrap();
    let server = Server::start_with(&desk, &["--config", "jobs.toml"]);
    let at = ["--server", server.url.as_str(), "--token", ADMIN];
    let check = |args: &[&str]| {
        let output = desk.run(&[&["jobs", "run", "integrity", "--json"], args, &at[..]].concat());
        let job: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", text(&output.stdout, &output.stderr)));
        (output.status.code(), job["result"].clone())
    };
    let (code, result) = check(&[]);
    assert_eq!(
        (code, &result["sound"]),
        (Some(0), &json!(true)),
        "{result}"
    );

    let tile = desk.path("audit-data/log/tile/0/001");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[40] ^= 1;
    fs::write(&tile, bytes).unwrap();
    let (code, result) = check(&["--whole"]);
    assert_eq!(
        (code, &result["sound"]),
        (Some(1), &json!(false)),
        "{result}"
    );
    let named: Vec<_> = result["found"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| &found["what"])
        .collect();
    assert!(named.contains(&&json!("tile-0-1")), "{result}");

    // Found again, it is the same: it is said once.
    let (code, _) = check(&[]);
    assert_eq!(code, Some(1));
    let client = Client::new(&server.url, Some(ADMIN)).unwrap();
    let incidents = || {
        let all = records(&client, "incident.reported").into_iter();
        let of = all.filter(|record| record["body"]["detail"] == "tile-0-1");
        of.map(|record| record["body"].clone()).collect::<Vec<_>>()
    };
    eventually("the incident is published", || !incidents().is_empty());
    assert_eq!(
        incidents(),
        [json!({ "detail": "tile-0-1", "incident": "integrity-failure" })]
    );

    let wait = Duration::from_mins(1);
    let told = |id: &str| {
        let deadline = Instant::now() + wait;
        loop {
            let post = received.recv_timeout(deadline - Instant::now()).unwrap();
            if post.contains("tile-0-1") && (id.is_empty() || post.contains(id)) {
                return post;
            }
        }
    };
    let post = told("");
    let (head, body) = post.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["type"], "integrity.failed");
    assert!(is_taken(&post, SECRET));
    assert!(!is_taken(&post, "whsec_c29tZXRoaW5nIGVsc2UgZW50aXJlbHkh"));
    let _ = header(head, "webhook-id");
    let mut mail = Vec::new();
    while !mail
        .iter()
        .any(|line: &String| line.contains("END MESSAGE"))
    {
        mail.push(mails.lines.recv_timeout(wait).unwrap());
    }
    assert!(
        mail.iter()
            .any(|line| line.starts_with("Subject: [rlhf-audit] integrity.failed")),
        "{mail:?}"
    );
    let text = mail
        .iter()
        .skip_while(|line| !line.is_empty())
        .take_while(|line| !line.starts_with("---"));
    let text = base64::engine::general_purpose::STANDARD
        .decode(text.map(|line| line.trim()).collect::<String>());
    let text = String::from_utf8(text.unwrap()).unwrap();
    assert!(text.contains("\"what\": \"tile-"), "{text}");
    let metrics = String::from_utf8(common::get(&format!("{}/metrics", server.url)).1).unwrap();
    let faults = metrics
        .lines()
        .find(|line| line.starts_with("rlhf_audit_integrity_faults "));
    assert!(
        faults.is_some_and(|line| !line.ends_with(" 0")),
        "{faults:?}"
    );
    let found = metrics
        .lines()
        .find_map(|line| line.strip_prefix("rlhf_audit_integrity_failures_total{by=\"check\"} "));
    // As often as it was found: once, however many checks there were.
    assert_eq!(
        found.map(str::to_owned),
        Some(named.len().to_string()),
        "{named:?} in {metrics}"
    );
    server.stop();
    drop(mails);

    // What follows from the rest is made again; then all is well, without a server too.
    desk.ok(&["fsck", "--repair"]);
    let checked = desk.json(&["jobs", "run", "integrity", "--whole"]);
    assert_eq!(checked["result"]["standing"], 0, "{checked}");
    desk.verified();
}

/// Without a word said, a server looks after its log.
#[test]
fn a_server_alone_follows_the_usual_schedules() {
    let desk = Desk::with_ledger();
    desk.ok(&["run", "start", "--name", "first"]);
    let variables = [("RLHF_AUDIT_NO_SCHEDULER".to_owned(), "false".to_owned())];
    let server = Server::start_in(&desk, &[], &variables);
    let client = Client::new(&server.url, Some(ADMIN)).unwrap();
    eventually("it is checked", || {
        let done = JobQuery {
            state: Some("done".to_owned()),
            ..JobQuery::default()
        };
        let kinds: BTreeSet<String> = client
            .jobs(&done)
            .unwrap()
            .jobs
            .into_iter()
            .map(|job| job.kind)
            .collect();
        ["integrity", "integrity-range", "watch"]
            .iter()
            .all(|kind| kinds.contains(*kind))
    });
    server.stop();
    let listed = desk.json(&["jobs", "list", "--kind", "integrity"]);
    let id = listed["jobs"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(desk.json(&["jobs", "show", &id])["state"], "done");
    let refused = desk.fails(2, &["jobs", "requeue", &id]);
    assert!(refused.contains("only dead ones"), "{refused}");
    let unknown = desk.fails(2, &["jobs", "run", "nothing"]);
    assert!(unknown.contains("model-card"), "{unknown}");
}

/// Whoever watches over workers and schedulers asks each of them.
#[test]
fn workers_and_schedulers_answer_for_themselves() {
    let (desk, database) = site("observed");
    for role in ["worker", "scheduler"] {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap().to_string();
        drop(port);
        let at = ["--database-url", &database, "--metrics-listen", &address];
        let process = Process::start(&desk, &[&[role], &at[..]].concat());
        let ready = common::get(&format!("http://{address}/health/ready"));
        assert_eq!(ready.0, 200, "{}", String::from_utf8_lossy(&ready.1));
        let (status, body) = common::get(&format!("http://{address}/metrics"));
        let metrics = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{metrics}");
        for name in ["rlhf_audit_jobs{", "rlhf_audit_process_threads "] {
            assert!(metrics.contains(name), "{role} lacks {name}: {metrics}");
        }
        // There is nothing else.
        assert_eq!(common::get(&format!("http://{address}/v1/jobs")).0, 404);
        let taken = desk.fails(3, &[&[role], &at[..]].concat());
        assert!(taken.contains("--metrics-listen"), "{taken}");
        process.signal("TERM");
        let mut process = process;
        assert!(process.child.wait().unwrap().success(), "{role}");
    }
}
