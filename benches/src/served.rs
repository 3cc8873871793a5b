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
        let mut child = Command::new(binary()?)
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
