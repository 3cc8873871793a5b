//! Made-up runs, each from a seed, with at most one fault planted: what the rules are measured on.
//!
//! A run trains for 400 updates and is annotated meanwhile. What is drawn anew for each: how high and how fast divergence and reward
//! rise, how far length and entropy drift, how noisy and how sluggish (AR(1)) all of it is, how good and how even-handed
//! the annotators are, whose names for metrics the trainer uses.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};
use record::{Record, Timestamp, canonical};
use serde_json::{Value, json};
use watch::{Finding, Rule, Settings, Watch};

/// What is wrong with a run.
pub(crate) const FAULTS: &[Rule] = Rule::ALL;

const UPDATES: u32 = 400;
const ITEMS: u32 = 300;
const START: i64 = 1_795_420_800_000_000;
const SECOND: i64 = 1_000_000;
const HASH: &str = "R0WJFML8nwlDUQTBNvkc1VkVlBERZUrFq00aiNO/HCY=";

/// What was found in a run.
pub(crate) struct Outcome {
    pub(crate) findings: Vec<Finding>,
    /// The index from which on the fault shows.
    pub(crate) planted: u64,
    /// The indices of updates, to count delays in.
    pub(crate) updates: Vec<u64>,
}

/// Makes the run of a seed and has it watched.
pub(crate) fn outcome(seed: u64, fault: Option<Rule>, settings: &Settings) -> Outcome {
    let mut run = Synthetic::new(seed, fault, settings);
    run.train();
    Outcome {
        findings: run.watch.waiting().to_vec(),
        planted: run.planted.unwrap_or(u64::MAX),
        updates: run.updates,
    }
}

/// Noise that remembers.
struct Noise {
    memory: f64,
    size: f64,
    last: f64,
}

impl Noise {
    fn new(memory: f64, size: f64) -> Self {
        Self {
            memory,
            size,
            last: 0.0,
        }
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> f64 {
        let fresh = (1.0 - self.memory * self.memory).sqrt() * normal(rng);
        self.last = self.memory * self.last + fresh;
        self.size * self.last
    }
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (a, b): (f64, f64) = (rng.random_range(f64::MIN_POSITIVE..1.0), rng.random());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// From 0 to 1, fast and then slowly.
fn risen(at: f64, tau: f64) -> f64 {
    1.0 - (-at / tau).exp()
}

struct Synthetic {
    rng: ChaCha8Rng,
    fault: Option<Rule>,
    /// The update, and the item, from which on the fault shows.
    from: f64,
    from_item: u32,
    watch: Watch,
    run: String,
    now: i64,
    planted: Option<u64>,
    updates: Vec<u64>,
}

impl Synthetic {
    fn new(seed: u64, fault: Option<Rule>, settings: &Settings) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let from = match fault {
            Some(Rule::RewardEvaluation) => f64::from(rng.random_range(120..220)),
            _ => f64::from(rng.random_range(120..300)),
        };
        let from_item = rng.random_range(130..160);
        Self {
            rng,
            fault,
            from,
            from_item,
            watch: Watch::new(settings.clone()),
            run: "01KAQZB9G0VXA1ZD3Q4RW7M2PN".to_owned(),
            now: START,
            planted: None,
            updates: Vec::new(),
        }
    }

    fn is(&self, fault: Rule) -> bool {
        self.fault == Some(fault)
    }

    /// How many updates ago the fault was planted, if it was this one.
    fn ago(&self, fault: Rule, at: f64) -> f64 {
        if self.is(fault) {
            (at - self.from).max(0.0)
        } else {
            0.0
        }
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.rng.random_range(low..high)
    }

    /// The fault shows in the next record.
    fn plant(&mut self) {
        self.planted.get_or_insert(self.watch.next());
    }

    fn write(&mut self, kind: &str, body: &Value, sealed: &[&str]) {
        let sealed: serde_json::Map<String, Value> = sealed
            .iter()
            .map(|field| ((*field).to_owned(), json!(HASH)))
            .collect();
        let index = self.watch.next();
        let mut record = json!({
            "v": 1, "run": self.run, "stream": "rank0", "seq": index + 1, "prev": HASH,
            "time": Timestamp(self.now).to_string(), "kind": kind, "body": body,
        });
        if !sealed.is_empty() {
            record["sealed"] = sealed.into();
        }
        let bytes = canonical::to_vec(&record).unwrap();
        let record = Record::parse(&bytes).unwrap_or_else(|error| panic!("{kind}: {error}"));
        self.watch.take(index, &record, Timestamp(self.now));
    }

    fn train(&mut self) {
        let memory = self.between(0.0, 0.6);
        let kl = (self.between(2.0, 12.0), self.between(30.0, 120.0));
        let mut kl_noise = Noise::new(memory, self.between(0.03, 0.1) * kl.0);
        let runaway = self.between(0.03, 0.08) * kl.0;
        let reward = (
            self.between(-1.0, 0.5),
            self.between(1.0, 3.0),
            self.between(50.0, 150.0),
        );
        let mut reward_noise = Noise::new(memory, self.between(0.05, 0.15) * reward.1);
        let leap = self.between(0.6, 1.2) * reward.1 * if self.rng.random() { 1.0 } else { -1.0 };
        let length = (self.between(100.0, 400.0), self.between(0.6, 1.6));
        let entropy = (self.between(0.5, 2.0), self.between(0.3, 0.9));
        let (short, sure) = (self.between(0.05, 0.25), self.between(0.02, 0.15));
        let verl: bool = self.rng.random();
        let evaluation = Evaluation::drawn(&mut self.rng);
        let mut annotators = Annotators::drawn(&mut self.rng, self.fault, self.from_item);
        for update in 0..UPDATES {
            let at = f64::from(update);
            let over = at / f64::from(UPDATES);
            self.now += 30 * SECOND;
            if self.is(Rule::RunStalled) && at >= self.from {
                self.planted = Some(self.watch.next());
                self.now += 3 * 3_600 * SECOND;
                self.watch.look(Timestamp(self.now));
                return;
            }
            let training = matches!(
                self.fault,
                Some(
                    Rule::KlDrift
                        | Rule::RewardDrift
                        | Rule::RewardEvaluation
                        | Rule::LengthCollapse
                        | Rule::EntropyCollapse
                )
            );
            if training && at >= self.from {
                self.plant();
            }
            let kl_now = kl.0 * risen(at, kl.1)
                + runaway * self.ago(Rule::KlDrift, at)
                + kl_noise.next(&mut self.rng);
            let kept_rising = 0.004 * reward.1 * self.ago(Rule::RewardEvaluation, at);
            let reward_now = reward.0
                + reward.1 * risen(at, reward.2)
                + leap * (self.ago(Rule::RewardDrift, at) / 15.0).min(1.0)
                + kept_rising
                + reward_noise.next(&mut self.rng);
            let shortened = (self.ago(Rule::LengthCollapse, at) / 10.0).min(1.0);
            let length_now = length.0
                * (1.0 + (length.1 - 1.0) * over)
                * short.powf(shortened)
                * (0.08 * normal(&mut self.rng)).exp();
            let settled = (self.ago(Rule::EntropyCollapse, at) / 15.0).min(1.0);
            let entropy_now = entropy.0
                * entropy.1.powf(over)
                * sure.powf(settled)
                * (0.05 * normal(&mut self.rng)).exp();
            self.updates.push(self.watch.next());
            self.write(
                "policy.updated",
                &json!({"step": update, "kl": kl_now, "reward_mean": reward_now, "entropy": entropy_now}),
                &[],
            );
            let metrics = if verl {
                json!({"actor/kl_loss": kl_now, "critic/rewards/mean": reward_now,
                    "actor/entropy": entropy_now, "response_length/mean": length_now})
            } else {
                json!({"kl": kl_now, "reward": reward_now, "entropy": entropy_now,
                    "completions/mean_length": length_now})
            };
            self.write(
                "metric.logged",
                &json!({"step": update, "metrics": metrics}),
                &[],
            );
            if update % 10 == 9 {
                // It takes its time, which is no stall.
                self.now += 600 * SECOND;
                self.watch.look(Timestamp(self.now));
                let worse = self.ago(Rule::RewardEvaluation, at) / 200.0;
                let metrics = evaluation.results(at, worse, &mut self.rng);
                let name = if verl { "validation" } else { "eval" };
                self.write(
                    "evaluation.completed",
                    &json!({"name": name, "step": update, "metrics": metrics}),
                    &[],
                );
            }
            if update < ITEMS {
                annotators.item(update, self);
            }
        }
    }
}

/// What is held out.
struct Evaluation {
    rate: (f64, f64, f64),
    loss: (f64, f64, f64),
    fall: f64,
    noise: f64,
    /// Some decline a little towards the end, which is no fault.
    decline: f64,
}

impl Evaluation {
    fn drawn(rng: &mut ChaCha8Rng) -> Self {
        Self {
            rate: (
                0.4,
                rng.random_range(0.1..0.3),
                rng.random_range(50.0..150.0),
            ),
            loss: (
                2.0,
                rng.random_range(0.3..0.9),
                rng.random_range(50.0..150.0),
            ),
            fall: rng.random_range(0.1..0.25),
            noise: rng.random_range(0.005..0.02),
            decline: if rng.random_bool(0.2) { 0.01 } else { 0.0 },
        }
    }

    fn results(&self, at: f64, worse: f64, rng: &mut ChaCha8Rng) -> Value {
        let late = (at / 200.0 - 1.0).max(0.0);
        let rate = self.rate.0 + self.rate.1 * risen(at, self.rate.2)
            - self.fall * worse
            - self.decline * late
            + self.noise * normal(rng);
        let loss = self.loss.0 - self.loss.1 * risen(at, self.loss.2)
            + 2.0 * self.fall * worse
            + self.noise * normal(rng);
        json!({"win_rate": rate, "eval_loss": loss, "eval_runtime": 600.0 + 40.0 * normal(rng)})
    }
}

/// Three people, two of whom judge each item.
struct Annotators {
    names: [String; 3],
    accuracy: f64,
    lean: f64,
    rates: bool,
    fault: Option<Rule>,
    from: u32,
    culprit: usize,
    side: &'static str,
    pace: i64,
}

impl Annotators {
    fn drawn(rng: &mut ChaCha8Rng, fault: Option<Rule>, from: u32) -> Self {
        Self {
            names: ["b", "c", "d"].map(|letter| format!("p-0{}", letter.repeat(25))),
            accuracy: rng.random_range(0.85..0.97),
            lean: rng.random_range(-0.1..0.1),
            rates: rng.random(),
            fault,
            from,
            culprit: rng.random_range(0..3),
            side: if rng.random() { "a" } else { "b" },
            pace: rng.random_range(100..700),
        }
    }

    fn item(&mut self, item: u32, run: &mut Synthetic) {
        let faulty = |fault| self.fault == Some(fault) && item >= self.from;
        let truth_is_a = run.rng.random_bool(0.5 + self.lean);
        let quality = run.rng.random_range(1..=5i32);
        let absent = run.rng.random_range(0..3usize);
        for who in (0..3).filter(|who| *who != absent) {
            let culprit = who == self.culprit;
            let accuracy = if faulty(Rule::AgreementFalling) {
                0.55
            } else {
                self.accuracy
            };
            let right = run.rng.random_bool(accuracy);
            let mut choice = if truth_is_a == right { "a" } else { "b" };
            let mut millis = (20_000.0 * (0.6 * normal(&mut run.rng)).exp()) as i64;
            if faulty(Rule::AnnotatorSide) && culprit {
                choice = self.side;
            }
            if faulty(Rule::AnnotatorSpeed) && culprit {
                millis = self.pace + run.rng.random_range(0..250);
            }
            let shows = match self.fault {
                Some(Rule::AgreementFalling) => item >= self.from,
                Some(Rule::AnnotatorSide | Rule::AnnotatorSpeed) => item >= self.from && culprit,
                _ => false,
            };
            if shows {
                run.plant();
            }
            let shared = json!({"annotator": self.names[who], "duration_ms": millis, "item": format!("item-{item}")});
            let mut preference = shared.clone();
            preference["choice"] = json!(choice);
            run.write(
                "annotation.preference",
                &preference,
                &["response_a", "response_b"],
            );
            if self.rates {
                let off = if right {
                    0
                } else {
                    run.rng.random_range(-3..=3)
                };
                let mut rating = shared;
                rating["value"] = json!((quality + off).clamp(1, 5));
                rating["scale"] = json!({"min": 1, "max": 5});
                run.write("annotation.rating", &rating, &["response"]);
            }
        }
    }
}

/// How a rule did over many runs.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) planted: u32,
    pub(crate) found: u32,
    pub(crate) false_alarms: u32,
    /// In updates, of those found.
    pub(crate) delays: Vec<usize>,
}

impl Tally {
    pub(crate) fn recall(&self) -> f64 {
        f64::from(self.found) / f64::from(self.planted.max(1))
    }

    pub(crate) fn precision(&self) -> f64 {
        f64::from(self.found) / f64::from((self.found + self.false_alarms).max(1))
    }

    pub(crate) fn median_delay(&mut self) -> usize {
        self.delays.sort_unstable();
        self.delays.get(self.delays.len() / 2).copied().unwrap_or(0)
    }
}

/// `runs` of each fault and as many without any: how each rule did, and in how many of those without there was a finding.
pub(crate) fn measure(runs: u64, settings: &Settings) -> (Vec<(Rule, Tally)>, u32) {
    let mut tallies: Vec<(Rule, Tally)> = Rule::ALL
        .iter()
        .map(|rule| (*rule, Tally::default()))
        .collect();
    let mut disturbed = 0;
    let kinds = FAULTS.iter().copied().map(Some).chain([None]);
    for (kind, fault) in (0..).zip(kinds) {
        for run in 0..runs {
            let outcome = outcome(1_000_000 * kind + run, fault, settings);
            disturbed += u32::from(fault.is_none() && !outcome.findings.is_empty());
            for (rule, tally) in &mut tallies {
                judge(*rule, fault, &outcome, tally);
            }
        }
    }
    (tallies, disturbed)
}

fn judge(rule: Rule, fault: Option<Rule>, outcome: &Outcome, tally: &mut Tally) {
    // Whoever always takes one side agrees less with the others: that finding is true, and not what is measured.
    if rule == Rule::AgreementFalling && fault == Some(Rule::AnnotatorSide) {
        return;
    }
    let mine = fault == Some(rule);
    tally.planted += u32::from(mine);
    let mut found = false;
    for finding in outcome.findings.iter().filter(|f| f.rule == rule) {
        let at = finding.evidence.last().copied().unwrap_or_default();
        // A stall is known by the last record before it.
        let right = mine && (at >= outcome.planted || rule == Rule::RunStalled);
        if !right {
            tally.false_alarms += 1;
        } else if !found {
            found = true;
            let between = |index: &&u64| (outcome.planted..=at).contains(*index);
            tally
                .delays
                .push(outcome.updates.iter().filter(between).count());
        }
    }
    tally.found += u32::from(found);
}
