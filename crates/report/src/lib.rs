//! Model cards in which every number points at its evidence.
//!
//! A [`Collector`] is fed the records of one run in log order and makes a [`ModelCard`]: plain data,
//! in which each number is [`Cited`] with the log indices it was taken from. The card renders itself
//! as Markdown for a model hub, as one self-contained HTML page, and as JSON. The same records give
//! the same bytes: there is no clock here and no randomness.
//!
//! It is *not* a check of the log: whoever feeds the records has them from a verified log or says
//! that they are not. It reads no files and no database, and invents nothing: what the log does not
//! say is listed as not recorded.
//!
//! Pages are made with askama, since its templates are checked against the types when the crate is
//! compiled and its escapers can be replaced; plots are drawn by the `svg` module, since
//! they must follow the page's colour scheme, which plotters' fixed colours cannot.

mod agreement;
mod card;
mod collect;
mod error;
mod escape;
mod evidence;
mod figure;
mod histogram;
mod html;
mod markdown;
mod series;
mod svg;
mod yaml;

pub use agreement::{Agreement, AnnotatorAgreement, Metric, PairAgreement};
pub use card::{
    Annotations, Checkpoint, CheckpointFile, Dataset, Decision, Evaluation, Guideline, LogView,
    ModelCard, Note, RunFacts, Status, StreamFacts, Training,
};
pub use collect::Collector;
pub use error::ReportError;
pub use evidence::{Cited, Evidence};
pub use histogram::{Bin, Histogram};
pub use series::{Point, Series};
