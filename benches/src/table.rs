//! The ratios, as a table for people and as JSON.

use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::Outcome;

/// Where the JSON goes, from the workspace's root.
const JSON: &str = "target/bench.json";

/// What was measured so far.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

/// One comparison.
#[derive(Debug)]
pub(crate) struct Row {
    /// What we do.
    pub(crate) what: String,
    /// What it is held against.
    pub(crate) yardstick: String,
    /// How much of it we did in a second.
    pub(crate) ours: f64,
    /// How much of it the yardstick did in a second.
    pub(crate) theirs: f64,
    /// The least ratio of ours to theirs that will do.
    pub(crate) wanted: f64,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours / self.theirs
    }
}

impl Table {
    pub(crate) fn add(&mut self, row: Row) {
        self.0.push(row);
    }

    /// Whether each ratio is what was wanted.
    pub(crate) fn all_reached(&self) -> bool {
        self.0.iter().all(|row| row.ratio() >= row.wanted)
    }

    /// Writes the rows to `target/bench.json`.
    pub(crate) fn write_json(&self) -> Outcome<()> {
        let rows: Vec<_> = self
            .0
            .iter()
            .map(|row| {
                json!({
                    "what": row.what, "yardstick": row.yardstick, "per_second": row.ours,
                    "yardstick_per_second": row.theirs, "ratio": row.ratio(), "wanted": row.wanted,
                })
            })
            .collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(JSON);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, format!("{:#}\n", json!(rows)))?;
        println!("\nThe same as JSON: {JSON}");
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<60} {:>9} {:>9} {:>6} {:>6}",
            "", "ours/s", "theirs/s", "ratio", "wanted"
        )?;
        for row in &self.0 {
            writeln!(
                f,
                "{:<60} {:>9.0} {:>9.0} {:>6.2} {:>6.2}",
                row.what,
                row.ours,
                row.theirs,
                row.ratio(),
                row.wanted
            )?;
            writeln!(f, "  beside {}", row.yardstick)?;
        }
        Ok(())
    }
}
