//! Where checkpoints are remembered.
//!
//! ```text
//! servers/<hash of the URL>      the hash of the origin of the log it shows
//! logs/<hash of the origin>/     policy (trusted on first use), checkpoint (the last one shown), lock
//! evidence/…                     what servers signed that does not go together
//! ```
//!
//! A URL on this machine is no server's name: whatever listens there today may be another tomorrow.
//! There a log goes by its origin alone.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ureq::http::Uri;

use crate::error::ClientError;

pub(super) struct Archive {
    dir: PathBuf,
}

/// What is remembered of one log.
pub(super) struct Slot {
    dir: PathBuf,
    name: String,
}

/// What a server goes by.
#[derive(Clone, Copy)]
pub(super) enum ServerName<'a> {
    /// Its URL, if that is not on this machine.
    Url(&'a str),
    /// A name that whoever remembers has given it.
    Given(&'a str),
}

/// SHA-256 in hex.
pub(super) fn hex(text: &str) -> String {
    let digest = tlog::sha256(text.as_bytes());
    digest
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

impl Archive {
    pub(super) fn open(dir: &Path) -> Result<Self, ClientError> {
        for below in ["servers", "logs"] {
            let path = dir.join(below);
            fs::create_dir_all(&path).map_err(failed(&path))?;
        }
        let dir = dir.to_owned();
        Ok(Self { dir })
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// The log that this server has shown.
    pub(super) fn of_server(&self, server: ServerName<'_>) -> Result<Option<Slot>, ClientError> {
        let Some(path) = self.server(server) else {
            return Ok(None);
        };
        let name = read(&path)?;
        Ok(name.map(|name| self.slot(name.trim())))
    }

    pub(super) fn of_origin(&self, origin: &str) -> Slot {
        self.slot(&hex(origin))
    }

    pub(super) fn remember_server(
        &self,
        server: ServerName<'_>,
        slot: &Slot,
    ) -> Result<(), ClientError> {
        match self.server(server) {
            Some(path) if !path.exists() => {
                write(&path, &format!("{}\n", slot.name)).map_err(failed(&path))
            }
            _ => Ok(()),
        }
    }

    /// Where a server is remembered; `None` for a URL that is no server's name.
    fn server(&self, server: ServerName<'_>) -> Option<PathBuf> {
        let name = match server {
            ServerName::Url(url) if is_local(url) => return None,
            ServerName::Url(name) | ServerName::Given(name) => name,
        };
        Some(self.dir.join("servers").join(hex(name)))
    }

    fn slot(&self, name: &str) -> Slot {
        Slot {
            dir: self.dir.join("logs").join(name),
            name: name.to_owned(),
        }
    }
}

impl Slot {
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// The last checkpoint shown.
    pub(super) fn kept(&self) -> Result<Option<String>, ClientError> {
        read(&self.dir.join("checkpoint"))
    }

    pub(super) fn policy(&self) -> Result<Option<String>, ClientError> {
        read(&self.dir.join("policy"))
    }

    pub(super) fn keep_policy(&self, policy: &str) -> Result<(), ClientError> {
        let path = self.dir.join("policy");
        fs::create_dir_all(&self.dir).map_err(failed(&self.dir))?;
        write(&path, policy).map_err(failed(&path))
    }

    /// Keeps `note` in place of `before`. Where something else is kept by now, nothing is done, and
    /// that is what comes back.
    pub(super) fn keep(
        &self,
        before: Option<&str>,
        note: &str,
    ) -> Result<Option<String>, ClientError> {
        fs::create_dir_all(&self.dir).map_err(failed(&self.dir))?;
        let lock = self.dir.join("lock");
        let held = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock)
            .map_err(failed(&lock))?;
        held.lock().map_err(failed(&lock))?;
        let now = self.kept()?;
        if now.as_deref() != before {
            return Ok(now);
        }
        let path = self.dir.join("checkpoint");
        write(&path, note).map_err(failed(&path))?;
        Ok(None)
    }
}

/// Writes a file such that it has the old text or the new, whatever happens.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_data()
    });
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

fn read(path: &Path) -> Result<Option<String>, ClientError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ClientError {
    move |source| ClientError::Memory {
        path: path.to_owned(),
        source,
    }
}

/// Whether a URL names this machine.
fn is_local(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_addresses_are_local() {
        for local in [
            "http://localhost:8000",
            "http://127.0.0.1:1",
            "http://[::1]:1/x",
        ] {
            assert!(is_local(local), "{local}");
        }
        for other in [
            "https://audit.example",
            "http://10.0.0.1",
            "http://localhost.example",
        ] {
            assert!(!is_local(other), "{other}");
        }
    }
}
