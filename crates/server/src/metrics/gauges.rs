//! What is written down at each scrape: the ledger as it stands, and this process.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ledger::{Status, TimestampStatus};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::One;
use crate::process::Process;

/// The ledger's state at a scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct LedgerNumbers {
    /// How it is.
    pub(crate) status: Status,
    /// Since a checkpoint was last published; `None` where none was since the start.
    pub(crate) checkpoint_age: Option<Duration>,
    /// Groups written to the journal since the start.
    pub(crate) groups: u64,
    /// Records in those groups.
    pub(crate) group_records: u64,
    /// How having checkpoints stamped gets on.
    pub(crate) timestamps: TimestampStatus,
    /// Records that were given an index since the start, by kind.
    pub(crate) kinds: Vec<(&'static str, u64)>,
    /// Runs that are not sealed.
    pub(crate) open_runs: u64,
    /// When the server started, in POSIX seconds.
    pub(crate) started: f64,
}

#[derive(Default)]
pub(super) struct Gauges {
    log_size: Gauge,
    integrated_size: Gauge,
    published_size: Gauge,
    publish_lag: Gauge,
    publish_failures: Counter,
    waiting: Gauge,
    backlog: Gauge<i64>,
    refused: Counter,
    duplicates: Counter,
    overloaded: Counter,
    up: Gauge,
    kinds: Family<One, Counter>,
    active_runs: Gauge,
    checkpoint_age: Gauge<f64, AtomicU64>,
    groups: Counter,
    group_records: Counter,
    timestamps: Counter,
    timestamp_failures: Counter,
    timestamped_size: Gauge,
    tile_reads: Counter,
    memory: Gauge,
    cpu: Counter<f64, AtomicU64>,
    threads: Gauge,
    descriptors: Gauge,
    max_descriptors: Gauge,
    started: Gauge<f64, AtomicU64>,
}

impl Gauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        register_log(registry, self);
        register_appends(registry, self);
        register_process(registry, self);
    }

    pub(super) fn set(&self, ledger: &LedgerNumbers) {
        let status = &ledger.status;
        self.log_size.set(clamp(status.sequenced));
        self.integrated_size.set(clamp(status.integrated));
        self.published_size.set(clamp(status.published));
        let lag = status.sequenced.saturating_sub(status.published);
        self.publish_lag.set(clamp(lag));
        catch_up(&self.publish_failures, status.publish_failures);
        self.waiting.set(clamp(status.waiting as u64));
        self.backlog.set(clamp(status.backlog_bytes as u64));
        catch_up(&self.refused, status.refused);
        catch_up(&self.duplicates, status.duplicates);
        catch_up(&self.overloaded, status.overloaded);
        let up = status.failed.is_none() && status.unavailable.is_none();
        self.up.set(i64::from(up));
        for (kind, count) in &ledger.kinds {
            catch_up(&self.kinds.get_or_create(&[("kind", *kind)]), *count);
        }
        self.active_runs.set(clamp(ledger.open_runs));
        let age = ledger.checkpoint_age;
        self.checkpoint_age
            .set(age.map_or(f64::NAN, |age| age.as_secs_f64()));
        catch_up(&self.groups, ledger.groups);
        catch_up(&self.group_records, ledger.group_records);
        catch_up(&self.timestamps, ledger.timestamps.stamped);
        catch_up(&self.timestamp_failures, ledger.timestamps.failures);
        self.timestamped_size.set(clamp(ledger.timestamps.size));
        catch_up(&self.tile_reads, status.tile_reads);
        self.started.set(ledger.started);
    }

    pub(super) fn set_process(&self, process: Process) {
        self.memory.set(clamp(process.memory));
        let cpu = process.cpu - self.cpu.get();
        self.cpu.inc_by(cpu.max(0.0));
        self.threads.set(clamp(process.threads));
        self.descriptors.set(clamp(process.descriptors));
        self.max_descriptors.set(clamp(process.max_descriptors));
    }
}

fn register_log(registry: &mut Registry, gauges: &Gauges) {
    registry.register(
        "log_size",
        "Records that have an index",
        gauges.log_size.clone(),
    );
    registry.register(
        "integrated_size",
        "Records in tiles and index",
        gauges.integrated_size.clone(),
    );
    registry.register(
        "published_size",
        "Records the latest checkpoint covers",
        gauges.published_size.clone(),
    );
    registry.register(
        "publish_lag_records",
        "Records that have an index and are not published yet",
        gauges.publish_lag.clone(),
    );
    registry.register_with_unit(
        "checkpoint_age",
        "Time since the latest checkpoint was made",
        Unit::Seconds,
        gauges.checkpoint_age.clone(),
    );
    registry.register(
        "publish_failures",
        "Rounds of publishing that failed",
        gauges.publish_failures.clone(),
    );
}

fn register_appends(registry: &mut Registry, gauges: &Gauges) {
    registry.register(
        "append_queue_requests",
        "Requests that wait for the sequencer",
        gauges.waiting.clone(),
    );
    registry.register_with_unit(
        "publish_backlog",
        "What waits for the publisher",
        Unit::Bytes,
        gauges.backlog.clone(),
    );
    registry.register(
        "requests_refused",
        "Requests whose records the ledger refused",
        gauges.refused.clone(),
    );
    registry.register(
        "requests_overloaded",
        "Requests turned away for want of room",
        gauges.overloaded.clone(),
    );
    registry.register(
        "records_duplicate",
        "Records received again",
        gauges.duplicates.clone(),
    );
    registry.register(
        "records_sequenced",
        "Records that were given an index here, by kind",
        gauges.kinds.clone(),
    );
    registry.register(
        "active_runs",
        "Runs that are not sealed, counted every half minute",
        gauges.active_runs.clone(),
    );
    registry.register(
        "accepting",
        "1 while records are accepted, 0 while they cannot be",
        gauges.up.clone(),
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
}

fn register_process(registry: &mut Registry, gauges: &Gauges) {
    registry.register_with_unit(
        "process_resident_memory",
        "Memory of this process",
        Unit::Bytes,
        gauges.memory.clone(),
    );
    registry.register_with_unit(
        "process_cpu",
        "Processor time of this process",
        Unit::Seconds,
        gauges.cpu.clone(),
    );
    registry.register(
        "process_threads",
        "Threads of this process",
        gauges.threads.clone(),
    );
    registry.register(
        "process_open_fds",
        "Open file descriptors of this process",
        gauges.descriptors.clone(),
    );
    registry.register(
        "process_max_fds",
        "The most file descriptors this process may have",
        gauges.max_descriptors.clone(),
    );
    registry.register(
        "process_start_time_seconds",
        "When the server started, in POSIX seconds",
        gauges.started.clone(),
    );
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The ledger counts itself; its counters are copied by their increase.
fn catch_up(counter: &Counter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}
