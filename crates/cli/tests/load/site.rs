//! The processes under load: each by its role, killed and started again, and watched for its memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use client::{Client, Job, JobQuery};
use testkit::services::{Postgres, Redis};
use tlog::Policy;

use crate::common::{ADMIN, Desk, eventually, get};

/// What there is to do beside taking records: cards of the runs that were sealed, and checks of the log.
const JOBS: &str = "[[schedule]]\nname = \"integrity\"\nkind = \"integrity\"\nevery = \"10s\"\n\
    [[schedule]]\nname = \"cards\"\nkind = \"model-cards\"\nevery = \"10s\"\n";
/// Who is killed, in turn.
const TURNS: [&str; 7] = [
    "server-1",
    "worker-1",
    "server-2",
    "worker-2",
    "scheduler",
    "redis",
    "worker-3",
];
/// As long as whoever watches over processes takes to start one again.
const RESTART: Duration = Duration::from_secs(1);
const SAMPLE: Duration = Duration::from_secs(1);
/// How long what is open at the end may take.
const DRAIN: Duration = Duration::from_mins(3);

pub(crate) struct Site {
    pub(crate) desk: Desk,
    _postgres: Postgres,
    redis: Redis,
    processes: BTreeMap<&'static str, Process>,
    lives: Arc<Mutex<Vec<Life>>>,
    sampler: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

struct Process {
    args: Vec<String>,
    /// Where a server listens.
    port: Option<u16>,
    child: Child,
}

/// One process from its start to its end; of a server, as long as the other one lives too: whoever stays takes over its clients,
/// and publishing, and may need more for that.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) name: &'static str,
    pid: u32,
    /// Resident memory in kB, once a second.
    pub(crate) resident: Vec<u64>,
    ended: bool,
}

/// Somebody was killed.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) who: &'static str,
    pub(crate) killed: Instant,
    pub(crate) ready: Instant,
}

impl Site {
    pub(crate) fn new(binary: Option<PathBuf>) -> Self {
        let postgres = Postgres::start_durable();
        let redis = Redis::start();
        let mut desk = Desk::new();
        if let Some(binary) = binary {
            desk.binary = binary;
        }
        let (database, redis_url) = (postgres.url(), redis.url());
        desk.ok(&["init", "--database-url", &database]);
        fs::write(desk.path("rlhf-audit.toml"), JOBS).unwrap();
        let shared = ["--database-url", &database, "--redis-url", &redis_url];
        let scheduled = ["--config", "rlhf-audit.toml"];
        let mut site = Self {
            desk,
            _postgres: postgres,
            redis,
            processes: BTreeMap::new(),
            lives: Arc::default(),
            sampler: None,
        };
        for name in ["server-1", "server-2"] {
            let port = free_port();
            let own = ["serve", "--admin-token", ADMIN, "--workers", "0"];
            let port_text = port.to_string();
            let more = ["--no-scheduler", "--port", &port_text];
            site.add(
                name,
                &[&own[..], &more, &shared, &scheduled].concat(),
                Some(port),
            );
        }
        for name in ["worker-1", "worker-2", "worker-3"] {
            // A short lease, so that what a killed one had is taken up while the load lasts.
            let own = ["worker", "--lease", "5s"];
            site.add(name, &[&own[..], &shared, &scheduled].concat(), None);
        }
        site.add(
            "scheduler",
            &[&["scheduler"][..], &shared, &scheduled].concat(),
            None,
        );
        site.sample();
        site
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        let ports = self.processes.values().filter_map(|process| process.port);
        ports
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect()
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::parse(&fs::read(self.desk.path("audit-data/policy")).unwrap()).unwrap()
    }

    /// A client with patience, for what comes before and after the load.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.urls()[0], Some(ADMIN)).unwrap()
    }

    fn add(&mut self, name: &'static str, args: &[&str], port: Option<u16>) {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let child = self.start(name, &args, port);
        self.processes.insert(name, Process { args, port, child });
    }

    /// Starts it, and waits until it says that it works.
    fn start(&self, name: &'static str, args: &[String], port: Option<u16>) -> Child {
        let log = self.desk.path(&format!("{name}.log"));
        let said_before = fs::read_to_string(&log).map_or(0, |text| text.len());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut child = self
            .desk
            .command(&args)
            // As in the production image.
            .env("MALLOC_ARENA_MAX", "2")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        eventually(&format!("{name} works"), || {
            let said = fs::read_to_string(&log).unwrap();
            let said = &said[said_before..];
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended: {said}");
            port.map_or_else(
                || said.contains(&format!("\"message\":\"{} ", args[0])),
                is_ready,
            )
        });
        self.lives.lock().unwrap().push(Life {
            name,
            pid: child.id(),
            resident: Vec::new(),
            ended: false,
        });
        child
    }

    /// `kill -9` of whoever has this turn, and its start some time later. Of Redis, all that was in it is lost.
    pub(crate) fn kill_and_restart(&mut self, turn: usize) -> Fault {
        let who = TURNS[turn % TURNS.len()];
        let killed = Instant::now();
        if who == "redis" {
            self.redis.stop();
            thread::sleep(RESTART);
            self.redis.restart();
        } else {
            self.end(who);
            if self.processes[who].port.is_some() {
                self.begin_new_lives(who);
            }
            thread::sleep(RESTART);
            let (args, port) = {
                let process = &self.processes[who];
                (process.args.clone(), process.port)
            };
            let child = self.start(who, &args, port);
            self.processes.get_mut(who).unwrap().child = child;
        }
        let ready = Instant::now();
        eprintln!(
            "{who} was killed, and works again after {:.1} s",
            (ready - killed).as_secs_f64()
        );
        Fault { who, killed, ready }
    }

    /// The servers but for this one live on, as other lives.
    fn begin_new_lives(&self, ended: &str) {
        let mut lives = self.lives.lock().unwrap();
        for (name, process) in &self.processes {
            if process.port.is_none() || *name == ended {
                continue;
            }
            let pid = process.child.id();
            for life in lives.iter_mut() {
                life.ended |= life.pid == pid;
            }
            lives.push(Life {
                name,
                pid,
                resident: Vec::new(),
                ended: false,
            });
        }
    }

    fn end(&mut self, who: &str) {
        let child = &mut self.processes.get_mut(who).unwrap().child;
        child.kill().unwrap();
        child.wait().unwrap();
        let pid = child.id();
        for life in self.lives.lock().unwrap().iter_mut() {
            life.ended |= life.pid == pid;
        }
    }

    /// Adds no more jobs, and waits until none is open; gives all that there were.
    pub(crate) fn finish_jobs(&mut self) -> Vec<Job> {
        self.end("scheduler");
        let client = self.client();
        let deadline = Instant::now() + DRAIN;
        loop {
            let jobs = jobs(&client);
            let open = |job: &&Job| !matches!(job.state.as_str(), "done" | "dead");
            let open: Vec<&Job> = jobs.iter().filter(open).collect();
            if open.is_empty() {
                return jobs;
            }
            assert!(Instant::now() < deadline, "jobs stay open: {open:?}");
            thread::sleep(Duration::from_secs(1));
        }
    }

    fn sample(&mut self) {
        let stop = Arc::new(AtomicBool::new(false));
        let (lives, stopped) = (Arc::clone(&self.lives), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for life in lives.lock().unwrap().iter_mut().filter(|life| !life.ended) {
                    life.resident.extend(resident(life.pid));
                }
                thread::sleep(SAMPLE);
            }
        });
        self.sampler = Some((stop, thread));
    }

    /// What every process took, once a second of its life.
    pub(crate) fn memory(&mut self) -> Vec<Life> {
        if let Some((stop, thread)) = self.sampler.take() {
            stop.store(true, Ordering::Relaxed);
            thread.join().unwrap();
        }
        self.lives.lock().unwrap().clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for process in self.processes.values_mut() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        if thread::panicking() {
            for name in self.processes.keys() {
                let log = self.desk.path(&format!("{name}.log"));
                let said = fs::read_to_string(log).unwrap_or_default();
                let last: Vec<&str> = said.lines().rev().take(5).collect();
                eprintln!("{name} said last: {last:#?}");
            }
        }
    }
}

fn jobs(client: &Client) -> Vec<Job> {
    let mut all = Vec::new();
    let mut query = JobQuery {
        limit: Some(1_000),
        ..JobQuery::default()
    };
    loop {
        let page = client.jobs(&query).unwrap();
        all.extend(page.jobs);
        query.before = page.next;
        if query.before.is_none() {
            return all;
        }
    }
}

fn is_ready(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        && get(&format!("http://127.0.0.1:{port}/health/ready")).0 == 200
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// In kB; none where the process is gone.
fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The machine, as its system calls it.
pub(crate) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("?", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes: u64 = memory
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    let system = Command::new("uname").arg("-sr").output();
    let system = system.map_or(String::new(), |out| {
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    });
    format!(
        "{cores} cores ({model}), {:.0} GB, {system}",
        kilobytes as f64 / 1e6
    )
}

/// The load averages over 1, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    averages.join(" ")
}
