//! A PostgreSQL cluster that is thrown away, with the settings it comes with: what is committed is on disk.
//!
//! Its clients come over TCP as ours do, and each row's bytes come with each statement, as a parameter.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

const START: Duration = Duration::from_secs(30);
/// The text of a row, so long that the row has about 500 bytes.
const TEXT_BYTES: usize = 480;

/// A running cluster, stopped when dropped.
pub(crate) struct Postgres {
    child: Option<Child>,
    programs: PathBuf,
    dir: PathBuf,
    port: String,
}

impl Postgres {
    /// Makes a cluster in `dir` and starts it.
    pub(crate) fn start(dir: &Path) -> Outcome<Self> {
        let programs = programs()?;
        fs::create_dir(dir)?;
        if is_root()? {
            let (user, group) = (id(&["-u", "postgres"])?, id(&["-g", "postgres"])?);
            std::os::unix::fs::chown(dir, Some(user), Some(group))?;
        }
        let mut postgres = Self {
            child: None,
            programs,
            dir: dir.to_owned(),
            // Free a moment ago; should somebody else take it first, the start fails and says so.
            port: TcpListener::bind("127.0.0.1:0")?
                .local_addr()?
                .port()
                .to_string(),
        };
        let data = dir.join("data");
        let mut initdb = postgres.command("initdb")?;
        initdb
            .args(["--auth=trust", "-U", "postgres", "-D"])
            .arg(&data);
        done(&mut initdb)?;
        let mut server = postgres.command("postgres")?;
        server
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-p",
                &postgres.port,
                "-k",
            ])
            .arg(dir)
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        postgres.child = Some(server.spawn()?);
        let deadline = Instant::now() + START;
        while postgres.sql("SELECT 1").is_err() {
            if Instant::now() > deadline {
                return Err("PostgreSQL does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        postgres.sql("CREATE TABLE records (id bigserial PRIMARY KEY, record text NOT NULL)")?;
        Ok(postgres)
    }

    /// Inserts rows for so long, and gives rows a second.
    pub(crate) fn insert(&self, clients: u32, rows: usize, time: Duration) -> Outcome<f64> {
        let script = self.dir.join(format!("insert-{rows}.sql"));
        // A variable each: one that is named a hundred times would be sent once.
        let names: Vec<String> = (0..rows).map(|row| format!("record{row}")).collect();
        let all: Vec<String> = names.iter().map(|name| format!("(:{name})")).collect();
        let all = all.join(", ");
        fs::write(
            &script,
            format!("INSERT INTO records (record) VALUES {all};\n"),
        )?;
        // Without this, the cost of the turn before falls on this one.
        self.sql("CHECKPOINT")?;
        let mut pgbench = self.command("pgbench")?;
        pgbench
            .args(["-n", "-M", "prepared", "-j", "2"])
            .args(["-U", "postgres", "-h", "127.0.0.1", "-p", &self.port])
            .args(names.iter().flat_map(|name| {
                let record = "x".repeat(TEXT_BYTES);
                ["-D".to_owned(), format!("{name}={record}")]
            }))
            .args(["-c", &clients.to_string()])
            .args(["-T", &time.as_secs().max(1).to_string(), "-f"])
            .arg(&script)
            .arg("postgres");
        let output = done(&mut pgbench)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let tps: f64 = said
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
            .ok_or_else(|| format!("pgbench said no tps: {said}"))?;
        Ok(tps * rows as f64)
    }

    /// Stops it as its documents say ("fast").
    pub(crate) fn stop(mut self) -> Outcome<()> {
        self.end()
    }

    fn end(&mut self) -> Outcome<()> {
        if let Some(mut child) = self.child.take() {
            let pid = i32::try_from(child.id())?;
            let pid = rustix::process::Pid::from_raw(pid).ok_or("no process id")?;
            rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
            child.wait()?;
        }
        Ok(())
    }

    fn sql(&self, statement: &str) -> Outcome<Output> {
        let mut psql = self.command("psql")?;
        psql.args(["-U", "postgres", "-h", "127.0.0.1", "-p", &self.port])
            .args(["-c", statement, "postgres"]);
        done(&mut psql)
    }

    /// One of its programs, as a user who may run it: PostgreSQL refuses to be root.
    fn command(&self, name: &str) -> Outcome<Command> {
        let program = self.programs.join(name);
        let mut command = if is_root()? {
            let mut command = Command::new("setpriv");
            command
                .args([
                    "--reuid=postgres",
                    "--regid=postgres",
                    "--init-groups",
                    "--",
                ])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.dir).stdin(Stdio::null());
        Ok(command)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The version, for the table's head.
pub(crate) fn version() -> Outcome<String> {
    let output = done(Command::new(programs()?.join("postgres")).arg("--version"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.split_whitespace().nth(2).unwrap_or_default();
    Ok(format!("PostgreSQL {version}"))
}

/// Where the programs are: Debian keeps those of the server out of the way.
fn programs() -> Outcome<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(&paths).collect();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions
            .filter_map(|version| Some(version.ok()?.path().join("bin")))
            .collect();
        versions.sort();
        found.extend(versions.into_iter().rev());
    }
    found
        .into_iter()
        .find(|dir| dir.join("initdb").exists() && dir.join("pgbench").exists())
        .ok_or_else(|| "there is no PostgreSQL; run scripts/needs.sh postgres".into())
}

fn is_root() -> Outcome<bool> {
    Ok(id(&["-u"])? == 0)
}

fn id(args: &[&str]) -> Outcome<u32> {
    let output = done(Command::new("id").args(args))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

fn done(command: &mut Command) -> Outcome<Output> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        Ok(output)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{command:?} ended with {}: {said}", output.status).into())
    }
}
