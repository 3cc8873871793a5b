//! The binary in a directory of its own.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod disk;
pub(crate) mod load;
pub(crate) mod logged;
pub(crate) mod rewards;
pub(crate) mod spool;
pub(crate) mod told;
pub(crate) mod trainer;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tlog::tile::tiles_for_size;
use tlog::{EntryBundle, TileLevel, TreeSize};

/// A working directory in which the command runs as a user would run it.
pub(crate) struct Desk {
    pub(crate) dir: tempfile::TempDir,
    /// The program under test; another version of it where one is held against the other.
    pub(crate) binary: PathBuf,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            binary: env!("CARGO_BIN_EXE_rlhf-audit").into(),
        }
    }

    /// With a ledger in ./audit-data.
    pub(crate) fn with_ledger() -> Self {
        let desk = Self::new();
        desk.ok(&["init"]);
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).current_dir(self.dir.path());
        for variable in [
            "RLHF_AUDIT_DATA_DIR",
            "RLHF_AUDIT_SERVER",
            "RLHF_AUDIT_TOKEN",
            "RLHF_AUDIT_KEY",
            "RLHF_AUDIT_KEY_PASSPHRASE",
            "RLHF_AUDIT_KEY_PASSPHRASE_FILE",
            "RLHF_AUDIT_DATABASE_URL",
            "RLHF_AUDIT_OBJECTS",
            "RLHF_AUDIT_REDIS_URL",
            "RLHF_AUDIT_WORKERS",
            "PORT",
            "RLHF_AUDIT_WITNESS_POLICY",
            "RLHF_AUDIT_REQUIRE_QUORUM",
            "RLHF_AUDIT_CONFIG",
            "RLHF_AUDIT_LOG",
            "RLHF_AUDIT_LOG_FORMAT",
            "RLHF_AUDIT_LOG_LEVEL",
            "RUST_LOG",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "RLHF_AUDIT_METRICS_LISTEN",
            "RLHF_AUDIT_REQUIRE_APPROVAL",
            "RLHF_AUDIT_EPHEMERAL",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "RLHF_AUDIT_BACKUP_TO",
            "RLHF_AUDIT_BACKUP_KEY_FILE",
        ] {
            command.env_remove(variable);
        }
        // What is done by the clock would be done in the middle of a test; tests/jobs.rs takes this away.
        command.env("RLHF_AUDIT_NO_SCHEDULER", "true");
        // What a client remembers of servers is this desk's own: ports come round again.
        command.env("RLHF_AUDIT_STATE_DIR", self.dir.path().join("state"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The command may refuse before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Runs a command that has to succeed, and gives its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "{args:?} failed: {}",
            text(&output.stdout, &output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command with `--json` that has to succeed.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        let out = self.ok(&args);
        serde_json::from_str(&out)
            .unwrap_or_else(|e| panic!("{args:?} printed no JSON ({e}): {out}"))
    }

    /// Verifies ./audit-data, openings too; gives the report.
    pub(crate) fn verified(&self) -> Value {
        let policy = "audit-data/policy";
        let report = self.json(&["verify", "audit-data", "--policy", policy, "--openings"]);
        assert_eq!(report["verdict"], "verified", "{report}");
        report
    }

    /// A server's log verifies under the policy of the data directory here.
    pub(crate) fn verifies(&self, url: &str) {
        let log = format!("{url}/log");
        let policy = "audit-data/policy";
        let report = self.json(&["verify", &log, "--policy", policy, "--token", ADMIN]);
        assert_eq!(report["verdict"], "verified", "{report}");
    }

    /// Runs a command that has to end with this exit code; gives both outputs.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let text = text(&output.stdout, &output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        text
    }
}

pub(crate) fn text(out: &[u8], err: &[u8]) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// A server started by the command line, killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

pub(crate) const ADMIN: &str = "rat_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

impl Server {
    pub(crate) fn start(desk: &Desk) -> Self {
        Self::start_with(desk, &[])
    }

    /// With further arguments; a port of the system's choice unless they name one.
    pub(crate) fn start_with(desk: &Desk, args: &[&str]) -> Self {
        Self::start_in(desk, args, &[])
    }

    /// And with variables of its environment.
    pub(crate) fn start_in(desk: &Desk, args: &[&str], variables: &[(String, String)]) -> Self {
        let port = ["--port", "0"];
        let port = if args.contains(&"--port") {
            &[][..]
        } else {
            &port
        };
        let args = [&["serve", "--admin-token", ADMIN], port, args].concat();
        let mut child = desk
            .command(&args)
            .envs(variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map(|line| line.unwrap())
            .find_map(|line| {
                Some(
                    line.split_once("on http://")?
                        .1
                        .split_whitespace()
                        .next()?
                        .to_owned(),
                )
            })
            .expect("the server says where it listens");
        // Keep the pipe drained, or the server would stop at a full one.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            url: format!("http://{url}"),
        }
    }

    /// Starts one and kills it after so long, wherever it is then.
    pub(crate) fn kill_while_starting(desk: &Desk, moment: std::time::Duration) {
        let mut child = desk
            .command(&["serve", "--port", "0", "--admin-token", ADMIN])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Whether it says that it can do its work.
    pub(crate) fn is_ready(&self) -> bool {
        self.answers("/health/ready")
    }

    /// Whether it says that it is alive.
    pub(crate) fn is_live(&self) -> bool {
        self.answers("/health/live")
    }

    fn answers(&self, path: &str) -> bool {
        use std::io::Read as _;
        let address = self.url.trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let timeout = Some(std::time::Duration::from_secs(10));
        stream.set_read_timeout(timeout).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 200")
    }

    /// SIGTERM, and waits until it has closed its ledger.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of ../shared/data, which is not part of the project; `None`, said aloud, where it is absent.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(name);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// The bytes of a published log's records, from its entry bundles.
pub(crate) fn entries(log: &Path) -> Vec<Vec<u8>> {
    let note = std::fs::read_to_string(log.join("checkpoint")).unwrap();
    let size = note.lines().nth(1).unwrap().parse().unwrap();
    let mut entries = Vec::new();
    let bundles = tiles_for_size(TreeSize(size)).filter(|id| id.level() == TileLevel::Entries);
    for id in bundles {
        let bytes = std::fs::read(log.join(id.path())).unwrap();
        let bundle = EntryBundle::parse(&bytes, id.width()).unwrap();
        entries.extend(bundle.into_iter().map(<[u8]>::to_vec));
    }
    assert_eq!(entries.len() as u64, size);
    entries
}

/// Waits until something is so; fails after a minute.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// GET without a token, by the means that every Linux has; the status and the body.
pub(crate) fn get(url: &str) -> (u16, Vec<u8>) {
    use std::io::Read as _;
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, answer[end + 4..].to_vec())
}
