//! What came of it: a table for people, the same as JSON, and what must hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use client::Job;
use serde_json::{Map, Value, json};

use crate::account::Account;
use crate::mix::{Kind, Mix, Rates, Sample};
use crate::pair::Met;
use crate::site::{Fault, Life, Site, load_average, machine};
use crate::{Plan, SETTLE, SHARE};

/// The most that the 99th percentile of appends may be of their median.
const P99_OVER_MEDIAN: f64 = 10.0;
/// A process is warm after so many seconds: a server grows to its size in them. What it takes in the last third of the rest
/// is held against the first.
const WARM: usize = 150;
/// Lives shorter than this, after that, are too short to say anything.
const LONG_LIVED: usize = 120;
/// How much more that may be: of what it was, and in kB.
const GROWTH: f64 = 1.15;
const GROWTH_KB: f64 = 10_000.0;

pub(crate) struct Report {
    json: Map<String, Value>,
    text: Vec<String>,
    /// What does not hold, whatever the machine.
    wrong: Vec<String>,
    /// What does not hold on this machine at this time.
    late: Vec<String>,
}

impl Report {
    pub(crate) fn new(site: &Site) -> Self {
        let mut report = Self {
            json: Map::new(),
            text: Vec::new(),
            wrong: Vec::new(),
            late: Vec::new(),
        };
        let version = site.desk.ok(&["--version"]);
        let (machine, load) = (machine(), load_average());
        let binary = site.desk.binary.display();
        report.say(format!("machine    {machine}; load before {load}"));
        report.say(format!("program    {} ({binary})", version.trim()));
        report.put("machine", json!(machine));
        report.put("load_average_before", json!(load));
        report.put("program", json!(version.trim()));
        // The profile it was built with: the directory that cargo put it in.
        let profile = site.desk.binary.parent().and_then(Path::file_name);
        report.put(
            "profile",
            json!(profile.map(|name| name.to_string_lossy().into_owned())),
        );
        report
    }

    fn say(&mut self, line: String) {
        self.text.push(line);
    }

    fn put(&mut self, name: &str, value: Value) {
        self.json.insert(name.to_owned(), value);
    }

    pub(crate) fn capacity(&mut self, capacity: &Rates) {
        self.say(format!(
            "capacity   {:.0} records/s: {}",
            capacity.records(),
            rates(capacity, false)
        ));
        self.put("capacity", rates_json(capacity, false));
    }

    /// What the clients saw.
    pub(crate) fn load(
        &mut self,
        plan: &Plan,
        reached: &Rates,
        mix: &Mix,
        began: Instant,
        faults: &[Fault],
    ) {
        self.say(format!(
            "load       {} s at {:.0} % of it: {:.0} records/s: {}; {} requests given up as overdue; load average {}",
            plan.load.as_secs(),
            100.0 * SHARE,
            reached.records(),
            rates(reached, true),
            mix.skipped(),
            load_average()
        ));
        self.put("seconds", json!(plan.load.as_secs()));
        self.put("share", json!(SHARE));
        self.put("reached", rates_json(reached, true));
        self.put("overdue", json!(mix.skipped()));
        self.put("load_average_after", json!(load_average()));
        self.latencies(mix, faults);
        self.seconds(mix, began);
        self.faults(mix, began, faults);
        self.errors(&mix.met());
    }

    fn latencies(&mut self, mix: &Mix, faults: &[Fault]) {
        self.say(format!(
            "{:<11}{:<24}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}",
            "ms", "", "count", "p50", "p90", "p99", "p99.9", "max"
        ));
        let mut all = Map::new();
        let steady = |sample: &Sample| {
            let Some(sent) = sample.answered.checked_sub(sample.waited) else {
                return false;
            };
            !faults
                .iter()
                .any(|fault| sample.answered >= fault.killed && sent <= fault.ready + SETTLE)
        };
        for kind in Kind::ALL {
            let samples: Vec<Sample> = mix.samples(kind).collect();
            let calm: Vec<Sample> = samples.iter().copied().filter(steady).collect();
            let mut of_kind = Map::new();
            for (what, samples) in [("all", &samples), ("while all are up", &calm)] {
                let waited = Spread::of(samples.iter().map(|sample| sample.waited));
                let took = Spread::of(samples.iter().map(|sample| sample.took));
                self.say(waited.line(kind.name(), what));
                if kind.records() > 0 && what != "all" && waited.ratio() >= P99_OVER_MEDIAN {
                    self.late.push(format!(
                        "{}: p99 is {:.1} times the median",
                        kind.name(),
                        waited.ratio()
                    ));
                }
                of_kind.insert(
                    what.replace(' ', "_"),
                    json!({ "from_due": waited.json(), "from_sent": took.json() }),
                );
            }
            all.insert(kind.name().replace(' ', "_"), Value::Object(of_kind));
        }
        self.put("latency_ms", Value::Object(all));
    }

    /// Appends by the second in which they were acknowledged: in the file only, to see what happens when they are slow.
    fn seconds(&mut self, mix: &Mix, began: Instant) {
        let mut seconds: BTreeMap<u64, Vec<Sample>> = BTreeMap::new();
        for kind in [Kind::Single, Kind::Batch] {
            for sample in mix.samples(kind) {
                let second = (sample.answered - began).as_secs();
                seconds.entry(second).or_default().push(sample);
            }
        }
        let listed: Vec<Value> = seconds
            .into_iter()
            .map(|(second, samples)| {
                let waited = Spread::of(samples.iter().map(|sample| sample.waited));
                json!({ "second": second, "count": samples.len(), "p50": waited.at(0.5), "max": waited.at(1.0) })
            })
            .collect();
        self.put("appends_by_second_ms", Value::Array(listed));
    }

    /// Who was killed, and how long nobody had an append acknowledged around that.
    fn faults(&mut self, mix: &Mix, began: Instant, faults: &[Fault]) {
        let mut answered: Vec<Instant> = [Kind::Single, Kind::Batch]
            .into_iter()
            .flat_map(|kind| mix.samples(kind))
            .map(|sample| sample.answered)
            .collect();
        answered.sort_unstable();
        let mut listed = Vec::new();
        for fault in faults {
            let around = |at: &&Instant| **at >= fault.killed && **at <= fault.ready + SETTLE;
            let times: Vec<&Instant> = answered.iter().filter(around).collect();
            let silence = times
                .windows(2)
                .map(|pair| *pair[1] - *pair[0])
                .max()
                .unwrap_or_default();
            let (at, down) = (fault.killed - began, fault.ready - fault.killed);
            self.say(format!(
                "killed     {:<10} at {:>4.0} s, works again after {:>4.1} s; the longest time without an acknowledgement {:>5.0} ms",
                fault.who,
                at.as_secs_f64(),
                down.as_secs_f64(),
                millis(silence)
            ));
            listed.push(json!({
                "who": fault.who, "at_seconds": at.as_secs_f64(), "down_seconds": down.as_secs_f64(),
                "longest_silence_ms": millis(silence),
            }));
        }
        if faults.is_empty() {
            self.wrong.push("nobody was killed".to_owned());
        }
        self.put("killed", Value::Array(listed));
    }

    fn errors(&mut self, met: &Met) {
        let sorts: Vec<String> = met
            .retried
            .iter()
            .map(|(sort, count)| format!("{count} {sort}"))
            .collect();
        self.say(format!(
            "errors     {} requests were mended by trying again ({}); {} not",
            met.mended,
            sorts.join(", "),
            met.bad.len()
        ));
        self.put(
            "errors",
            json!({ "mended": met.mended, "retried": met.retried, "not_mended": met.bad }),
        );
        self.wrong.extend(met.bad.iter().cloned());
    }

    pub(crate) fn jobs(&mut self, jobs: &[Job]) {
        let mut states: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for job in jobs {
            *states
                .entry(job.kind.clone())
                .or_default()
                .entry(job.state.clone())
                .or_default() += 1;
            if job.state != "done" {
                let reason = job.reason.as_deref().unwrap_or_default();
                self.wrong
                    .push(format!("job {} is {}: {reason}", job.id, job.state));
            }
        }
        let again = jobs.iter().filter(|job| job.attempt > 1).count();
        self.say(format!(
            "jobs       {} done, {again} of them begun more than once: {states:?}",
            jobs.len()
        ));
        if jobs.is_empty() {
            self.wrong.push("there were no jobs".to_owned());
        }
        self.put("jobs", json!({ "states": states, "begun_again": again }));
    }

    pub(crate) fn account(&mut self, account: &Account) {
        self.say(format!(
            "log        {} records, {} of them acknowledged to clients; {} not in the tree, {} not among the entries, {} \
             there twice",
            account.size,
            account.acknowledged,
            account.not_in_tree,
            account.not_in_entries,
            account.doubled
        ));
        self.say(format!(
            "verify     {} in {:.0} s",
            account.verdict,
            account.verified_in.as_secs_f64()
        ));
        self.put(
            "log",
            json!({
                "size": account.size, "acknowledged": account.acknowledged, "not_in_tree": account.not_in_tree,
                "not_in_entries": account.not_in_entries, "doubled": account.doubled, "verdict": account.verdict,
                "verify_seconds": account.verified_in.as_secs_f64(),
            }),
        );
        let lost = account.not_in_tree + account.not_in_entries;
        if lost > 0 {
            self.wrong
                .push(format!("acknowledged records are lost: {account:?}"));
        }
        if account.doubled > 0 {
            self.wrong
                .push(format!("{} records are there twice", account.doubled));
        }
        if account.acknowledged == 0 || account.verdict != "verified" {
            self.wrong.push(format!("the log: {account:?}"));
        }
    }

    pub(crate) fn memory(&mut self, lives: &[Life]) {
        let mut listed = Vec::new();
        let mut judged = 0;
        for life in lives {
            let seconds = life.resident.len();
            let warm = life.resident.get(WARM..).unwrap_or_default();
            let most = life.resident.iter().max().copied().unwrap_or_default();
            let mut line = format!(
                "memory     {:<10} lived {seconds:>4} s, at most {:>4.0} MB",
                life.name,
                most as f64 / 1e3
            );
            let every_ten: Vec<u64> = life.resident.iter().step_by(10).copied().collect();
            let mut one = json!({
                "who": life.name, "seconds": seconds, "most_mb": most as f64 / 1e3, "every_ten_seconds_kb": every_ten,
            });
            if warm.len() >= LONG_LIVED {
                judged += 1;
                let third = warm.len() / 3;
                let (first, last) = (median(&warm[..third]), median(&warm[2 * third..]));
                let flat = last <= first * GROWTH + GROWTH_KB;
                line = format!(
                    "{line}; {:.0} MB when warm, {:.0} MB at its end",
                    first / 1e3,
                    last / 1e3
                );
                one["warm_mb"] = json!(first / 1e3);
                one["last_mb"] = json!(last / 1e3);
                one["flat"] = json!(flat);
                if !flat {
                    self.late.push(format!("it grows: {line}"));
                }
            }
            self.say(line);
            listed.push(one);
        }
        if judged == 0 {
            self.late
                .push("nobody lived long enough to say anything of its memory".to_owned());
        }
        self.put("memory", Value::Array(listed));
    }

    /// Prints the table and writes the file.
    pub(crate) fn write(&mut self) {
        self.put("wrong", json!(self.wrong));
        self.put("late", json!(self.late));
        println!("{}", self.text.join("\n"));
        for line in &self.wrong {
            println!("WRONG      {line}");
        }
        for line in &self.late {
            println!("beyond     {line}");
        }
        let path = std::env::var_os("LOAD_REPORT").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports/load.json"),
            PathBuf::from,
        );
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = serde_json::to_string_pretty(&self.json).unwrap();
        fs::write(path, text + "\n").unwrap();
    }

    pub(crate) fn assert_true(&self) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }

    pub(crate) fn assert_in_time(&self) {
        assert!(self.late.is_empty(), "{:#?}", self.late);
    }
}

/// How long something took, in milliseconds.
struct Spread(Vec<f64>);

impl Spread {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<f64> = times.map(millis).collect();
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    /// What so much of them is not above.
    fn at(&self, quantile: f64) -> f64 {
        #[expect(clippy::cast_sign_loss, reason = "both are positive")]
        let rank = (quantile * self.0.len() as f64).ceil() as usize;
        self.0
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    fn ratio(&self) -> f64 {
        self.at(0.99) / self.at(0.5).max(f64::MIN_POSITIVE)
    }

    fn line(&self, name: &str, what: &str) -> String {
        format!(
            "{name:<11}{what:<24}{:>9}{:>9.1}{:>9.1}{:>9.1}{:>9.1}{:>10.1}  p99 {:.1} times the median",
            self.0.len(),
            self.at(0.5),
            self.at(0.9),
            self.at(0.99),
            self.at(0.999),
            self.at(1.0),
            self.ratio()
        )
    }

    fn json(&self) -> Value {
        json!({
            "count": self.0.len(), "p50": self.at(0.5), "p90": self.at(0.9), "p99": self.at(0.99),
            "p99_9": self.at(0.999), "max": self.at(1.0), "p99_over_median": self.ratio(),
        })
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(values: &[u64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default() as f64
}

fn rates(rates: &Rates, paced: bool) -> String {
    let each = Kind::ALL.iter().zip(rates.0);
    let each: Vec<String> = each
        .map(|(kind, rate)| format!("{rate:.1}/s {} by {}", kind.name(), kind.clients(paced)))
        .collect();
    each.join(", ")
}

fn rates_json(rates: &Rates, paced: bool) -> Value {
    let mut each = Map::new();
    for (kind, rate) in Kind::ALL.iter().zip(rates.0) {
        let name = kind.name().replace(' ', "_");
        each.insert(
            name,
            json!({ "clients": kind.clients(paced), "requests_per_second": rate }),
        );
    }
    each.insert("records_per_second".to_owned(), json!(rates.records()));
    Value::Object(each)
}
