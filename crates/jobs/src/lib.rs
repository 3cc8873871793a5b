//! What is done behind everything else: checks of the whole log, model cards, timestamps, backups, exports, notifications.
//!
//! The database holds the truth about every job ([`store::JobStore`]); a [`store::Bell`] only wakes whoever is ready. A
//! job may be begun more than once, when its worker dies, freezes or is cut off, so each kind of job is idempotent, and
//! what it records it records under a condition (`once`). A kind of job is one file in `kinds`, with a line in
//! [`KINDS`].
//!
//! | part | what it does |
//! |---|---|
//! | [`Queue`] | adds jobs and shows them |
//! | [`Worker`] | takes jobs and does them, on threads of its own |
//! | [`Scheduler`] | adds what is due by the clock; one acts at a time |
//! | [`Target`] | who is told when something is wrong |
//!
//! Not here: HTTP for others (`server`), configuration files (`cli`), what the database does (`store`).

mod attempt;
pub mod cards;
mod error;
mod integrity;
mod kinds;
mod notify;
mod once;
mod queue;
mod schedule;
mod scheduler;
mod stop;
mod worker;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ledger::{Ledger, Location, TimestampAuthority};

pub use attempt::Attempt;
pub use error::{Fault, JobError};
pub use integrity::Standing;
pub use kinds::{KINDS, Kind, can_do, is_kind};
pub use notify::{EVENTS, Mail, MailTls, NotifyError, Relay, Target, Webhook};
pub use queue::Queue;
pub use schedule::{Schedule, ScheduleError, When};
pub use scheduler::Scheduler;
pub use worker::{Worker, WorkerOptions};

/// What jobs are done with.
pub struct Tools {
    /// The ledger they are about.
    pub ledger: Ledger,
    /// Where it is kept.
    pub location: Location,
    /// Where they come from.
    pub queue: Queue,
    /// Who stamps checkpoints, if anybody.
    pub authority: Option<Arc<dyn TimestampAuthority>>,
    settings: RwLock<Arc<Settings>>,
}

/// What may change while jobs are done.
#[derive(Debug, Default)]
pub struct Settings {
    /// What is done when.
    pub schedules: Vec<Schedule>,
    /// Who is told when something is wrong.
    pub targets: Vec<Target>,
    /// When something is late.
    pub patience: Patience,
    /// Where backups go, if anywhere.
    pub backup: Option<BackupPlan>,
    /// Where exports go, if anywhere.
    pub export: Option<ExportPlan>,
}

/// Where exports go.
#[derive(Debug)]
pub struct ExportPlan {
    /// A directory, or an object store's URL: each export gets a folder in it.
    pub place: String,
    /// How to get at the object store.
    pub options: Vec<(String, String)>,
    /// What tables are written as.
    pub format: export::Format,
}

/// Where backups go.
#[derive(Debug)]
pub struct BackupPlan {
    /// A directory, or an object store's URL.
    pub place: String,
    /// How to get at the object store.
    pub options: Vec<(String, String)>,
    /// What the backups are encrypted under.
    pub key: backup::Key,
    /// Files beside the ledger that go into them.
    pub with: Vec<std::path::PathBuf>,
}

impl Tools {
    /// Tools for a ledger's jobs.
    pub fn new(
        ledger: Ledger,
        location: Location,
        queue: Queue,
        authority: Option<Arc<dyn TimestampAuthority>>,
        settings: Settings,
    ) -> Self {
        Self {
            ledger,
            location,
            queue,
            authority,
            settings: RwLock::new(Arc::new(settings)),
        }
    }

    /// What holds now.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these hold; a job under way goes on with those that it began with.
    pub fn adjust(&self, settings: Settings) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}

/// How long something may take before somebody is told.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From a durable record to a checkpoint that covers it.
    pub checkpoint: Duration,
    /// From a checkpoint to a quorum of cosignatures, where there are witnesses.
    pub cosignature: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            checkpoint: Duration::from_mins(5),
            cosignature: Duration::from_mins(15),
        }
    }
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools")
            .field("queue", &self.queue)
            .field("settings", &self.settings())
            .finish_non_exhaustive()
    }
}
