//! The watch's numbers for Prometheus. A finding is labelled by its rule; no run is ever a label.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use watch::Rule;

type Labels = [(&'static str, &'static str); 1];

/// What the sequencer finds by itself.
const SEQUENCER: &str = "clock-skew";
/// What another version of this server may have found.
const OTHER: &str = "other";

/// Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct FindingMetrics {
    found: Family<Labels, Counter>,
    watched: Gauge,
    open_runs: Gauge,
}

impl FindingMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "findings",
            "Findings recorded since the server started, by rule",
            metrics.found.clone(),
        );
        registry.register(
            "watched_size",
            "Records that the watch has looked at; published_size less this is how far it is behind",
            metrics.watched.clone(),
        );
        registry.register(
            "watched_runs",
            "Open runs that the watch follows",
            metrics.open_runs.clone(),
        );
        // Whoever alerts on an increase needs the nothing before it.
        let rules = Rule::ALL.iter().map(|rule| rule.name());
        for rule in rules.chain([SEQUENCER, OTHER]) {
            drop(metrics.found.get_or_create(&[("rule", rule)]));
        }
        metrics
    }

    /// A finding stands in the log.
    pub(crate) fn found(&self, finding: &str) {
        let rule = match Rule::parse(finding) {
            Some(rule) => rule.name(),
            None if finding == SEQUENCER => SEQUENCER,
            None => OTHER,
        };
        self.found.get_or_create(&[("rule", rule)]).inc();
    }

    /// How far the watch has come.
    pub(crate) fn watched(&self, size: u64, open_runs: usize) {
        self.watched.set(i64::try_from(size).unwrap_or(i64::MAX));
        self.open_runs
            .set(i64::try_from(open_runs).unwrap_or(i64::MAX));
    }
}
