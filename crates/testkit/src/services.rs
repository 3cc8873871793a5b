//! Real servers, started by the test that needs them and gone when its process is.
//!
//! Each runs under a small shell that reads from a pipe whose other end the test holds: however the test ends, also by
//! a panic or `SIGKILL`, the pipe closes, and the shell stops the server by its own pid and removes its directory.

mod authority;
mod objects;
mod postgres;
mod proxy;
mod redis;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

pub use authority::Authority;
pub use objects::{
    BUCKET, Bucket, azure, azure_options, careless_gcs, gcs_options, s3, s3_options,
};
pub use postgres::{Postgres, postgres};
pub use proxy::{Fault, Proxy};
pub use redis::Redis;

/// How long a server may take until it answers.
const START: Duration = Duration::from_mins(1);

/// Runs `$@`, says its pid, and ends it with the signal `$STOP` once standard input is closed.
const KEEPER: &str = r#"
trap '' INT TERM HUP
"$@" </dev/null >"$LOG" 2>&1 &
pid=$!
echo "$pid"
while read -r line; do :; done
kill -s CONT "$pid" 2>/dev/null
kill -s "$STOP" "$pid" 2>/dev/null
wait "$pid"
[ -e "$DIR/keep" ] || rm -rf "$DIR"
"#;

/// A server that lives as long as this value, or its process.
#[derive(Debug)]
struct Service {
    /// Holds the pipe.
    keeper: Child,
    pid: u32,
}

impl Service {
    /// Starts `command`, writing what it says to `log`; `dir` is removed afterwards,
    /// unless it holds a file `keep`.
    fn start(command: &[&str], dir: &str, log: &str, stop: &str) -> io::Result<Self> {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .args(command)
            .env("LOG", log)
            .env("DIR", dir)
            .env("STOP", stop)
            // An interrupt at the terminal is for the test; the server follows it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        let stdout = keeper.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        BufReader::new(stdout).read_line(&mut line)?;
        let pid = line.trim().parse().map_err(io::Error::other)?;
        Ok(Self { keeper, pid })
    }

    /// Whether the server is there; it may be a zombie of its keeper for a moment.
    fn runs(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
    assert!(
        sent.is_ok_and(|status| status.success()),
        "no process {pid}"
    );
}

/// Waits until `ready` says so.
///
/// # Panics
/// If it takes longer than a minute.
fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + START;
    while !ready() {
        assert!(Instant::now() < deadline, "{what} took too long");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A port of this machine that nobody listens on now.
fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}

/// A Python that can import a package of this name, which `scripts/needs.sh` has put into an environment of its own.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn python(package: &str) -> PathBuf {
    installed(package).join("bin/python")
}

/// Prometheus' own tool, which `scripts/needs.sh` has fetched.
///
/// # Panics
/// If it is not there.
#[must_use]
pub fn promtool() -> PathBuf {
    installed("prometheus").join("usr/bin/promtool")
}

/// Where `scripts/needs.sh` has put a service, whatever its version.
fn installed(name: &str) -> PathBuf {
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services");
    let found = fs::read_dir(&services).into_iter().flatten();
    found
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let version = path
                .file_name()
                .and_then(|file| file.to_str()?.strip_prefix(name));
            let is_it = |rest: &str| {
                rest.is_empty()
                    || rest.starts_with('-') && rest[1..].starts_with(|c: char| c.is_ascii_digit())
            };
            version.is_some_and(is_it) && path.join("done").exists()
        })
        .unwrap_or_else(|| panic!("{name} is missing; run `scripts/needs.sh {name}`"))
}
