//! The kinds of jobs, one file each. A new one gets a file here and a line in [`KINDS`].

mod backup;
mod export;
mod integrity;
mod integrity_range;
mod model_card;
mod model_cards;
mod notification;
mod timestamp;
mod watch;

use serde_json::Value;

use crate::Tools;
use crate::attempt::Attempt;
use crate::error::Fault;

/// The check of the log.
pub(crate) const INTEGRITY: &str = "integrity";
/// The look at whether all is well.
pub(crate) const WATCH: &str = "watch";

pub(crate) use integrity_range::IntegrityRange;
pub(crate) use model_card::ModelCardJob;
pub(crate) use notification::Notification;

/// A kind of job.
pub trait Kind: Send + Sync {
    /// Its name, also in metrics: few, and never made of anything a user says.
    fn name(&self) -> &'static str;

    /// How often it is tried before it is dead.
    fn tries(&self) -> u64 {
        6
    }

    /// What a job is done to: of one key, one job at most is open.
    ///
    /// # Errors
    /// What the payload lacks, in words that follow "a job of the kind …".
    fn key(&self, payload: &Value) -> Result<String, String> {
        let _ = payload;
        Ok("ledger".to_owned())
    }

    /// Whether a job of some key is done once, and not again when it is added again.
    fn once(&self) -> bool {
        false
    }

    /// Whether a worker with these tools can do it.
    fn is_possible(&self, tools: &Tools) -> bool {
        let _ = tools;
        true
    }

    /// Whether a user or a schedule may add one.
    fn may_be_asked_for(&self) -> bool {
        true
    }

    /// Makes an attempt. It may have been made before, as far as one likes: what it does it does once. Gives what it came
    /// to, an object.
    ///
    /// # Errors
    /// [`Fault`].
    fn make(&self, attempt: &Attempt<'_>) -> Result<Value, Fault>;
}

/// All of them.
pub const KINDS: &[&dyn Kind] = &[
    &backup::Backup,
    &export::ExportJob,
    &integrity::Integrity,
    &integrity_range::IntegrityRange,
    &model_card::ModelCardJob,
    &model_cards::ModelCards,
    &notification::Notification,
    &timestamp::Timestamp,
    &watch::Watch,
];

/// The kind of this name.
pub(crate) fn find(name: &str) -> Option<&'static dyn Kind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}

/// Whether there is a kind of this name that may be asked for.
pub fn is_kind(name: &str) -> bool {
    find(name).is_some_and(Kind::may_be_asked_for)
}

/// Whether a worker with these tools can do jobs of this kind, if there is one of this name.
pub fn can_do(name: &str, tools: &Tools) -> bool {
    find(name).is_none_or(|kind| kind.is_possible(tools))
}

/// The names of those that may be asked for.
pub(crate) fn names() -> Vec<&'static str> {
    let asked = KINDS.iter().filter(|kind| kind.may_be_asked_for());
    asked.map(|kind| kind.name()).collect()
}

/// The names of those that a worker with these tools can do.
pub(crate) fn possible(tools: &Tools) -> Vec<&'static str> {
    let can = KINDS.iter().filter(|kind| kind.is_possible(tools));
    can.map(|kind| kind.name()).collect()
}

/// The text of a payload's member.
fn text(payload: &Value, member: &str) -> Result<String, String> {
    let text = payload[member].as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| format!("needs to be told `{member}`"))
}
