//! `fsck`: what is on the disk, held against itself.
//!
//! The truth is what the signed checkpoint in the database covers: entry bundles that hash to its root. Hash tiles,
//! index and the served checkpoint follow from it and can be made again; entry bundles, sealed values, journal, keys
//! and the database's checkpoint cannot, and are never touched: damage to them is named, with what to do.
//!
//! Works on any stores, without the ledger's secrets, and on a ledger too damaged to open. Nothing is repaired that is
//! not proven: a tile is made again only from entries that hash to the signed root, and the index only from a log that
//! was read from end to end. What repair takes away lies in `lost+found/` afterwards.
//!
//! Not here: what records mean, and whether sealed values open their commitments. That is `verify`.

mod attachments;
mod checkpoint;
mod files;
mod index;
mod journal;
mod levels;
mod repair;
mod report;
mod sealed;
mod survey;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use record::Sha256;
use store::journal::{Inspection, inspect};
use store::{DataDir, Group, Journal, MetaStore, ObjectStore, SqliteMeta, StoreError};
use tlog::{Policy, TileId};

use crate::keys;
use crate::ledger::Stores;
use crate::sealing::file::KeyId;
use crate::{Ledger, LedgerError, Location, Options};
use repair::LostAndFound;
pub use report::{Fault, Finding, FsckReport};
use survey::Survey;

const BUNDLE: u64 = 256;
/// Findings of one kind that are listed; the rest is counted.
const MAX_LISTED: usize = 1_000;

/// Shows every group of the journal, published ones too, changing nothing.
type ShowJournal<'a> =
    &'a dyn Fn(&mut dyn FnMut(Group<'_>) -> store::Result<()>) -> store::Result<Inspection>;

/// The stores to look through.
struct Place<'a> {
    objects: Arc<dyn ObjectStore>,
    meta: Arc<dyn MetaStore>,
    policy: &'a Policy,
    journal: ShowJournal<'a>,
    /// Where an index may be built to compare with; nothing is there.
    scratch: &'a Path,
}

/// What repair has to do.
#[derive(Debug, Default)]
struct Plan {
    /// Objects to put aside.
    aside: BTreeSet<String>,
    /// Hash tiles to make again.
    tiles: BTreeSet<TileId>,
    index: bool,
    checkpoint: bool,
    /// Harmless partial tiles to put aside.
    superseded: BTreeSet<String>,
}

/// One look through a ledger.
struct Check<'a> {
    place: &'a Place<'a>,
    report: FsckReport,
    unlisted: usize,
    plan: Plan,
    /// Subject keys that the database knows.
    keys: HashSet<KeyId>,
    /// Attachments that records name.
    named: BTreeMap<Sha256, attachments::Named>,
    /// Bundles whose sealed values are known to be wrong.
    broken_sealed: HashSet<u64>,
}

impl Ledger {
    /// Looks through a closed ledger for damage; with `repair`, makes again what can be made again, and looks once more.
    ///
    /// # Errors
    /// There is no ledger, another process has it or writes to it, or a file or the database cannot be read at all.
    pub fn fsck(
        location: &Location,
        options: &Options,
        repair: bool,
    ) -> Result<FsckReport, LedgerError> {
        let mut missing = Vec::new();
        for name in keys::ALL {
            if !location.dir.join("keys").join(name).exists() {
                missing.push(finding(
                    Fault::KeyMissing,
                    format!("keys/{name}"),
                    "it is not there",
                ));
            }
        }
        let mut report = if location.database_url.is_some() {
            fsck_shared(location, options, repair)?
        } else {
            fsck_embedded(location, options, repair)?
        };
        report.findings.splice(0..0, missing);
        Ok(report)
    }
}

fn fsck_embedded(
    location: &Location,
    options: &Options,
    repair: bool,
) -> Result<FsckReport, LedgerError> {
    let dir = &location.dir;
    let data = DataDir::open(dir)?;
    if !data.database().exists() {
        let mut report = FsckReport::default();
        report.findings.push(finding(
            Fault::Checkpoint,
            "ledger.sqlite",
            "the database is not there",
        ));
        report
            .unchecked
            .push("the log: no checkpoint says how far it goes".to_owned());
        return Ok(report);
    }
    let path = dir.join("policy");
    let policy = fs::read(&path).map_err(|e| LedgerError::io(&path, e))?;
    let policy = Policy::parse(&policy).map_err(|e| LedgerError::corrupt("policy", e))?;
    let journal = data.journal();
    let show = |visit: &mut dyn FnMut(Group<'_>) -> store::Result<()>| inspect(&journal, visit);
    let scratch = data.tmp().join("fsck.sqlite");
    let place = Place {
        objects: location.objects(data.path(), &data.tmp())?,
        meta: Arc::new(SqliteMeta::open(&data.database())?),
        policy: &policy,
        journal: &show,
        scratch: &scratch,
    };
    place.look(data.path(), options, repair)
}

fn fsck_shared(
    location: &Location,
    options: &Options,
    repair: bool,
) -> Result<FsckReport, LedgerError> {
    let (stores, _) = location.stores()?;
    let policy = stores.meta.kv_get("policy")?.unwrap_or_default();
    let policy = Policy::parse(&policy).map_err(|e| LedgerError::corrupt("the policy", e))?;
    let before = stores.meta.latest_checkpoint()?;
    let size = before.as_ref().map_or(0, |stored| stored.size);
    let journal = Mutex::new(stores.journal);
    let show = |visit: &mut dyn FnMut(Group<'_>) -> store::Result<()>| {
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        show_shared(&mut **journal, size, visit)
    };
    let scratch = location.dir.join("fsck.sqlite");
    let place = Place {
        objects: stores.objects,
        meta: Arc::clone(&stores.meta),
        policy: &policy,
        journal: &show,
        scratch: &scratch,
    };
    let report = place.look(&location.dir, options, repair)?;
    if stores.meta.latest_checkpoint()? == before {
        Ok(report)
    } else {
        Err(LedgerError::InUse)
    }
}

/// Looks through stores that are to become a ledger, changing nothing.
pub(crate) fn examine(
    stores: &mut Stores,
    data: Option<&DataDir>,
    location: &Location,
    policy: &Policy,
    options: &Options,
) -> Result<FsckReport, LedgerError> {
    let journal = Mutex::new(&mut stores.journal);
    let show = |visit: &mut dyn FnMut(Group<'_>) -> store::Result<()>| {
        if let Some(data) = data {
            return inspect(&data.journal(), visit);
        }
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        let size = stores.meta.latest_checkpoint()?.map_or(0, |at| at.size);
        show_shared(&mut ***journal, size, visit)
    };
    let scratch = match data {
        Some(data) => data.tmp().join("fsck.sqlite"),
        None => location.dir.join("fsck.sqlite"),
    };
    let place = Place {
        objects: Arc::clone(&stores.objects),
        meta: Arc::clone(&stores.meta),
        policy,
        journal: &show,
        scratch: &scratch,
    };
    place.look(&location.dir, options, false)
}

/// Shows what a shared journal has beyond a checkpoint.
fn show_shared(
    journal: &mut dyn Journal,
    size: u64,
    visit: &mut dyn FnMut(Group<'_>) -> store::Result<()>,
) -> store::Result<Inspection> {
    let mut seen = Inspection::default();
    journal.restart(size);
    journal.begin(&mut |group| {
        seen.first_index.get_or_insert(group.first_index);
        seen.groups += 1;
        visit(group)
    })?;
    journal.release();
    seen.next_index = journal.next_index();
    Ok(seen)
}

impl Place<'_> {
    fn look(&self, dir: &Path, options: &Options, repair: bool) -> Result<FsckReport, LedgerError> {
        let (mut found, plan, survey) = Check::run(self)?;
        if repair && plan.is_needed() {
            let lost = LostAndFound::create(dir, options.clock.now())?;
            lost.keep_report(&found)?;
            if let Some(survey) = survey {
                repair::repair(self, &plan, &survey, &lost)?;
            }
            let (after, _, _) = Check::run(self)?;
            found.settle(after);
            found.lost_and_found = Some(lost.name().to_owned());
        }
        Ok(found)
    }
}

impl FsckReport {
    /// Marks what is not found any more, and adds what only shows now.
    fn settle(&mut self, after: Self) {
        for finding in &mut self.findings {
            finding.repaired = !after
                .findings
                .iter()
                .any(|still| still.fault == finding.fault && still.what == finding.what);
        }
        for still in after.findings {
            let known = |f: &Finding| f.fault == still.fault && f.what == still.what;
            if !self.findings.iter().any(known) {
                self.findings.push(still);
            }
        }
        self.unchecked = after.unchecked;
        self.sealed_values = after.sealed_values;
    }
}

impl Plan {
    fn is_needed(&self) -> bool {
        let nothing = self.aside.is_empty() && self.superseded.is_empty() && self.tiles.is_empty();
        self.index || self.checkpoint || !nothing
    }
}

impl<'a> Check<'a> {
    fn run(place: &'a Place<'a>) -> Result<(FsckReport, Plan, Option<Survey>), LedgerError> {
        let mut check = Self {
            place,
            report: FsckReport::default(),
            unlisted: 0,
            plan: Plan::default(),
            keys: HashSet::new(),
            named: BTreeMap::new(),
            broken_sealed: HashSet::new(),
        };
        let survey = check.all()?;
        if check.unlisted > 0 {
            check.unchecked(format!(
                "{} findings beyond the first {MAX_LISTED} are not listed",
                check.unlisted
            ));
        }
        Ok((check.report, check.plan, survey))
    }

    fn all(&mut self) -> Result<Option<Survey>, LedgerError> {
        let Some((size, root)) = self.checkpoint()? else {
            self.unchecked("the log: no checkpoint says how far it goes");
            return Ok(None);
        };
        self.report.size = size;
        let survey = self.survey(size, &root)?;
        let future = self.journal(&survey)?;
        self.files(&survey, &future)?;
        self.attachments(&survey, &future)?;
        self.index(&survey, &future)?;
        Ok(Some(survey))
    }

    /// Takes note of damage. Says whether it is of a kind that can be repaired.
    fn found(&mut self, fault: Fault, what: impl Into<String>, detail: impl Into<String>) -> bool {
        if self.report.findings.len() < MAX_LISTED {
            self.report.findings.push(finding(fault, what, detail));
        } else {
            self.unlisted += 1;
        }
        fault.is_derived()
    }

    fn unchecked(&mut self, what: impl Into<String>) {
        self.report.unchecked.push(what.into());
    }

    fn note(&mut self, what: impl Into<String>) {
        self.report.notes.push(what.into());
    }
}

fn finding(fault: Fault, what: impl Into<String>, detail: impl Into<String>) -> Finding {
    Finding {
        fault,
        what: what.into(),
        detail: detail.into(),
        derived: fault.is_derived(),
        advice: fault.advice(),
        repaired: false,
    }
}

/// An object whose key names none is a file that somebody put there: it is listed, and cannot be read.
fn readable(read: store::Result<Option<Vec<u8>>>) -> Result<Option<Vec<u8>>, LedgerError> {
    match read {
        Err(StoreError::BadKey { .. }) => Ok(None),
        other => Ok(other?),
    }
}
