//! The rows, as Markdown for people and as JSON for programs.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::Outcome;
use crate::machine::Machine;

/// Where the JSON goes, from the workspace's root.
const JSON: &str = "target/bench.json";
/// What stands around the table in the README.
const BEGIN: &str = "<!-- make bench: begin -->";
const END: &str = "<!-- make bench: end -->";

/// What was measured so far.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    machine: Machine,
    rows: Vec<Row>,
}

/// One line.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    what: String,
    yardstick: Option<String>,
    unit: String,
    ours: f64,
    theirs: Option<f64>,
    /// Ours by theirs; ours, where there is no yardstick.
    value: f64,
    wanted: Wanted,
    reached: bool,
}

/// Which ratio, or number, will do.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Wanted {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl Row {
    /// Ours beside a yardstick.
    pub(crate) fn against(
        what: &str,
        yardstick: &str,
        unit: &str,
        ours: f64,
        theirs: f64,
        wanted: Wanted,
    ) -> Self {
        let value = ours / theirs;
        Self {
            what: what.to_owned(),
            yardstick: Some(yardstick.to_owned()),
            unit: unit.to_owned(),
            ours,
            theirs: Some(theirs),
            value,
            wanted,
            reached: wanted.is_reached(value),
        }
    }

    /// A number that stands for itself.
    pub(crate) fn alone(what: &str, unit: &str, ours: f64, wanted: Wanted) -> Self {
        Self {
            what: what.to_owned(),
            yardstick: None,
            unit: unit.to_owned(),
            ours,
            theirs: None,
            value: ours,
            wanted,
            reached: wanted.is_reached(ours),
        }
    }
}

impl Table {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("{row}");
        self.rows.push(row);
    }

    /// Whether each row is what was wanted.
    pub(crate) fn all_reached(&self) -> bool {
        self.rows.iter().all(|row| row.reached)
    }

    /// Writes `target/bench.json`.
    pub(crate) fn write(&self, root: &Path) -> Outcome<()> {
        let path = root.join(JSON);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, format!("{}\n", serde_json::to_string_pretty(self)?))?;
        Ok(())
    }

    /// Puts the table between its marks in the README.
    pub(crate) fn write_readme(&self, path: &Path) -> Outcome<()> {
        let text = fs::read_to_string(path)?;
        let (before, rest) = text
            .split_once(BEGIN)
            .ok_or("the README has no place for the table")?;
        let (_, after) = rest
            .split_once(END)
            .ok_or("the README's place for the table has no end")?;
        fs::write(path, format!("{before}{BEGIN}\n{self}{END}{after}"))?;
        Ok(())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | ours | yardstick | | wanted |")?;
        writeln!(f, "|---|--:|---|--:|--:|")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        writeln!(f, "\n{}", self.machine.line())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = &self.unit;
        write!(f, "| {} | {} {unit} | ", self.what, Short(self.ours))?;
        match (&self.yardstick, self.theirs) {
            (Some(yardstick), Some(theirs)) => {
                write!(f, "{yardstick}: {} {unit} | ", Short(theirs))?;
                write!(f, "{:.2} ×", self.value)?;
            }
            _ => write!(f, "– | {}", Short(self.value))?,
        }
        let (sign, wanted) = match self.wanted {
            Wanted::AtLeast(least) => ("≥", least),
            Wanted::AtMost(most) => ("≤", most),
        };
        let missed = if self.reached { "" } else { " **missed**" };
        write!(f, "{missed} | {sign} {wanted} |")
    }
}

/// A number with about three digits.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 100.0 => write!(f, "{n:.0}"),
            n if n >= 10.0 => write!(f, "{n:.1}"),
            n => write!(f, "{n:.2}"),
        }
    }
}
