//! Runs written by hand, record by record, whose numbers can be counted.

use std::collections::BTreeMap;

use record::{
    Clock as _, Draft, Kind, Pseudonym, Record, RunId, Scope, Sha256, StreamWriter, Subject,
    kinds::{
        AnnotationCritique, AnnotationPreference, AnnotationSuperseded, AnnotationWithdrawn,
        Choice, DatasetRegistered, EvaluationCompleted, FindingRaised, GuidelineRegistered,
        ModelCheckpoint, ModelFile, OversightApproved, PolicyUpdated, ProducerEnrolled,
        RewardScored, RunStarted, Severity, Source,
    },
};
use report::{LogView, ModelCard};
use serde_json::{Value, json};
use testkit::log::{LogBuilder, SeededEntropy, StepClock};
use tlog::{LeafIndex, TreeSize};

pub(crate) const ITEMS: u64 = 40;
pub(crate) const STEPS: u64 = 36;

/// A log that is written to, and the card of one of its runs.
pub(crate) struct Written {
    pub(crate) log: LogBuilder,
    pub(crate) run: RunId,
}

impl Written {
    pub(crate) fn view(&self) -> LogView {
        LogView {
            origin: "rlhf-audit.test/1".to_owned(),
            size: self.log.size(),
            root: self.log.root(self.log.size()).to_string(),
            keys: Vec::new(),
        }
    }

    pub(crate) fn card(&self) -> ModelCard {
        let mut card = ModelCard::collect(self.run);
        for (index, entry) in (0..).zip(self.log.entries()) {
            let record = Record::parse(entry).unwrap();
            if record.scope().run().is_none_or(|run| run == self.run) {
                card.add(LeafIndex(index), &record).unwrap();
            }
        }
        card.finish(self.view()).unwrap()
    }
}

pub(crate) fn annotators() -> Vec<Pseudonym> {
    let entropy = SeededEntropy::new(5);
    (0..5).map(|_| Pseudonym::generate(&entropy)).collect()
}

fn sealed_pair(draft: Draft) -> Draft {
    draft.seal("response_a", &json!("one"), Subject::Run).seal(
        "response_b",
        &json!("other"),
        Subject::Run,
    )
}

pub(crate) fn preference(who: Option<Pseudonym>, item: u64, choice: Choice) -> Draft {
    let mut body = AnnotationPreference::new(choice);
    body.annotator = who;
    body.criterion = Some("helpfulness".to_owned());
    body.item = Some(format!("pair-{item:03}"));
    body.source = Some(Source::new("comparisons/v1".to_owned(), item));
    sealed_pair(Draft::new(body))
}

/// The number that a small generator gives for `i`: from 0 to 1, the same each time.
fn unit(i: u64) -> f64 {
    let mut z = i
        .wrapping_add(0x9e37_79b9_7f4a_7c15)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 29;
    z = z.wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z >> 40) & 0xffff) as f64 / 65_536.0
}

/// Everything a card can show: two streams, five annotators of differing reliability, data sets,
/// training, evaluation, oversight, a finding, one annotation withdrawn and one replaced.
pub(crate) fn whole() -> Written {
    let mut log = LogBuilder::new(1).without_enrolments();
    let clock = StepClock::new(1);
    let mut server = log.stream(Scope::Ledger, "server", "ledger", 9);
    let run = RunId::generate(&clock, &SeededEntropy::new(3));
    let mut owner = log
        .stream(run.into(), "trainer", "demo/trainer", 1)
        .software("rlhf-audit 0.1");
    let enrolled =
        ProducerEnrolled::new("admin".into(), owner.public_key(), producer("demo/trainer"));
    log.write(&mut server, Draft::new(enrolled));
    start(&mut log, &mut owner);
    let mut people = log.stream(run.into(), "annotators", "demo/annotators", 2);
    annotate(&mut log, &mut people, &clock);
    train(&mut log, &mut owner);
    let mut finding = FindingRaised::new("clock-skew".to_owned());
    finding.run = Some(run);
    finding.stream = Some(people.stream());
    finding.severity = Some(Severity::Warning);
    finding.evidence = Some(vec![7]);
    log.write(&mut server, Draft::new(finding));
    log.sign(&mut people);
    log.sign(&mut owner);
    log.seal(&mut owner, &[&people]);
    Written { log, run }
}

fn producer(name: &str) -> record::ProducerName {
    record::ProducerName::parse(name).unwrap()
}

fn start(log: &mut LogBuilder, owner: &mut StreamWriter) {
    let mut body = RunStarted::new("safety-alignment-v2".to_owned(), owner.public_key());
    body.experiment = Some("harbour questions".to_owned());
    body.model = Some("demo/softmax-policy".to_owned());
    body.config = Some(BTreeMap::from([
        ("beta".to_owned(), json!(0.1)),
        ("learning_rate".to_owned(), json!(0.05)),
        ("optimizer".to_owned(), json!("sgd")),
        ("shuffled".to_owned(), Value::Bool(true)),
    ]));
    log.write(owner, Draft::new(body));
    let mut dataset = DatasetRegistered::new(
        745_268,
        "trl".to_owned(),
        "comparisons/v1".to_owned(),
        Sha256([0xab; 32]),
    );
    dataset.rows = Some(ITEMS);
    dataset.license = Some("Apache-2.0".to_owned());
    log.write(owner, Draft::new(dataset));
    let mut guideline = GuidelineRegistered::new(
        12_345,
        "Which answer helps more".to_owned(),
        Sha256([0xcd; 32]),
    );
    guideline.revision = Some("3".to_owned());
    log.write(owner, Draft::new(guideline));
}

fn annotate(log: &mut LogBuilder, people: &mut StreamWriter, clock: &StepClock) {
    let begin = clock.now();
    let mut heads = Vec::new();
    for item in 0..ITEMS {
        for (a, who) in (0_u64..).zip(annotators()) {
            if unit(item * 31 + a * 7) < 0.25 {
                continue;
            }
            // The truth is the item's parity; each annotator is less reliable than the one before.
            let truth = item % 2 == 0;
            let right = unit(item * 17 + a * 101 + 5) > 0.02 + 0.05 * a as f64;
            let choice = match (unit(item * 13 + a) < 0.06, truth == right) {
                (true, _) => Choice::NoPreference,
                (false, true) => Choice::A,
                (false, false) => Choice::B,
            };
            let mut body = AnnotationPreference::new(choice);
            body.annotator = Some(who);
            let late = (unit(item) * 40.0) as i64 + item.cast_signed() * 41;
            body.at = Some(record::Timestamp(begin.as_micros() + late * 1_000_000));
            body.criterion = Some("helpfulness".to_owned());
            body.item = Some(format!("pair-{item:03}"));
            body.source = Some(Source::new("comparisons/v1".to_owned(), item));
            log.write(people, sealed_pair(Draft::new(body)));
            heads.push(people.head().unwrap());
        }
    }
    for (category, times) in [("wrong-grounding", 3), ("irrelevant", 5)] {
        for item in 0..times {
            let mut body = AnnotationCritique::new(category.to_owned());
            body.annotator = annotators().first().copied();
            body.item = Some(format!("pair-{item:03}"));
            log.write(
                people,
                Draft::new(body).seal("critique", &json!("…"), Subject::Run),
            );
        }
    }
    log.write(
        people,
        Draft::new(AnnotationWithdrawn::new(heads[3].into())),
    );
    let mut superseded = AnnotationSuperseded::new(heads[4].into());
    log.write(
        people,
        preference(annotators().get(1).copied(), 1, Choice::B),
    );
    superseded.by = people.head().map(Into::into);
    log.write(people, Draft::new(superseded));
}

fn train(log: &mut LogBuilder, owner: &mut StreamWriter) {
    for step in 1..=STEPS {
        let progress = 1.0 - (-(step as f64) / 11.0).exp();
        for sample in 0..3 {
            let mut scored = RewardScored::new(progress * 2.0 + unit(step * 3 + sample) - 0.5);
            scored.step = Some(step);
            scored.reward_model = Some("bradley-terry".to_owned());
            log.write(owner, Draft::new(scored));
        }
        let mut update = PolicyUpdated::new(step);
        update.reward_mean = Some(progress * 2.0 + 0.22 * (unit(step * 7) - 0.5));
        update.kl = Some(0.9 * progress * progress + 0.03 * unit(step * 5));
        update.loss = Some(1.4 - 1.1 * progress + 0.08 * (unit(step * 11) - 0.5));
        log.write(owner, Draft::new(update));
        if step % 18 == 0 {
            let file = ModelFile::new(
                163_840,
                "policy.safetensors".to_owned(),
                Sha256([step as u8; 32]),
            );
            let mut body = ModelCheckpoint::new(vec![file], format!("policy-{step:04}"));
            body.step = Some(step);
            body.parameters = Some(20_480);
            log.write(owner, Draft::new(body));
        }
    }
    let metrics = BTreeMap::from([("win_rate".to_owned(), 0.71), ("ece".to_owned(), 0.043)]);
    let mut evaluation = EvaluationCompleted::new(metrics, "held-out pairs".to_owned());
    evaluation.dataset = Some("comparisons/v1".to_owned());
    evaluation.samples = Some(500);
    log.write(owner, Draft::new(evaluation));
    let mut approved = OversightApproved::new("release of policy-0036".to_owned());
    approved.reviewer = annotators().last().copied();
    log.write(owner, Draft::new(approved));
}

/// The least a run can be: started, not sealed.
pub(crate) fn bare(name: &str) -> Written {
    let mut log = LogBuilder::new(2).without_enrolments();
    let owner = log.start_run(name, 1);
    let run = owner.scope().run().unwrap();
    Written { log, run }
}

/// The indices of all records of a kind.
pub(crate) fn indices(written: &Written, kind: Kind) -> Vec<u64> {
    let entries = (0..TreeSize(written.log.size()).get()).zip(written.log.entries());
    entries
        .filter(|(_, e)| Record::parse(e).unwrap().is(kind))
        .map(|(i, _)| i)
        .collect()
}
