//! The rows of the table, one file each.

pub(crate) mod against_postgres;
pub(crate) mod growth;
pub(crate) mod idle;
pub(crate) mod large;
pub(crate) mod one_client;
pub(crate) mod verify;

use std::collections::BTreeSet;

use crate::Outcome;

/// What can be asked for by name.
const NAMES: [&str; 7] = [
    "one", "single", "batch", "verify", "idle", "growth", "large",
];

/// The rows asked for: all, where none is named.
pub(crate) fn chosen(names: &[String]) -> Outcome<BTreeSet<&'static str>> {
    if names.is_empty() {
        return Ok(NAMES.into());
    }
    names
        .iter()
        .map(|name| {
            NAMES
                .into_iter()
                .find(|known| known == name)
                .ok_or_else(|| {
                    format!("no row is called {name}; there are {}", NAMES.join(", ")).into()
                })
        })
        .collect()
}

/// The middle of some numbers.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The round whose ratio is in the middle: its two sides.
pub(crate) fn middle(mut rounds: Vec<(f64, f64)>) -> (f64, f64) {
    rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    rounds
        .get(rounds.len() / 2)
        .copied()
        .unwrap_or((f64::NAN, f64::NAN))
}
