//! A bar for what goes object by object.

use indicatif::{ProgressBar, ProgressStyle};

/// Drawn on a terminal alone.
pub(crate) fn objects() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} objects, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
