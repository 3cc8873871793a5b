//! System calls fail under a running server, or the process is killed at them, one after the other; then it is started
//! again and the whole log is checked (I1 to I5, I13). `strace` does it: with `FAULTS=all` at every call (`make faults`),
//! with a number at so many of each sort, else at one of each.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{Client, ClientError, Wait};
use common::load::{Dice, Producer, client, settle};
use common::{ADMIN, Desk, eventually};

/// Each sort of call, as strace names it, with the errors it may end in.
const CALLS: &[(&str, &[&str])] = &[
    ("openat", &["EIO", "ENOSPC", "EMFILE"]),
    ("write", &["EIO", "ENOSPC"]),
    ("pwrite64", &["EIO", "ENOSPC"]),
    ("fdatasync", &["EIO"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("/^rename", &["EIO", "ENOSPC"]),
    ("/^link", &["EIO", "ENOSPC"]),
    ("/^unlink", &["EIO"]),
    ("fallocate", &["EIO", "ENOSPC"]),
    ("ftruncate", &["EIO"]),
];
const CLIENTS: u8 = 3;
/// A new ledger after so many cases: a long log takes long to check.
const CASES_A_LEDGER: usize = 25;
/// As many calls of one sort are made to fail in turn, at most.
const MOST: u64 = 80;

/// When the fault is to strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// From the process's first instruction.
    Start,
    /// Once it serves.
    Load,
}

/// The `nth` call of a thread fails, or kills.
#[derive(Clone, Copy)]
struct Case {
    phase: Phase,
    call: &'static str,
    /// `None`: the process is killed.
    error: Option<&'static str>,
    nth: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            phase, call, nth, ..
        } = self;
        let what = self.error.unwrap_or("kill");
        write!(f, "{call} {nth} {what} ({phase:?})")
    }
}

impl Case {
    fn inject(&self) -> String {
        let Self { call, nth, .. } = self;
        match self.error {
            Some(error) => format!("inject={call}:error={error}:when={nth}"),
            None => format!("inject={call}:signal=SIGKILL:when={nth}"),
        }
    }
}

/// A server under strace, whose log of calls says what was done to it.
struct Traced {
    child: Child,
    tracer: Option<Child>,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    url: Option<String>,
}

const LOG: &str = "calls";

impl Traced {
    /// Starts it. `trace` are strace's arguments; in the phase `Load` strace comes to it when it serves.
    fn start(desk: &Desk, phase: Phase, trace: &[String], only_publisher: bool) -> Self {
        let serve = desk.command(&["serve", "--port", "0", "--admin-token", ADMIN]);
        let mut command = match phase {
            Phase::Load => serve,
            Phase::Start => {
                // The tracer is the grandchild, so that the child is the server.
                let mut strace = Command::new("strace");
                strace
                    .args(["-D", "-f", "-qq", "-y", "-o", LOG])
                    .args(trace);
                strace.arg(serve.get_program()).args(serve.get_args());
                strace.current_dir(desk.dir.path());
                strace
            }
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let stderr = Arc::new(Mutex::new(String::new()));
        let mut url = None;
        for line in lines.by_ref().map_while(Result::ok) {
            *stderr.lock().unwrap() += &(line.clone() + "\n");
            if let Some((_, rest)) = line.split_once("on http://") {
                url = Some(format!(
                    "http://{}",
                    rest.split_whitespace().next().unwrap()
                ));
                break;
            }
        }
        let all = Arc::clone(&stderr);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *all.lock().unwrap() += &(line + "\n");
            }
        });
        let mut traced = Self {
            child,
            tracer: None,
            stderr,
            reader: Some(reader),
            url,
        };
        if phase == Phase::Load && traced.url.is_some() {
            traced.attach(desk, trace, only_publisher);
        }
        traced
    }

    fn attach(&mut self, desk: &Desk, trace: &[String], only_publisher: bool) {
        let pid = self.child.id();
        let mut strace = Command::new("strace");
        strace.args(["-y", "-o", LOG]).args(trace);
        if only_publisher {
            // Whose thread it is: the others write to sockets too.
            let mut publisher = None;
            // A thread names itself, once it runs.
            eventually("a thread named publisher", || {
                let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
                let mut threads = threads.map(|thread| thread.unwrap().path());
                publisher = threads.find(|thread| {
                    std::fs::read_to_string(thread.join("comm")).is_ok_and(|n| n == "publisher\n")
                });
                publisher.is_some()
            });
            let publisher = publisher.unwrap();
            strace.arg("-p").arg(publisher.file_name().unwrap());
        } else {
            strace.args(["-f", "-p", &pid.to_string()]);
        }
        let mut tracer = strace
            .current_dir(desk.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(tracer.stderr.take().unwrap()).lines();
        let attached = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("attached"));
        assert!(attached, "strace cannot attach to a process");
        std::thread::spawn(move || lines.for_each(drop));
        self.tracer = Some(tracer);
    }

    /// Asks it to stop, where it has not, and waits until it has. Gives how it ended and what it said.
    fn end(mut self) -> (ExitStatus, String) {
        let pid = self.child.id().to_string();
        let deadline = Instant::now() + Duration::from_mins(1);
        // Who has failed stops by itself, and a signal would only hide it.
        let patience = Instant::now() + Duration::from_millis(600);
        let mut asked = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if !asked && Instant::now() > patience {
                asked = true;
                let _ = Command::new("kill")
                    .arg(&pid)
                    .stderr(Stdio::null())
                    .status();
            }
            assert!(Instant::now() < deadline, "the server does not stop");
            std::thread::sleep(Duration::from_millis(5));
        };
        if let Some(mut tracer) = self.tracer.take() {
            tracer.wait().unwrap();
        }
        // To its last word.
        self.reader.take().unwrap().join().unwrap();
        let stderr = self.stderr.lock().unwrap().clone();
        (status, stderr)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(mut tracer) = self.tracer.take() {
            let _ = tracer.wait();
        }
    }
}

/// Appends with every client until all is published, or the server is gone.
fn load(client: &Client, crew: &mut [Producer]) {
    let last = 9 * crew.len() - 1;
    for turn in 0..9 {
        for (number, producer) in crew.iter_mut().enumerate() {
            let wait = if turn * usize::from(CLIENTS) + number == last {
                Wait::Published
            } else {
                Wait::Durable
            };
            match producer.send_and(client, 18, wait) {
                Ok(_) => {}
                // Refused for good would mean that the ledger has forgotten or made up something.
                Err(ClientError::Refused(problem)) if problem.status < 500 => {
                    panic!("refused: {problem}")
                }
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// A call in strace's log: its thread, name, and the whole line.
fn calls(desk: &Desk) -> Vec<(String, String, String)> {
    let text = std::fs::read(desk.path(LOG)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .filter_map(|line| {
            let (thread, rest) = line.split_once(' ')?;
            let numbered = thread.bytes().all(|byte| byte.is_ascii_digit());
            let (thread, rest) = if numbered {
                (thread, rest.trim_start())
            } else {
                ("", line)
            };
            let (name, _) = rest.split_once('(')?;
            let named = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            named.then(|| (thread.to_owned(), name.to_owned(), line.to_owned()))
        })
        .collect()
}

fn is_of(name: &str, call: &str) -> bool {
    call.strip_prefix("/^")
        .map_or(name == call, |prefix| name.starts_with(prefix))
}

/// What it is that each sort of call is of the ledger's: which of a thread's calls go to its directory.
fn positions(desk: &Desk, call: &str, first_thread_only: bool) -> BTreeSet<u64> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut positions = BTreeSet::new();
    let all = calls(desk);
    let first = all.first().map(|(thread, ..)| thread.clone());
    for (thread, name, line) in all {
        if !is_of(&name, call) || (first_thread_only && Some(&thread) != first.as_ref()) {
            continue;
        }
        let count = counts.entry(thread).or_default();
        *count += 1;
        if line.contains("audit-data") {
            positions.insert(*count);
        }
    }
    positions
}

/// Every place where a fault can strike, found by looking at a server that is left alone.
fn all_cases(desk: &Desk, crew: &mut [Producer]) -> Vec<Case> {
    let mut cases = Vec::new();
    for phase in [Phase::Start, Phase::Load] {
        let mut seen: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for only_publisher in [false, true] {
            if phase == Phase::Start && only_publisher {
                continue;
            }
            let names: Vec<&str> = CALLS.iter().map(|(call, _)| *call).collect();
            let trace = vec!["-e".to_owned(), format!("trace={}", names.join(","))];
            let traced = Traced::start(desk, phase, &trace, only_publisher);
            load(&client(traced.url.as_ref().unwrap()), crew);
            let (status, stderr) = traced.end();
            assert!(status.success(), "{stderr}");
            for (call, _) in CALLS {
                if (*call == "write") == only_publisher || phase == Phase::Start {
                    seen.insert(call, positions(desk, call, phase == Phase::Start));
                }
            }
        }
        for (call, errors) in CALLS {
            for nth in seen[call].iter().copied().take_while(|nth| *nth <= MOST) {
                let errors = errors.iter().copied().map(Some).chain([None]);
                cases.extend(errors.map(|error| Case {
                    phase,
                    call,
                    error,
                    nth,
                }));
            }
        }
    }
    cases
}

/// So many of each sort, drawn.
fn some_of(cases: Vec<Case>, count: usize, dice: &Dice) -> Vec<Case> {
    let mut sorts: BTreeMap<_, Vec<Case>> = BTreeMap::new();
    for case in cases {
        let sort = (case.phase, case.call, case.error);
        sorts.entry(sort).or_default().push(case);
    }
    let mut drawn = Vec::new();
    for mut sort in sorts.into_values() {
        for _ in 0..count.min(sort.len()) {
            drawn.push(sort.swap_remove(dice.below(sort.len() as u64) as usize));
        }
    }
    drawn
}

/// Lets a fault strike, and checks how the server ends. Gives whether it did strike, and whether the server ended by it.
fn strike(desk: &Desk, crew: &mut [Producer], case: Case) -> (bool, bool) {
    let trace = vec![
        "-e".to_owned(),
        format!("trace={}", case.call),
        "-e".to_owned(),
        case.inject(),
    ];
    let only_publisher = case.phase == Phase::Load && case.call == "write";
    let traced = Traced::start(desk, case.phase, &trace, only_publisher);
    if let Some(url) = &traced.url {
        load(&client(url), crew);
    }
    let (status, stderr) = traced.end();
    assert!(!stderr.contains("panicked"), "{case}: {stderr}");
    let ended = !status.success();
    if status.signal() == Some(9) {
        assert_eq!(case.error, None, "{case}: {stderr}");
        return (true, true);
    }
    // Whatever goes wrong is said, and leaves by the door for it.
    let stopped = status.code() == Some(3) && stderr.contains("error: ");
    assert!(!ended || stopped, "{case}: {status}: {stderr}");
    let struck: Vec<_> = calls(desk)
        .into_iter()
        .filter(|(.., line)| line.contains("(INJECTED)"))
        .collect();
    let sync = case.error.is_some() && matches!(case.call, "fsync" | "fdatasync");
    // SQLite copies its log into its file again whole when it could not sync that; and it does not mind whether the
    // log's name is durable, which was seen to at the start.
    let mut unsynced = struck.iter().filter(|(.., line)| {
        line.contains("audit-data/") && !line.contains("ledger.sqlite>")
            || line.contains("audit-data>") && case.phase == Phase::Start
    });
    if sync && let Some((.., line)) = unsynced.next() {
        assert!(ended, "{case}: went on after {line}: {stderr}");
        assert!(stderr.contains("durable"), "{case}: {line}: {stderr}");
    }
    (!struck.is_empty(), ended)
}

#[test]
fn no_failing_system_call_loses_what_was_acknowledged() {
    let tracer = Command::new("strace").arg("-V").output();
    assert!(tracer.is_ok(), "strace is missing: scripts/needs.sh strace");
    let count = match std::env::var("FAULTS").as_deref() {
        Ok("all") => usize::MAX,
        Ok(count) => count.parse().unwrap(),
        Err(_) => 1,
    };
    let dice = Dice::new(7);
    let fresh = |seed: usize| {
        let desk = Desk::with_ledger();
        let mut crew = Producer::crew(CLIENTS, 1_000 + seed as u64);
        settle(&desk, &mut crew);
        (desk, crew)
    };
    let (desk, mut crew) = fresh(0);
    let mut cases = all_cases(&desk, &mut crew);
    settle(&desk, &mut crew);
    let possible = cases.len();
    cases = some_of(cases, count, &dice);
    let began = Instant::now();
    let (mut struck, mut ended, mut acknowledged) = (0, 0, 0);
    for (number, group) in cases.chunks(CASES_A_LEDGER).enumerate() {
        let (desk, mut crew) = fresh(number + 1);
        for case in group {
            let (hit, stopped) = strike(&desk, &mut crew, *case);
            struck += usize::from(hit);
            ended += usize::from(stopped);
            settle(&desk, &mut crew);
        }
        acknowledged += crew.iter().map(|one| one.acknowledged.len()).sum::<usize>();
        eprintln!(
            "{} of {} faults tried ({possible} known), {struck} struck, {ended} ended the process, {acknowledged} \
             records acknowledged, all accounted for, {} s",
            (number * CASES_A_LEDGER) + group.len(),
            cases.len(),
            began.elapsed().as_secs()
        );
    }
    assert!(2 * struck > cases.len(), "most faults have to strike");
}
