//! The names under which people appear in one run: random to everybody who has not the run's secret.
//!
//! A pseudonym is an HMAC of the person's id under 32 random bytes that are drawn for the run, kept in the spool's
//! directory for as long as the run is open (so that a resumed run, another rank or a forked worker has the same), and
//! destroyed when it is sealed. After that nobody can go from an id to a pseudonym; what links them are the sealed
//! values.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use record::{CommitmentKey, Entropy, Pseudonym, RunId, SealedValue, commit};

use crate::errors::Raise;

/// Where the secrets lie within the spool's directory, one file a run.
const DIRECTORY: &str = "pseudonyms";
/// How many people are looked up without computing; those beyond are computed.
const REMEMBERED: usize = 65_536;

/// The pseudonyms of one run.
pub(crate) struct Pseudonyms {
    path: PathBuf,
    secret: CommitmentKey,
    known: Mutex<HashMap<String, Pseudonym>>,
}

impl Pseudonyms {
    /// Those of `run`, whose secret is made where there is none.
    pub(crate) fn of_run(
        spool: &Path,
        run: Option<RunId>,
        entropy: &dyn Entropy,
    ) -> Result<Self, Raise> {
        let dir = spool.join(DIRECTORY);
        let path = dir.join(run.map_or("ledger".to_owned(), |run| run.to_string()));
        let secret = secret(&dir, &path, entropy)
            .map_err(|error| Raise::disk("keep the run's secret in", &path, &error))?;
        Ok(Self {
            path,
            secret,
            known: Mutex::default(),
        })
    }

    /// The name of a person in this run.
    pub(crate) fn of(&self, person: &str) -> Result<Pseudonym, Raise> {
        // Where another thread has it, computing is quicker than waiting; and where a fork left it locked, it stays so.
        let mut known = self.known.try_lock().ok();
        if let Some(pseudonym) = known.as_ref().and_then(|known| known.get(person)) {
            return Ok(*pseudonym);
        }
        let id = SealedValue::from_json(&person.into()).map_err(Raise::input)?;
        let drawn = Drawn(commit(&self.secret, "pseudonym", &id).0);
        let pseudonym = Pseudonym::generate(&drawn);
        if let Some(known) = known.as_mut().filter(|known| known.len() < REMEMBERED) {
            known.insert(person.to_owned(), pseudonym);
        }
        Ok(pseudonym)
    }

    /// Destroys the secret.
    pub(crate) fn forget(&self) {
        // Where it cannot be removed it lies beside the openings, which are as secret.
        let _ = fs::remove_file(&self.path);
    }
}

/// Bytes that stand for randomness.
struct Drawn([u8; 32]);

impl Entropy for Drawn {
    fn fill(&self, buffer: &mut [u8]) {
        for (to, from) in buffer.iter_mut().zip(self.0) {
            *to = from;
        }
    }
}

fn secret(dir: &Path, path: &Path, entropy: &dyn Entropy) -> io::Result<CommitmentKey> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    if let Some(secret) = read(path)? {
        return Ok(secret);
    }
    let secret = CommitmentKey::generate(entropy);
    // Whole or not at all, and the first of several processes wins.
    let mut name = [0; 8];
    entropy.fill(&mut name);
    let fresh = dir.join(format!(".{:016x}", u64::from_le_bytes(name)));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    let linked = file
        .write_all(&secret.0)
        .and_then(|()| fs::hard_link(&fresh, path));
    fs::remove_file(&fresh)?;
    match linked {
        Ok(()) => Ok(secret),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        }
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<Option<CommitmentKey>> {
    let mut secret = [0; 32];
    match fs::File::open(path) {
        Ok(mut file) => file
            .read_exact(&mut secret)
            .map(|()| Some(CommitmentKey(secret))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
