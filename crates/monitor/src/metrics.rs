//! The numbers a Prometheus scrapes.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::alert::{Kind, Status};

/// The media type of what [`Metrics::encode`] writes.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// All metrics of one monitor.
pub struct Metrics {
    registry: Registry,
    looks: Counter,
    standing: Family<KindLabel, Gauge>,
    alerts: Family<KindLabel, Counter>,
    available: Gauge,
    size: Gauge,
    entries: Gauge,
    unknown: Gauge,
    age: Gauge<f64, AtomicU64>,
    shown: Gauge<f64, AtomicU64>,
    webhook_failures: Counter,
    waiting: Gauge,
}

/// What a look found, for the gauges.
pub(crate) struct Numbers {
    pub(crate) status: Status,
    pub(crate) size: u64,
    pub(crate) entries: u64,
    pub(crate) unknown: u64,
    pub(crate) age_seconds: f64,
    pub(crate) shown_seconds: f64,
    pub(crate) waiting: usize,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("rlhf_audit_monitor");
        let metrics = Self {
            looks: Counter::default(),
            standing: Family::default(),
            alerts: Family::default(),
            available: Gauge::default(),
            size: Gauge::default(),
            entries: Gauge::default(),
            unknown: Gauge::default(),
            age: Gauge::default(),
            shown: Gauge::default(),
            webhook_failures: Counter::default(),
            waiting: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("looks", "Looks at the log", metrics.looks.clone());
        let standing = metrics.standing.clone();
        registry.register("standing", "Whether this is wrong at present", standing);
        registry.register("alerts", "Alerts raised", metrics.alerts.clone());
        let available = metrics.available.clone();
        registry.register(
            "available",
            "Whether the last look could be made",
            available,
        );
        let size = metrics.size.clone();
        registry.register("log_size", "Records of the last good checkpoint", size);
        let entries = metrics.entries.clone();
        registry.register("entries_checked", "Entries read and checked", entries);
        let unknown = metrics.unknown.clone();
        registry.register(
            "entries_unknown",
            "Records of a kind that this version does not know",
            unknown,
        );
        let age = metrics.age.clone();
        registry.register_with_unit(
            "checkpoint_age",
            "Time since the last good checkpoint was signed",
            Unit::Seconds,
            age,
        );
        let shown = metrics.shown.clone();
        registry.register_with_unit(
            "shown_age",
            "Time since everything asked for was shown",
            Unit::Seconds,
            shown,
        );
        registry.register(
            "webhook_failures",
            "Alerts that the webhook did not take at a try",
            metrics.webhook_failures.clone(),
        );
        let waiting = metrics.waiting.clone();
        registry.register(
            "webhook_waiting",
            "Alerts that wait for the webhook",
            waiting,
        );
        // Every kind is there from the start: an alert rule needs something to look at.
        for kind in Kind::ALL {
            let label = KindLabel { kind: kind.name() };
            metrics.standing.get_or_create(&label).set(0);
            metrics.alerts.get_or_create(&label).inc_by(0);
        }
        Self {
            registry,
            ..metrics
        }
    }

    pub(crate) fn look(&self, numbers: &Numbers, standing: impl Fn(Kind) -> bool) {
        let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.looks.inc();
        let available = numbers.status != Status::Unavailable;
        self.available.set(i64::from(available));
        self.size.set(clamp(numbers.size));
        self.entries.set(clamp(numbers.entries));
        self.unknown.set(clamp(numbers.unknown));
        self.age.set(numbers.age_seconds);
        self.shown.set(numbers.shown_seconds);
        self.waiting.set(clamp(numbers.waiting as u64));
        for kind in Kind::ALL {
            let label = KindLabel { kind: kind.name() };
            let is = i64::from(standing(kind));
            self.standing.get_or_create(&label).set(is);
        }
    }

    pub(crate) fn alert(&self, kind: Kind) {
        let label = KindLabel { kind: kind.name() };
        self.alerts.get_or_create(&label).inc();
    }

    pub(crate) fn webhook_failed(&self) {
        self.webhook_failures.inc();
    }

    /// The exposition text.
    ///
    /// # Errors
    ///
    /// Never in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
