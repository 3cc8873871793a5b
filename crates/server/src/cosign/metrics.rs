//! The witnesses' numbers for Prometheus. A witness is labelled by its name in the policy.

use std::sync::atomic::AtomicU64;

use ledger::Ledger;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Witnesses;

type Labels = [(&'static str, String); 1];

/// Written at each scrape.
#[derive(Default)]
pub(crate) struct WitnessMetrics {
    last_success: Family<Labels, Gauge<f64, AtomicU64>>,
    cosignatures: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    lag: Family<Labels, Gauge>,
    cosigned: Gauge,
}

impl WitnessMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "witness_last_success_timestamp_seconds",
            "When a witness last cosigned, in POSIX seconds",
            metrics.last_success.clone(),
        );
        registry.register(
            "witness_cosignatures",
            "Checkpoints that a witness has cosigned",
            metrics.cosignatures.clone(),
        );
        registry.register(
            "witness_failures",
            "Requests to a witness that brought no cosignature",
            metrics.failures.clone(),
        );
        registry.register(
            "witness_lag_records",
            "Published records that a witness has not cosigned",
            metrics.lag.clone(),
        );
        registry.register(
            "cosigned_size",
            "Records of the latest checkpoint that a quorum of witnesses has cosigned",
            metrics.cosigned.clone(),
        );
        metrics
    }

    pub(crate) fn set(&self, witnesses: &Witnesses, ledger: &Ledger) {
        let published = ledger.latest().map_or(0, |at| at.checkpoint.size.0);
        let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        for witness in witnesses.iter() {
            let labels = [("witness", witness.name().to_owned())];
            let report = witness.report();
            if let Some(at) = report.last_success {
                let seconds = at.0 as f64 / 1e6;
                self.last_success.get_or_create(&labels).set(seconds);
            }
            for (family, count) in [
                (&self.cosignatures, report.cosignatures),
                (&self.failures, report.failures),
            ] {
                let counter = family.get_or_create(&labels);
                counter.inc_by(count.saturating_sub(counter.get()));
            }
            let lag = published.saturating_sub(report.size.unwrap_or(0));
            self.lag.get_or_create(&labels).set(clamp(lag));
        }
        let cosigned = ledger.cosigned().map_or(0, |at| at.checkpoint.size.0);
        self.cosigned.set(clamp(cosigned));
    }
}
