//! Thresholds. Where they come from is in `docs/operations/watching.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! settings {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $($(#[doc = $fdoc:literal])* $field:ident: $type:ty = $default:expr,)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct $name {
            $($(#[doc = $fdoc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

settings! {
    /// When a series has left its course: a CUSUM (Page 1954) over what a forecast (Holt 1957) did not foresee, in units of the
    /// noise.
    DriftSettings {
        /// Values that are only learned from.
        warm_up: u64 = 50,
        /// The weight of the newest value in the level: Holt's alpha.
        alpha: f64 = 0.1,
        /// The weight of the newest change in the trend: Holt's beta.
        beta: f64 = 0.05,
        /// The reference value: what a value may be off without counting, in units of the noise.
        k: f64 = 2.0,
        /// The decision interval: the sum at which it is a finding, in units of the noise.
        h: f64 = 20.0,
        /// The noise is at least this fraction of the level.
        floor: f64 = 0.05,
    }
}

settings! {
    /// When the reward rises while an evaluation falls: two Mann-Kendall tests over the latest evaluations.
    DivergenceSettings {
        /// How many evaluations are looked at.
        window: usize = 12,
        /// Each trend's normal score has to be this far from 0.
        z: f64 = 3.0,
        /// The evaluation has fallen by at least this fraction of its best.
        fall: f64 = 0.03,
    }
}

settings! {
    /// When a series has collapsed: a fast mean far below a slow one.
    CollapseSettings {
        /// Values that are only learned from.
        warm_up: u64 = 30,
        /// The weight of the newest value in the slow mean.
        slow: f64 = 0.02,
        /// The weight of the newest value in the fast mean.
        fast: f64 = 0.2,
        /// The fast mean is below this fraction of the slow one …
        ratio: f64 = 0.4,
        /// … at so many values in a row.
        persist: u32 = 5,
    }
}

settings! {
    /// When agreement has fallen: Krippendorff's alpha of the latest items against that of the first.
    AgreementSettings {
        /// How many items that two or more annotators judged.
        window: usize = 100,
        /// It is looked at after so many more of them.
        every: u32 = 10,
        /// How far alpha has fallen since the first window.
        fall: f64 = 0.3,
        /// And below what it lies: Krippendorff's lowest limit for tentative conclusions.
        below: f64 = 0.667,
        /// And by so many standard errors (jackknife over items).
        z: f64 = 3.0,
    }
}

settings! {
    /// When an annotator decides at machine speed.
    SpeedSettings {
        /// How many decisions are looked at.
        window: usize = 30,
        /// Faster than this, in milliseconds, is too fast to have read anything.
        millis: u64 = 1_000,
        /// The share of them that is.
        share: f64 = 0.9,
    }
}

settings! {
    /// When an annotator always prefers the same side.
    SideSettings {
        /// How many preferences are looked at.
        window: usize = 40,
        /// The share of them on one side.
        share: f64 = 0.95,
        /// How likely that may be where the annotator chose sides as the others do (binomial).
        p: f64 = 1e-6,
        /// Preferences by others without which nothing is said: sides may mean something in this run.
        others: u64 = 40,
    }
}

settings! {
    /// When a run has stalled.
    StallSettings {
        /// Nothing was recorded for so many seconds …
        after_seconds: u64 = 3_600,
        /// … and for so many times the longest pause that the run has made.
        pauses: u64 = 5,
        /// Runs with fewer updates and metrics are not looked at.
        updates: u64 = 10,
    }
}

settings! {
    /// All thresholds, and how much is kept.
    Settings {
        /// `kl-drift`.
        kl: DriftSettings = DriftSettings::default(),
        /// `reward-drift`.
        reward: DriftSettings = DriftSettings { alpha: 0.07, ..DriftSettings::default() },
        /// `reward-evaluation-divergence`.
        divergence: DivergenceSettings = DivergenceSettings::default(),
        /// `length-collapse`.
        length: CollapseSettings = CollapseSettings::default(),
        /// `entropy-collapse`.
        entropy: CollapseSettings = CollapseSettings { ratio: 0.3, ..CollapseSettings::default() },
        /// `agreement-falling`.
        agreement: AgreementSettings = AgreementSettings::default(),
        /// `annotator-speed`.
        speed: SpeedSettings = SpeedSettings::default(),
        /// `annotator-side`.
        side: SideSettings = SideSettings::default(),
        /// `run-stalled`.
        stall: StallSettings = StallSettings::default(),
        /// Open runs of which something is kept; the one that has been quiet longest goes first.
        runs: usize = 256,
        /// Annotators of a run of whom something is kept; likewise.
        annotators: usize = 256,
        /// Rules that are switched off, by name.
        off: Vec<String> = Vec::new(),
    }
}

/// A value that no rule can work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {found}, expected {expected}")]
pub struct SettingsError {
    /// The setting.
    pub name: &'static str,
    /// What it is.
    pub found: String,
    /// What would be right.
    pub expected: &'static str,
}

/// The most that a window or a bound may be: what is kept of a run stays small.
const MOST: usize = 10_000;

impl Settings {
    /// Whether rules can work with them.
    ///
    /// # Errors
    /// [`SettingsError`], with the name of the setting.
    pub fn check(&self) -> Result<(), SettingsError> {
        for (drift, names) in [
            (
                &self.kl,
                ["kl.alpha", "kl.beta", "kl.k", "kl.h", "kl.floor"],
            ),
            (
                &self.reward,
                [
                    "reward.alpha",
                    "reward.beta",
                    "reward.k",
                    "reward.h",
                    "reward.floor",
                ],
            ),
        ] {
            fraction(names[0], drift.alpha)?;
            fraction(names[1], drift.beta)?;
            positive(names[2], drift.k)?;
            positive(names[3], drift.h)?;
            positive(names[4], drift.floor)?;
        }
        for (collapse, names) in [
            (&self.length, ["length.slow", "length.fast", "length.ratio"]),
            (
                &self.entropy,
                ["entropy.slow", "entropy.fast", "entropy.ratio"],
            ),
        ] {
            fraction(names[0], collapse.slow)?;
            fraction(names[1], collapse.fast)?;
            fraction(names[2], collapse.ratio)?;
        }
        positive("divergence.z", self.divergence.z)?;
        fraction("divergence.fall", self.divergence.fall)?;
        positive("agreement.z", self.agreement.z)?;
        positive("agreement.fall", self.agreement.fall)?;
        fraction("agreement.below", self.agreement.below)?;
        fraction("speed.share", self.speed.share)?;
        fraction("side.share", self.side.share)?;
        fraction("side.p", self.side.p)?;
        for (name, window) in [
            ("divergence.window", self.divergence.window),
            ("agreement.window", self.agreement.window),
            ("speed.window", self.speed.window),
            ("side.window", self.side.window),
            ("runs", self.runs),
            ("annotators", self.annotators),
        ] {
            if !(2..=MOST).contains(&window) {
                return Err(range(name, &window, "2 to 10000"));
            }
        }
        let unknown = self
            .off
            .iter()
            .find(|name| crate::Rule::parse(name).is_none());
        unknown.map_or(Ok(()), |name| Err(range("off", name, "names of rules")))
    }
}

fn range(name: &'static str, found: &impl ToString, expected: &'static str) -> SettingsError {
    let found = found.to_string();
    SettingsError {
        name,
        found,
        expected,
    }
}

fn fraction(name: &'static str, value: f64) -> Result<(), SettingsError> {
    if value > 0.0 && value <= 1.0 {
        return Ok(());
    }
    Err(range(name, &value, "more than 0, at most 1"))
}

fn positive(name: &'static str, value: f64) -> Result<(), SettingsError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(range(name, &value, "more than 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Settings, String> {
        let settings: Settings = serde_json::from_str(json).map_err(|e| e.to_string())?;
        settings.check().map_err(|e| e.to_string())?;
        Ok(settings)
    }

    #[test]
    fn what_is_left_out_is_as_by_default() {
        let settings = read(r#"{"kl":{"h":30,"warm-up":9},"off":["run-stalled"]}"#).unwrap();
        assert!((settings.kl.h - 30.0).abs() < f64::EPSILON);
        assert_eq!(settings.kl.warm_up, 9);
        assert_eq!(settings.reward, Settings::default().reward);
        assert_eq!(read("{}").unwrap(), Settings::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (json, name) in [
            (r#"{"kl":{"alpha":0}}"#, "kl.alpha"),
            (r#"{"reward":{"h":-1}}"#, "reward.h"),
            (r#"{"side":{"window":1}}"#, "side.window"),
            (r#"{"entropy":{"ratio":2}}"#, "entropy.ratio"),
            (r#"{"agreement":{"below":2}}"#, "agreement.below"),
            (r#"{"off":["kl-drif"]}"#, "off"),
            (r#"{"kl":{"hh":3}}"#, "hh"),
            (r#"{"drift":{}}"#, "drift"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(name), "{json}: {error}");
        }
    }
}
