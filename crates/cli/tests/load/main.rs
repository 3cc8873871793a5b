//! Two servers, three workers and a scheduler on a real PostgreSQL and a real Redis, under a mixed load at 70 % of what
//! they can carry, while one of them after the other is killed and started again: no acknowledged record is lost or doubled,
//! no client meets an error that trying again does not mend, and no process grows (I1, I3, I26).
//!
//! `LOAD_SECONDS` says how long (`make load`: 600); from five minutes on, latencies and memory are held to their limits too,
//! and below that they are printed. `LOAD_BINARY` is another program to load, `LOAD_REPORT` the file for the report. See
//! docs/operations/load.md.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod account;
#[path = "../common/mod.rs"]
mod common;
mod mix;
mod pair;
mod report;
mod site;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use mix::{Mix, Phase, Rates};
use report::Report;
use site::Site;

/// How much of what they can carry they are given.
const SHARE: f64 = 0.7;
/// After a process is ready again, what it left behind is still made up for.
const SETTLE: Duration = Duration::from_secs(5);

/// How long everything takes.
struct Plan {
    load: Duration,
    /// For finding out what they can carry: once until the log has grown and jobs are under way, and once again to count it.
    calibration: Duration,
    /// From one killing to the next.
    fault_every: Duration,
    /// Whether what depends on the machine is asserted, and not only printed.
    timed: bool,
}

impl Plan {
    fn from_environment() -> Self {
        let seconds =
            std::env::var("LOAD_SECONDS").map_or(40, |value| value.parse::<u64>().unwrap());
        let load = Duration::from_secs(seconds);
        Self {
            load,
            calibration: (load / 10).clamp(Duration::from_secs(5), Duration::from_mins(1)),
            // One a minute, and in a short form enough for all to have their turn.
            fault_every: (load / 8).min(Duration::from_mins(1)),
            timed: load >= Duration::from_mins(5),
        }
    }
}

#[test]
fn under_load_nothing_is_lost_whatever_is_killed() {
    let plan = Plan::from_environment();
    let mut site = Site::new(std::env::var_os("LOAD_BINARY").map(PathBuf::from));
    let mut mix = Mix::new(&site.urls(), &site.policy());
    let mut report = Report::new(&site);

    // As fast as they can, and nothing goes wrong: what they carry.
    let mut as_fast_as_they_can = || {
        run(&mut mix, Phase::unlimited(plan.calibration), || {
            thread::sleep(plan.calibration);
        })
    };
    as_fast_as_they_can();
    let capacity = as_fast_as_they_can();
    report.capacity(&capacity);
    mix.forget_times();

    let began = Instant::now();
    let phase = Phase::paced(plan.load, capacity.times(SHARE));
    let mut faults = Vec::new();
    let reached = run(&mut mix, phase, || {
        let end = began + plan.load;
        for turn in 0.. {
            let next = began + plan.fault_every * (turn + 1);
            if next + SETTLE >= end {
                break;
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
            faults.push(site.kill_and_restart(turn as usize));
        }
        thread::sleep(end.saturating_duration_since(Instant::now()));
    });
    report.load(&plan, &reached, &mix, began, &faults);

    let jobs = site.finish_jobs();
    report.jobs(&jobs);
    let account = account::take(&site, &mix);
    report.account(&account);
    let memory = site.memory();
    report.memory(&memory);
    report.write();

    report.assert_true();
    if plan.timed {
        report.assert_in_time();
    }
}

/// All of them work until `meanwhile` is over; gives how much they did a second.
fn run(mix: &mut Mix, phase: Phase, meanwhile: impl FnOnce()) -> Rates {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| mix.work(&phase, &stop));
        // However it ends, the load does.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let rates = load.join().unwrap();
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
        rates
    })
}
