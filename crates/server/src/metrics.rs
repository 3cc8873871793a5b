//! The numbers a Prometheus scrapes: requests, and the ledger as it stands at the scrape.
//! Nothing personal: no token, run or producer is ever a label.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ledger::TimestampStatus;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::cosign::WitnessMetrics;
use crate::routes::append;
use crate::watching::FindingMetrics;

/// The media type of what [`Metrics::encode`] writes.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One route's template, so that indices and names never become labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

/// The ledger's state at a scrape.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LedgerNumbers {
    /// Records that have an index.
    pub(crate) log_size: u64,
    /// Records the latest checkpoint covers.
    pub(crate) published_size: u64,
    /// Since a checkpoint was last published; `None` where none was since the start.
    pub(crate) checkpoint_age: Option<Duration>,
    /// Groups written to the journal since the start.
    pub(crate) groups: u64,
    /// Records in those groups.
    pub(crate) group_records: u64,
    /// How having checkpoints stamped gets on.
    pub(crate) timestamps: TimestampStatus,
    /// Hash tiles read to make proofs, since the ledger was opened.
    pub(crate) tile_reads: u64,
}

/// All metrics of one server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    appended: Counter,
    appends: Appends,
    gauges: Gauges,
    witnesses: WitnessMetrics,
    findings: FindingMetrics,
    /// Scrapes write the gauges and read them back; two at once would mix their numbers.
    scrape: Mutex<()>,
}

/// The numbers of appends that recorded something, found once: looking them up takes as long as counting ten requests.
struct Appends {
    durations: Histogram,
    created: Counter,
}

#[derive(Default)]
struct Gauges {
    log_size: Gauge,
    published_size: Gauge,
    checkpoint_age: Gauge<f64, AtomicU64>,
    groups: Counter,
    group_records: Counter,
    timestamps: Counter,
    timestamp_failures: Counter,
    timestamped_size: Gauge,
    tile_reads: Counter,
    memory: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("rlhf_audit");
        let requests = Family::<RequestLabels, Counter>::default();
        let durations = Family::new_with_constructor(request_histogram as fn() -> Histogram);
        let (method, route) = ("POST".to_owned(), append::PATH.to_owned());
        let appends = Appends {
            durations: durations.get_or_create_owned(&RouteLabels {
                method: method.clone(),
                route: route.clone(),
            }),
            created: requests.get_or_create_owned(&RequestLabels {
                method,
                route,
                status: 201,
            }),
        };
        let appended = Counter::default();
        let gauges = Gauges::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's headers to its answer's",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register(
            "records_appended",
            "Records recorded over HTTP",
            appended.clone(),
        );
        registry.register(
            "log_size",
            "Records that have an index",
            gauges.log_size.clone(),
        );
        registry.register(
            "published_size",
            "Records the latest checkpoint covers",
            gauges.published_size.clone(),
        );
        registry.register_with_unit(
            "checkpoint_age",
            "Time since the latest checkpoint was made",
            Unit::Seconds,
            gauges.checkpoint_age.clone(),
        );
        registry.register(
            "journal_groups",
            "Durable writes of the journal",
            gauges.groups.clone(),
        );
        registry.register(
            "journal_group_records",
            "Records in those writes; over journal_groups it is the mean group",
            gauges.group_records.clone(),
        );
        registry.register(
            "timestamps",
            "Timestamps received from the time-stamping authority",
            gauges.timestamps.clone(),
        );
        registry.register(
            "timestamp_failures",
            "Requests to it that came to nothing",
            gauges.timestamp_failures.clone(),
        );
        registry.register(
            "timestamped_size",
            "Records that the checkpoint stamped last covers",
            gauges.timestamped_size.clone(),
        );
        registry.register(
            "proof_tile_reads",
            "Hash tiles read to make proofs",
            gauges.tile_reads.clone(),
        );
        registry.register_with_unit(
            "process_resident_memory",
            "Memory of this process",
            Unit::Bytes,
            gauges.memory.clone(),
        );
        let witnesses = WitnessMetrics::register(&mut registry);
        let findings = FindingMetrics::register(&mut registry);
        Self {
            registry,
            requests,
            durations,
            appended,
            appends,
            gauges,
            witnesses,
            findings,
            scrape: Mutex::new(()),
        }
    }

    /// Counts one append that was answered.
    pub(crate) fn append(&self, status: u16, took: Duration) {
        if status == 201 {
            self.appends.durations.observe(took.as_secs_f64());
            self.appends.created.inc();
        } else {
            self.request("POST", append::PATH, status, took);
        }
    }

    /// Counts one answered request.
    pub(crate) fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.durations
            .get_or_create(&RouteLabels {
                method: method.clone(),
                route: route.clone(),
            })
            .observe(took.as_secs_f64());
        self.requests
            .get_or_create(&RequestLabels {
                method,
                route,
                status,
            })
            .inc();
    }

    /// Counts records that were recorded, duplicates not among them.
    pub(crate) fn appended(&self, records: u64) {
        self.appended.inc_by(records);
    }

    /// The witnesses' numbers.
    pub(crate) fn witnesses(&self) -> &WitnessMetrics {
        &self.witnesses
    }

    /// The watch's numbers.
    pub(crate) fn findings(&self) -> &FindingMetrics {
        &self.findings
    }

    /// The exposition text, with the ledger as it is now.
    pub(crate) fn encode(&self, ledger: LedgerNumbers) -> Result<String, fmt::Error> {
        let _one = self
            .scrape
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let gauges = &self.gauges;
        gauges.log_size.set(clamp(ledger.log_size));
        gauges.published_size.set(clamp(ledger.published_size));
        gauges.checkpoint_age.set(
            ledger
                .checkpoint_age
                .map_or(f64::NAN, |age| age.as_secs_f64()),
        );
        catch_up(&gauges.groups, ledger.groups);
        catch_up(&gauges.group_records, ledger.group_records);
        catch_up(&gauges.timestamps, ledger.timestamps.stamped);
        catch_up(&gauges.timestamp_failures, ledger.timestamps.failures);
        gauges.timestamped_size.set(clamp(ledger.timestamps.size));
        catch_up(&gauges.tile_reads, ledger.tile_reads);
        gauges.memory.set(clamp(resident_memory().unwrap_or(0)));
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

/// From a tenth of a millisecond (an append is a few) to ten seconds (`wait=published`).
fn request_histogram() -> Histogram {
    Histogram::new([
        0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0,
    ])
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The ledger counts itself; its counters are copied by their increase.
fn catch_up(counter: &Counter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

/// Resident bytes of this process, where the system says so in proc(5).
pub(crate) fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_shows_requests_and_the_ledger() {
        let metrics = Metrics::new();
        metrics.request("GET", "/v1/records/{index}", 404, Duration::from_millis(2));
        metrics.appended(7);
        let numbers = LedgerNumbers {
            log_size: 9,
            published_size: 8,
            checkpoint_age: Some(Duration::from_millis(1_500)),
            groups: 3,
            group_records: 9,
            timestamps: TimestampStatus {
                stamped: 2,
                failures: 1,
                size: 8,
                last: None,
            },
            tile_reads: 5,
        };
        let first = metrics.encode(numbers).unwrap();
        // A second scrape of the same ledger must not count its groups again.
        assert_eq!(
            first
                .lines()
                .filter(|line| line.contains("journal"))
                .collect::<Vec<_>>(),
            metrics
                .encode(numbers)
                .unwrap()
                .lines()
                .filter(|line| line.contains("journal"))
                .collect::<Vec<_>>()
        );
        for expected in [
            r#"rlhf_audit_http_requests_total{method="GET",route="/v1/records/{index}",status="404"} 1"#,
            "rlhf_audit_records_appended_total 7",
            "rlhf_audit_log_size 9",
            "rlhf_audit_published_size 8",
            "rlhf_audit_checkpoint_age_seconds 1.5",
            "rlhf_audit_journal_groups_total 3",
            "rlhf_audit_timestamps_total 2",
            "rlhf_audit_timestamp_failures_total 1",
            "rlhf_audit_timestamped_size 8",
            "rlhf_audit_journal_group_records_total 9",
            "rlhf_audit_proof_tile_reads_total 5",
            "# EOF",
        ] {
            assert!(
                first.lines().any(|line| line == expected),
                "{expected}\nin\n{first}"
            );
        }
    }
}
