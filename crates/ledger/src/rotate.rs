//! Changing a key of a ledger that nobody has open.
//!
//! Each change goes the same way: the new key is on the disk, beside the old one, before anything
//! names it; then the log says so (`key.rotated`), and that is published; then whatever rests on the
//! old key is made to rest on the new one; last the new file takes the old one's name. Where this is
//! interrupted the file that waits keeps everybody else from opening the ledger, and doing it again
//! goes on from there: each step can be repeated, and finds what was done.

mod deployment;
mod log;
mod stream;

use std::path::Path;
use std::time::Duration;

use record::kinds::{KeyPurpose, KeyRotated};
use record::{Draft, Kind, PublicKey, Record, Scope};
use store::DataDir;

use crate::LedgerError;
use crate::keys;
use crate::ledger::{Ledger, Stores};
use crate::location::Location;
use crate::options::Options;
use crate::read::{MAX_PAGE, Query};

/// How long publishing what a dead process left may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Which key to change, and why.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// What the key is for; a run's owner cannot change.
    pub purpose: KeyPurpose,
    /// Why, in a word: `scheduled`, `compromised`, ….
    pub reason: Option<String>,
    /// The name under which the command line's producer signs.
    pub producer: Option<record::ProducerName>,
}

/// A key that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// What it is for.
    pub purpose: KeyPurpose,
    /// The index of the `key.rotated` record.
    pub index: u64,
    /// The old key: verifier keys of the log, a public key, or a fingerprint.
    pub old: Vec<String>,
    /// The new one.
    pub new: Vec<String>,
}

impl Ledger {
    /// Encrypts the key files of a ledger that nobody has open, or (`encrypt` false) undoes that. Gives
    /// the files that were changed.
    ///
    /// # Errors
    /// A process has the ledger open; as [`keys::encrypt`].
    pub fn encrypt_keys(
        location: &Location,
        options: &Options,
        encrypt: bool,
    ) -> Result<Vec<std::path::PathBuf>, LedgerError> {
        // With a database others may have the ledger open; what they need they have read.
        let lock = match location.database_url {
            None => Some(DataDir::open(&location.dir)?),
            Some(_) => None,
        };
        let paths = keys::paths(&location.dir)?;
        let changed = if encrypt {
            keys::encrypt(&paths, &options.passphrase, &*options.entropy)
        } else {
            keys::decrypt(&paths, &options.passphrase)
        };
        drop(lock);
        changed
    }

    /// Changes a key, or finishes a change that was interrupted. Nobody may have the ledger open. A
    /// new key is encrypted where the old one is, under the passphrase of `options`.
    ///
    /// # Errors
    /// A process has the ledger open, it has ended, runs are open that only the old key can seal, or
    /// something cannot be read or written: doing it again goes on.
    pub fn rotate(
        location: &Location,
        options: &Options,
        rotation: &Rotation,
    ) -> Result<Rotated, LedgerError> {
        Self::rotate_with(location, options, rotation, &|stores| stores)
    }

    /// As [`Ledger::rotate`], with other stores around the ledger's own.
    ///
    /// # Errors
    /// As [`Ledger::rotate`].
    pub fn rotate_with(
        location: &Location,
        options: &Options,
        rotation: &Rotation,
        wrap: &dyn Fn(Stores) -> Stores,
    ) -> Result<Rotated, LedgerError> {
        if location.database_url.is_some() {
            let reason = "several servers may share this ledger, and each has keys of its own in a \
                          directory; only the keys of a ledger in a directory can be rotated";
            return Err(refused(reason));
        }
        let session = Session {
            location,
            options,
            rotation,
            wrap,
        };
        match rotation.purpose {
            KeyPurpose::Log => log::rotate(&session),
            KeyPurpose::Operator => stream::rotate_operator(&session),
            KeyPurpose::Producer => stream::rotate_producer(&session),
            KeyPurpose::Deployment => deployment::rotate(&session),
            KeyPurpose::Owner => Err(refused(
                "a run keeps the owner it was started with; seal it with that key",
            )),
        }
    }
}

/// Refuses to open a ledger of which a key waits to take its place, but for whoever brings it there.
pub(crate) fn check_waiting(dir: &Path, options: &Options) -> Result<(), LedgerError> {
    let mut names = keys::waiting(dir);
    names.retain(|name| Some(purpose_of(name)) != options.rotating);
    match names.first() {
        None => Ok(()),
        Some(first) => Err(LedgerError::Rotating {
            purpose: purpose_of(first).as_str(),
            names,
        }),
    }
}

pub(crate) fn purpose_of(name: &str) -> KeyPurpose {
    match name {
        keys::LOG_ED25519 | keys::LOG_ML_DSA_44 => KeyPurpose::Log,
        keys::OPERATOR_ED25519 => KeyPurpose::Operator,
        keys::DEPLOYMENT => KeyPurpose::Deployment,
        _ => KeyPurpose::Producer,
    }
}

fn refused(reason: impl Into<String>) -> LedgerError {
    LedgerError::Rotation {
        reason: reason.into(),
    }
}

/// One change of a key.
struct Session<'s> {
    location: &'s Location,
    options: &'s Options,
    rotation: &'s Rotation,
    wrap: &'s dyn Fn(Stores) -> Stores,
}

impl Session<'_> {
    fn dir(&self) -> &Path {
        &self.location.dir
    }

    fn load(&self, name: &str) -> Result<keys::Seed, LedgerError> {
        keys::load_with(self.dir(), name, &self.options.passphrase)
    }

    /// The new key. Only while the ledger is open: what waits keeps it closed.
    fn next(&self, name: &str) -> Result<keys::Seed, LedgerError> {
        let (passphrase, entropy) = (&self.options.passphrase, &*self.options.entropy);
        keys::next(self.dir(), name, passphrase, entropy)
    }

    /// Opens the ledger for the change. A change that cannot be is refused before there is anything
    /// to go on from.
    fn open(&self, key: Option<PublicKey>) -> Result<Ledger, LedgerError> {
        let mut options = self.options.clone();
        if !keys::waiting(self.dir())
            .iter()
            .any(|name| purpose_of(name) == self.rotation.purpose)
        {
            options.rotating = None;
            let ledger = self.open_with(options.clone())?;
            let possible = possible(&ledger, key)
                .and_then(|()| ledger.approved_rotation(self.rotation.purpose));
            ledger.close()?;
            possible?;
        }
        options.rotating = Some(self.rotation.purpose);
        self.open_with(options)
    }

    /// Opens the ledger, and waits until everything that was acknowledged is published.
    fn open_with(&self, options: Options) -> Result<Ledger, LedgerError> {
        let (stores, data) = self.location.stores()?;
        self.location.check_objects(&*stores.meta)?;
        let ledger = Ledger::open_in(self.dir(), options, (self.wrap)(stores), data)?;
        let size = ledger.status().sequenced;
        if ledger.wait_published(size, PATIENCE) {
            Ok(ledger)
        } else {
            Err(refused(
                "the log could not be published; see why, and do this again",
            ))
        }
    }

    /// Records the change, unless an earlier try did. Gives the record's index.
    fn record(&self, ledger: &Ledger, mut body: KeyRotated) -> Result<u64, LedgerError> {
        if let Some(index) = recorded(ledger, &body)? {
            return Ok(index);
        }
        body.reason.clone_from(&self.rotation.reason);
        let receipts = ledger.record_own(Draft::new(body))?.wait()?;
        let receipt = receipts.first().ok_or_else(|| {
            LedgerError::corrupt("the server's own stream", "it took no key.rotated")
        })?;
        Ok(receipt.index)
    }

    /// Closes the ledger once the record is published.
    fn close(ledger: &Ledger, index: u64) -> Result<(), LedgerError> {
        ledger.close()?;
        let size = ledger
            .latest()
            .map_or(0, |latest| latest.checkpoint.size.get());
        if size > index {
            Ok(())
        } else {
            Err(refused(
                "the record of it could not be published; see why, and do this again",
            ))
        }
    }

    fn rotated(&self, index: u64, old: Vec<String>, new: Vec<String>) -> Rotated {
        Rotated {
            purpose: self.rotation.purpose,
            index,
            old,
            new,
        }
    }
}

/// The index of the published record that says the same.
fn recorded(ledger: &Ledger, body: &KeyRotated) -> Result<Option<u64>, LedgerError> {
    let mut query = Query {
        scope: Some(Scope::Ledger),
        kind: Some(Kind::KeyRotated),
        limit: MAX_PAGE,
        ..Query::default()
    };
    loop {
        let page = ledger.query(&query)?;
        for (index, bytes) in &page.records {
            let known: KeyRotated = Record::parse(bytes)?.decode()?;
            if (known.purpose, known.new) == (body.purpose, body.new) {
                return Ok(Some(*index));
            }
        }
        query.after = page.next;
        if query.after.is_none() {
            return Ok(None);
        }
    }
}

/// Whether a change may begin: the log takes its record, and no open run waits for the key.
fn possible(ledger: &Ledger, key: Option<PublicKey>) -> Result<(), LedgerError> {
    if let Some(index) = ledger.ended()? {
        return Err(LedgerError::Ended { index });
    }
    let Some(key) = key else { return Ok(()) };
    let mut waiting = Vec::new();
    let mut after = None;
    loop {
        let page = ledger.runs(after, MAX_PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        waiting.extend(
            page.iter()
                .filter(|run| run.owner == key && run.status.is_none())
                .map(|run| run.id.to_string()),
        );
    }
    if waiting.is_empty() {
        return Ok(());
    }
    let many = waiting.len();
    waiting.truncate(10);
    Err(refused(format!(
        "{many} open runs can be sealed with the old key only; seal them first (`rlhf-audit run \
         seal`): {}",
        waiting.join(", ")
    )))
}
