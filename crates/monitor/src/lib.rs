//! Follows somebody else's log: each new checkpoint is held against the last, the entries against their
//! schemas and chains, and everything against the clock.
//!
//! A [`Monitor`] looks once at each [`Monitor::look`]; how often is the caller's. What it found last is in
//! a directory, so that a monitor that is started again goes on from there. What is false is kept as
//! evidence, said once, and looked at again at the next look: a monitor never stops watching by itself.
//!
//! A server that does not answer is not false. It becomes an alert when nothing could be shown for
//! [`Options::max_age`], and so does a log that shows nothing newer for that long.
//!
//! Not here: how records and trees are checked (`verify`, `tlog`), serving the metrics, the clock.

mod alert;
mod checkpoint;
mod entries;
mod error;
mod evidence;
mod metrics;
mod state;
mod watch;
mod webhook;

pub use alert::{Alert, Kind, Look, Status};
pub use error::MonitorError;
pub use metrics::{MEDIA_TYPE, Metrics};
pub use watch::{Monitor, Options, Trust};
