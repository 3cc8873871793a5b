//! The numbers a Prometheus scrapes: requests, and the ledger as it stands at the scrape.
//! Nothing personal: no token, run or producer is ever a label.
//!
//! docs/operations/metrics.md lists them; a test holds the two against each other.

pub(crate) mod format;
mod gauges;

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::cosign::WitnessMetrics;
use crate::jobs::JobMetrics;
use crate::process::Process;
use crate::routes::append;
use crate::watching::FindingMetrics;
use gauges::Gauges;
pub(crate) use gauges::LedgerNumbers;

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

/// The label of what has but one.
type One = [(&'static str, &'static str); 1];

/// All metrics of one server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    appended: Counter,
    appends: Appends,
    stages: Stages,
    refused_logins: Family<One, Counter>,
    exported: Family<One, Counter>,
    integrity_failures: Counter,
    integrity_found: Counter,
    gauges: Gauges,
    witnesses: WitnessMetrics,
    jobs: JobMetrics,
    findings: FindingMetrics,
    /// Scrapes write the gauges and read them back; two at once would mix their numbers.
    scrape: Mutex<()>,
}

/// The numbers of appends that recorded something, found once: looking them up takes as long as counting ten requests.
struct Appends {
    durations: Histogram,
    created: Counter,
}

/// How long it takes to get from one stage to the next.
struct Stages {
    accepted: Histogram,
    sequenced: Histogram,
    published: Histogram,
    cosigned: Histogram,
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
        registry.register(
            "build",
            "What runs here",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request's headers to its answer's",
            Unit::Seconds,
            durations.clone(),
        );
        let refused_logins = Family::<One, Counter>::default();
        registry.register(
            "authentication_failures",
            "Requests that were answered 401 or 403, by reason",
            refused_logins.clone(),
        );
        let exported = Family::<One, Counter>::default();
        registry.register_with_unit(
            "exported",
            "What was sent to those who read records and documents, by what it was",
            Unit::Bytes,
            exported.clone(),
        );
        registry.register(
            "records_appended",
            "Records recorded over HTTP",
            appended.clone(),
        );
        let stages = Family::<One, Histogram, fn() -> Histogram>::new_with_constructor(
            request_histogram as fn() -> Histogram,
        );
        registry.register_with_unit(
            "append_stage_duration",
            "Time to a stage: accepted and sequenced from a request's last byte, published from being sequenced, cosigned from \
             being published",
            Unit::Seconds,
            stages.clone(),
        );
        let stage = |stage| stages.get_or_create_owned(&[("stage", stage)]);
        let stages = Stages {
            accepted: stage("accepted"),
            sequenced: stage("sequenced"),
            published: stage("published"),
            cosigned: stage("cosigned"),
        };
        let integrity_failures = Family::<One, Counter>::default();
        registry.register(
            "integrity_failures",
            "Times that something kept was not what was kept, by what met it",
            integrity_failures.clone(),
        );
        let met_by = |what| integrity_failures.get_or_create_owned(&[("by", what)]);
        let (integrity_failures, integrity_found) = (met_by("request"), met_by("check"));
        gauges.register(&mut registry);
        let witnesses = WitnessMetrics::register(&mut registry);
        let jobs = JobMetrics::register(&mut registry);
        let findings = FindingMetrics::register(&mut registry);
        Self {
            registry,
            requests,
            durations,
            appended,
            appends,
            stages,
            refused_logins,
            exported,
            integrity_failures,
            integrity_found,
            gauges,
            witnesses,
            jobs,
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

    /// Records of a request were found to be valid, so long after its last byte.
    pub(crate) fn accepted(&self, took: Duration) {
        self.stages.accepted.observe(took.as_secs_f64());
    }

    /// Records of a request have their indices, so long after its last byte.
    pub(crate) fn sequenced(&self, took: Duration) {
        self.stages.sequenced.observe(took.as_secs_f64());
    }

    /// Records are published, so long after they had their indices.
    pub(crate) fn published(&self, took: Duration) {
        self.stages.published.observe(took.as_secs_f64());
    }

    /// A quorum has cosigned what is published, so long after it was.
    pub(crate) fn cosigned(&self, took: Duration) {
        self.stages.cosigned.observe(took.as_secs_f64());
    }

    /// Counts a request that was answered 401 or 403, by its problem's code.
    pub(crate) fn refused_login(&self, code: &str) {
        let known = LOGIN_CODES.iter().find(|known| **known == code);
        let reason = known.copied().unwrap_or("other");
        self.refused_logins
            .get_or_create(&[("reason", reason)])
            .inc();
    }

    /// Counts bytes that are sent of such a thing.
    pub(crate) fn exported(&self, what: &'static str) -> Counter {
        self.exported.get_or_create_owned(&[("what", what)])
    }

    /// So much has the check of the log found not to be what was kept, since the ledger was made.
    pub(crate) fn integrity_found(&self, found: u64) {
        let counter = &self.integrity_found;
        counter.inc_by(found.saturating_sub(counter.get()));
    }

    /// A request met something kept that is not what was kept.
    pub(crate) fn integrity_failure(&self) {
        self.integrity_failures.inc();
    }

    /// The witnesses' numbers.
    pub(crate) fn witnesses(&self) -> &WitnessMetrics {
        &self.witnesses
    }

    /// The jobs' numbers.
    pub(crate) fn jobs(&self) -> &JobMetrics {
        &self.jobs
    }

    /// The watch's numbers.
    pub(crate) fn findings(&self) -> &FindingMetrics {
        &self.findings
    }

    /// The exposition text in `OpenMetrics`, with the ledger as it is now.
    pub(crate) fn encode(&self, ledger: &LedgerNumbers) -> Result<String, fmt::Error> {
        let _one = self
            .scrape
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        self.gauges.set(ledger);
        self.gauges.set_process(Process::now());
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// What the problem of a request is called that is let in nowhere.
const LOGIN_CODES: [&str; 4] = [
    "unauthenticated",
    "invalid-token",
    "forbidden",
    "foreign-host",
];

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

#[cfg(test)]
mod tests {
    use ledger::{Status, TimestampStatus};

    use super::*;

    #[test]
    fn a_scrape_shows_requests_and_the_ledger() {
        let metrics = Metrics::new();
        metrics.request("GET", "/v1/records/{index}", 404, Duration::from_millis(2));
        metrics.appended(7);
        let numbers = LedgerNumbers {
            status: Status {
                sequenced: 9,
                published: 8,
                tile_reads: 5,
                ..Status::default()
            },
            kinds: vec![("reward.scored", 4)],
            open_runs: 2,
            started: 1e9,
            checkpoint_age: Some(Duration::from_millis(1_500)),
            groups: 3,
            group_records: 9,
            timestamps: TimestampStatus {
                stamped: 2,
                failures: 1,
                size: 8,
                last: None,
            },
        };
        let first = metrics.encode(&numbers).unwrap();
        // A second scrape of the same ledger must not count its groups again.
        assert_eq!(
            first
                .lines()
                .filter(|line| line.contains("journal"))
                .collect::<Vec<_>>(),
            metrics
                .encode(&numbers)
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
            "rlhf_audit_publish_lag_records 1",
            r#"rlhf_audit_records_sequenced_total{kind="reward.scored"} 4"#,
            "rlhf_audit_active_runs 2",
            "# EOF",
        ] {
            assert!(
                first.lines().any(|line| line == expected),
                "{expected}\nin\n{first}"
            );
        }
    }
}
