//! Rules over a run's records as they arrive: what looks odd in a training, each finding with the
//! indices of the records that it rests on.
//!
//! A [`Watch`] is shown every record of a log in its order ([`Watch::take`]) and now and then the time
//! ([`Watch::look`]). What it finds waits in [`Watch::waiting`] until it is said to be recorded. What it keeps of a
//! run is small and bounded, can be written down ([`Watch::save`]), and follows from the log: shown the same records again it
//! comes to the same, and a finding that stands in the log already is not raised a second time.
//!
//! It is *not* a judge of whether records are genuine (that is `verify`), reads no log, writes no record, has no
//! clock. What each rule sees, its thresholds, and what it cannot see: `docs/operations/watching.md`.

mod agreement;
mod annotations;
mod collapse;
mod divergence;
mod drift;
mod finding;
mod recent;
mod rule;
mod run;
mod settings;
mod signals;
mod stall;
mod watch;

pub use agreement::{Metric, alpha};
pub use finding::Finding;
pub use rule::Rule;
pub use settings::{
    AgreementSettings, CollapseSettings, DivergenceSettings, DriftSettings, Settings,
    SettingsError, SideSettings, SpeedSettings, StallSettings,
};
pub use watch::Watch;
