//! `rlhf-audit serve` as a process of its own, so that it is measured apart from who loads it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use record::Entropy as _;
use tempfile::TempDir;

use crate::environment::SystemEntropy;
use crate::outcome::Failure;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A server on a ledger of the tool's own, stopped when dropped.
#[derive(Debug)]
pub(super) struct Own {
    child: Child,
    pub(super) url: String,
    /// An admin's, that nobody else has ever seen.
    pub(super) token: String,
    dir: PathBuf,
    /// Removes the ledger when dropped, unless it is to be kept.
    _throw_away: Option<TempDir>,
    watch: Watch,
    stopped: bool,
}

impl Own {
    /// Starts a server on the ledger in `kept`, made where there is none, or on a new one below `below`.
    pub(super) fn start(kept: Option<&Path>, below: Option<&Path>) -> Result<Self, Failure> {
        let unavailable =
            |e: std::io::Error| Failure::unavailable(format!("cannot start a server: {e}"));
        let (dir, throw_away) = if let Some(dir) = kept {
            (dir.to_owned(), None)
        } else {
            let below = below.map_or_else(std::env::temp_dir, Path::to_owned);
            let made = tempfile::Builder::new()
                .prefix("rlhf-audit-bench")
                .tempdir_in(&below)
                .map_err(|e| {
                    Failure::unavailable(format!(
                        "cannot make a directory in {}: {e}",
                        below.display()
                    ))
                })?;
            (made.path().join("ledger"), Some(made))
        };
        let mut secret = [0; 32];
        SystemEntropy.fill(&mut secret);
        let token = format!("rat_{}", URL_SAFE_NO_PAD.encode(secret));
        let mut child = Command::new(std::env::current_exe().map_err(unavailable)?)
            .args(["serve", "--host", "127.0.0.1", "--port", "0", "--data-dir"])
            .arg(&dir)
            // In the environment, where other users of this machine cannot read it.
            .env("RLHF_AUDIT_ADMIN_TOKEN", &token)
            .env("RLHF_AUDIT_LOG", "warn")
            .env_remove("RLHF_AUDIT_ADMIN_TOKEN_FILE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(unavailable)?;
        let stderr = child.stderr.take();
        let watch = Watch::start(child.id());
        let mut own = Self {
            child,
            url: String::new(),
            token,
            dir,
            _throw_away: throw_away,
            watch,
            stopped: false,
        };
        let mut said = String::new();
        let mut lines =
            BufReader::new(stderr.ok_or_else(|| Failure::unavailable("no pipe"))?).lines();
        while own.url.is_empty() {
            match lines.next() {
                Some(Ok(line)) => match line.split_once("on http://") {
                    Some((_, address)) => {
                        let address = address.split_whitespace().next().unwrap_or_default();
                        own.url = format!("http://{address}");
                    }
                    None => said = format!("{said}\n{line}"),
                },
                _ => {
                    return Err(Failure::unavailable(format!(
                        "the server ended before it listened:{said}"
                    )));
                }
            }
        }
        // What it says is read on, or it would stop at a full pipe; and shown, since it says only what goes wrong.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("server: {line}");
            }
        });
        Ok(own)
    }

    /// The ledger's directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the server has used so far.
    pub(super) fn used(&self) -> Used {
        Used {
            resident_bytes: resident(self.child.id()).unwrap_or(0),
            peak_resident_bytes: self.watch.peak.load(Ordering::Relaxed),
            cpu_seconds: cpu_seconds(self.child.id()).unwrap_or(0.0),
        }
    }

    /// Forgets the highest memory so far.
    pub(super) fn forget_peak(&self) {
        self.watch.peak.store(0, Ordering::Relaxed);
    }

    /// Stops the server as an operator would: what was acknowledged is published when this returns.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.stopped, true) {
            return Ok(());
        }
        let failed = |e: &dyn std::fmt::Display| {
            Failure::unavailable(format!("the server could not be stopped: {e}"))
        };
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .ok_or_else(|| failed(&"it has no process id"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|e| failed(&e))?;
        let status = self.child.wait().map_err(|e| failed(&e))?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::unavailable(format!(
                "the server ended with {status}"
            )))
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if !self.stopped {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a process has used.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(super) struct Used {
    pub(super) resident_bytes: u64,
    pub(super) peak_resident_bytes: u64,
    pub(super) cpu_seconds: f64,
}

/// Looks at a process's memory now and then.
#[derive(Debug)]
struct Watch {
    peak: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(pid: u32) -> Self {
        let peak = Arc::new(AtomicU64::new(0));
        let end = Arc::new(AtomicBool::new(false));
        let (seen, over) = (Arc::clone(&peak), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                seen.fetch_max(resident(pid).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(LOOK);
            }
        });
        Self {
            peak,
            end,
            thread: Some(thread),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Resident bytes, as proc(5) says.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// Processor seconds of all threads, as proc(5) says.
pub(super) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold spaces and parentheses; utime and stime are the 12th and 13th after it.
    let (_, after) = stat.rsplit_once(')')?;
    let mut ticks = after
        .split_whitespace()
        .skip(11)
        .map_while(|word| word.parse::<u64>().ok());
    let ticks = ticks.next()? + ticks.next()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
