//! `rlhf-audit serve` as a process of its own, on a data directory of its own.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use client::Client;

use crate::Outcome;

/// An admin's token that only this server knows.
const TOKEN: &str = "rat_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A server that is stopped when dropped.
pub(crate) struct Served {
    child: Child,
    url: String,
}

impl Served {
    /// Starts a server on a new ledger in `dir`.
    pub(crate) fn start(dir: &Path) -> Outcome<Self> {
        let mut child = program()?
            .arg("serve")
            .args(["--port", "0", "--admin-token", TOKEN, "--data-dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("the server has no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = String::new();
        let url = loop {
            let Some(line) = lines.next().transpose()? else {
                return Err(format!("the server ended before it listened:\n{said}").into());
            };
            if let Some((_, address)) = line.split_once("on http://") {
                let address = address.split_whitespace().next().unwrap_or_default();
                break format!("http://{address}");
            }
            said.push_str(&line);
            said.push('\n');
        };
        // Its log has to be read on, or it would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, url })
    }

    /// One of the numbers that the server shows to everybody.
    pub(crate) fn metric(&self, name: &str) -> Outcome<f64> {
        let text = self.client()?.metrics()?;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .ok_or_else(|| format!("the server has no metric {name}").into())
    }

    /// Resident bytes of the server's process.
    pub(crate) fn resident_bytes(&self) -> Outcome<f64> {
        self.metric("rlhf_audit_process_resident_memory_bytes")
    }

    /// Stops it as an operator would, so that what was acknowledged is published.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        let pid = i32::try_from(self.child.id())?;
        let pid = rustix::process::Pid::from_raw(pid).ok_or("no process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// A client that may do anything.
    pub(crate) fn client(&self) -> Outcome<Client> {
        Ok(Client::new(&self.url, Some(TOKEN))?)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program under test, in the environment that the production image gives it.
pub(crate) fn program() -> Outcome<Command> {
    let mut command = Command::new(binary()?);
    command.env("MALLOC_ARENA_MAX", "2");
    Ok(command)
}

/// The binary under test: the one that cargo built beside this one.
fn binary() -> Outcome<PathBuf> {
    if let Some(path) = env::var_os("BENCH_BINARY") {
        return Ok(path.into());
    }
    let path = env::current_exe()?.with_file_name("rlhf-audit");
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{} is not built; run `make bench`", path.display()).into())
    }
}
