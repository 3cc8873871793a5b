//! What happens in the demo, in order, and what of it is recorded.

use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use client::{CardFormat, Client};
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use record::kinds::{
    AnnotationPreference, Choice as Recorded, EvaluationCompleted, ModelCheckpoint, ModelFile,
    PolicyUpdated, RewardScored, RunStarted, RunStatus,
};
use record::{Draft, Pseudonym, PublicKey, RunId, Scope, Sha256, SigningKey, Subject};
use serde_json::{Value, json};
use tlog::Policy;
use verify::{Options, Report, Source};

use super::learning::{Policy as Softmax, RewardModel, Step, Update};
use super::tamper;
use super::world::{Choice, Comparison, World};
use crate::commands::{bundle, card};
use crate::environment::SystemEntropy;
use crate::outcome::{Failure, Outcome};
use crate::place::{client_failure, ledger_failure};
use crate::producer::{OWNER_STREAM, Producer};

const UPDATES: u64 = 48;
const CHECKPOINT_EVERY: u64 = 12;
const STEP: Step = Step {
    batch: 48,
    learning_rate: 6.0,
    kl_weight: 0.4,
};
const RUN_NAME: &str = "demo-helpfulness";
const ANNOTATIONS_STREAM: &str = "annotations";

/// Everything the demo acts with.
pub(super) struct Stage<'a> {
    pub(super) trainer: &'a Client,
    pub(super) operator: &'a Client,
    pub(super) data_dir: &'a Path,
    pub(super) seed: u64,
    pub(super) json: bool,
}

impl Stage<'_> {
    /// Trains, records, publishes, verifies, tampers with a copy, and issues the card.
    pub(super) fn perform(&self) -> Result<Outcome, Failure> {
        let name = ledger::keys::PRODUCER_ED25519;
        let key = ledger::keys::load_with(self.data_dir, name, &crate::passphrase::given())
            .map_err(ledger_failure)?;
        let key = SigningKey::from_bytes(&key);
        let world = World::new(self.seed);
        let mut rng = ChaCha12Rng::seed_from_u64(self.seed);

        self.say("A small RLHF run, truly computed, recorded over HTTP as every client would.\n");
        let run = Producer::new_run_id();
        let mut owner = Producer::open(self.trainer, Scope::Run(run), OWNER_STREAM, key.clone())?;
        owner.record(Draft::new(self.started(&key)))?;
        owner.flush()?;

        let comparisons = world.comparisons(&mut rng);
        self.annotate(run, &key, &world, &comparisons)?;
        let reward_model = RewardModel::fit(&world, &comparisons);
        owner.record(Draft::new(fitted(&reward_model, comparisons.len())))?;
        self.say(&format!(
            "  reward model     {:.1} % of the decided comparisons in the annotators' order, log loss {:.3}",
            100.0 * reward_model.accuracy, reward_model.loss
        ));
        self.train(&mut owner, &world, &reward_model, &mut rng)?;
        owner.seal(run, RunStatus::Completed)?;

        self.publish_and_verify(run)?;
        self.tamper()?;
        self.issue_card()?;
        if self.json {
            println!(
                "{}",
                json!({ "run": run, "name": RUN_NAME, "data_dir": self.data_dir, "verified": true, "tampering_found": true })
            );
        }
        Ok(Outcome::True)
    }

    fn started(&self, key: &SigningKey) -> RunStarted {
        let mut started = RunStarted::new(RUN_NAME.to_owned(), PublicKey::from(key));
        started.experiment = Some("demo".to_owned());
        started.model = Some("softmax over 24 questions with 6 answers each".to_owned());
        started.config = Some(BTreeMap::from([
            (
                "algorithm".to_owned(),
                Value::from("policy gradient with a KL penalty"),
            ),
            ("batch".to_owned(), json!(STEP.batch)),
            ("kl_weight".to_owned(), json!(STEP.kl_weight)),
            ("learning_rate".to_owned(), json!(STEP.learning_rate)),
            ("seed".to_owned(), json!(self.seed.to_string())),
            ("updates".to_owned(), json!(UPDATES)),
        ]));
        started
    }

    /// Records the comparisons in a stream of their own, as an annotation platform would.
    fn annotate(
        &self,
        run: RunId,
        key: &SigningKey,
        world: &World,
        comparisons: &[Comparison],
    ) -> Result<(), Failure> {
        let pseudonyms: Vec<Pseudonym> = world
            .annotators
            .iter()
            .map(|_| Pseudonym::generate(&SystemEntropy))
            .collect();
        let mut introduced = vec![false; pseudonyms.len()];
        let mut producer = Producer::open(
            self.trainer,
            Scope::Run(run),
            ANNOTATIONS_STREAM,
            key.clone(),
        )?;
        let bar = self.bar(comparisons.len() as u64, "annotations");
        for comparison in comparisons {
            let question = &world.questions[comparison.question];
            let annotator = pseudonyms[comparison.annotator];
            let subject = Subject::Person(annotator);
            let mut body = AnnotationPreference::new(match comparison.choice {
                Choice::First => Recorded::A,
                Choice::Second => Recorded::B,
                Choice::NoPreference => Recorded::NoPreference,
            });
            body.annotator = Some(annotator);
            body.item = Some(format!(
                "q{}/{}-{}",
                comparison.question, comparison.first, comparison.second
            ));
            let mut draft = Draft::new(body)
                .seal("prompt", &json!(question.text), subject)
                .seal(
                    "response_a",
                    &json!(question.answers[comparison.first].text),
                    subject,
                )
                .seal(
                    "response_b",
                    &json!(question.answers[comparison.second].text),
                    subject,
                );
            if !std::mem::replace(&mut introduced[comparison.annotator], true) {
                let name = &world.annotators[comparison.annotator].name;
                draft = draft.seal("annotator_id", &json!(name), subject);
            }
            producer.record(draft)?;
            bar.inc(1);
        }
        producer.close()?;
        bar.finish_and_clear();
        self.say(&format!(
            "  annotations      {} comparisons by {} annotators; prompts, answers and names sealed",
            comparisons.len(),
            world.annotators.len()
        ));
        Ok(())
    }

    fn train(
        &self,
        owner: &mut Producer<'_>,
        world: &World,
        reward_model: &RewardModel,
        rng: &mut ChaCha12Rng,
    ) -> Result<(), Failure> {
        let reference = Softmax::reference(&world.questions);
        let mut policy = reference.clone();
        owner.record(evaluated(world, &policy, 0))?;
        let bar = self.bar(UPDATES, "updates");
        let mut last = None;
        for step in 1..=UPDATES {
            let update = policy.update(world, reward_model, &reference, &STEP, rng);
            for sample in &update.samples {
                let mut scored = RewardScored::new(sample.reward);
                scored.step = Some(step);
                scored.item = Some(format!("q{}/{}", sample.question, sample.answer));
                owner.record(Draft::new(scored))?;
            }
            owner.record(Draft::new(updated(step, &update)))?;
            if step % CHECKPOINT_EVERY == 0 {
                owner.record(self.saved(step, &policy)?)?;
                owner.record(evaluated(world, &policy, step))?;
            }
            owner.flush()?;
            bar.inc(1);
            last = Some(update);
        }
        bar.finish_and_clear();
        if let Some(last) = last {
            let (before, after) = (
                world.mean_quality(&reference.probabilities()),
                world.mean_quality(&policy.probabilities()),
            );
            self.say(&format!(
                "  policy           {UPDATES} updates; true quality {before:.2} → {after:.2}, KL {:.2} nats",
                last.kl
            ));
        }
        Ok(())
    }

    /// Saves the policy's logits as little-endian doubles, and says so.
    fn saved(&self, step: u64, policy: &Softmax) -> Result<Draft, Failure> {
        let name = format!("policy-{step:03}");
        let bytes: Vec<u8> = policy
            .logits
            .iter()
            .flatten()
            .flat_map(|l| l.to_le_bytes())
            .collect();
        let directory = self.data_dir.join("demo-weights");
        let path = directory.join(format!("{name}.f64"));
        fs::create_dir_all(&directory)
            .and_then(|()| fs::write(&path, &bytes))
            .map_err(|e| Failure::unavailable(format!("cannot write {}: {e}", path.display())))?;
        let file = ModelFile::new(
            bytes.len() as u64,
            format!("{name}.f64"),
            Sha256(tlog::sha256(&bytes)),
        );
        let mut body = ModelCheckpoint::new(vec![file], name);
        body.step = Some(step);
        body.parameters = Some(bytes.len() as u64 / 8);
        Ok(Draft::new(body))
    }

    fn publish_and_verify(&self, run: RunId) -> Result<(), Failure> {
        // Whoever asks for a bundle gets what is published: the server waits for the run's seal.
        let path = self.data_dir.join(format!("{RUN_NAME}.rlhf-bundle"));
        let parts = client::BundleParts {
            openings: true,
            ..client::BundleParts::default()
        };
        let bytes = bundle::write(self.operator, run.as_str(), parts, &path)?;
        let checkpoint = self.operator.checkpoint().map_err(client_failure)?;
        let mut lines = checkpoint.lines();
        self.say(&format!(
            "  checkpoint       {} records under {}",
            lines.nth(1).unwrap_or("?"),
            lines.next().unwrap_or("?")
        ));
        let report = verify::bundle(&path, &self.policy()?, &Options::default())
            .map_err(Failure::unavailable)?;
        demand(
            report.verdict().exit_code() == 0,
            &format!("the demo's own bundle does not verify:\n{report}"),
        )?;
        self.say(&format!(
            "  bundle           {} ({} kB): verified offline from the file and the policy alone",
            path.display(),
            bytes / 1000
        ));
        Ok(())
    }

    /// Turns one preference around in a copy of the log, and shows what `verify` says of both.
    fn tamper(&self) -> Result<(), Failure> {
        let whole = self.verify(&self.data_dir.join("log"))?;
        demand(
            whole.verdict().exit_code() == 0,
            &format!("the demo's own log does not verify:\n{whole}"),
        )?;
        let copy = self.data_dir.join("tampered-copy");
        tamper::copy_log(&self.data_dir.join("log"), &copy)?;
        let (path, place) = tamper::turn_a_preference(&copy)?;
        let report = self.verify(&copy)?;
        demand(
            report.verdict().exit_code() != 0,
            "a changed record was not found; please report this",
        )?;
        self.say(&format!(
            "\nOne preference turned around in a copy ({}, byte {place}). What verify says of the copy:\n",
            path.strip_prefix(self.data_dir).unwrap_or(&path).display()
        ));
        for line in report.to_string().lines() {
            self.say(&format!("    {line}"));
        }
        Ok(())
    }

    fn issue_card(&self) -> Result<(), Failure> {
        let issued = self.operator.issue_card(RUN_NAME).map_err(client_failure)?;
        let documents = self.data_dir.join("documents");
        fs::create_dir_all(&documents).map_err(|e| {
            Failure::unavailable(format!("cannot create {}: {e}", documents.display()))
        })?;
        let mut written = Vec::new();
        for (format, name) in [
            (CardFormat::Markdown, "model-card.md"),
            (CardFormat::Html, "model-card.html"),
            (CardFormat::Json, "model-card.json"),
        ] {
            let text = card::file_text(&issued, format)
                .ok_or_else(|| Failure::unavailable(format!("the server issued no {name}")))?;
            let path = documents.join(name);
            fs::write(&path, text).map_err(|e| {
                Failure::unavailable(format!("cannot write {}: {e}", path.display()))
            })?;
            written.push(path.display().to_string());
        }
        self.say(
            "\nThe model card, each number with its evidence, its digest recorded in the log:",
        );
        for path in written {
            self.say(&format!("  {path}"));
        }
        Ok(())
    }

    fn verify(&self, log: &Path) -> Result<Report, Failure> {
        let source = Source::directory(log).map_err(Failure::unavailable)?;
        verify::log(&source, &self.policy()?, &Options::default()).map_err(Failure::unavailable)
    }

    fn policy(&self) -> Result<Policy, Failure> {
        let path = self.data_dir.join("policy");
        let bytes = fs::read(&path)
            .map_err(|e| Failure::unavailable(format!("cannot read {}: {e}", path.display())))?;
        Policy::parse(&bytes).map_err(Failure::unavailable)
    }

    fn say(&self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }

    fn bar(&self, length: u64, what: &'static str) -> ProgressBar {
        if self.json || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("  {msg:16} {wide_bar} {pos}/{len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(length)
            .with_style(style)
            .with_message(what)
    }
}

/// What the demo says when it is done and goes on serving.
pub(super) fn last_screen(url: &str, data_dir: &Path, token: &str, took: Duration) {
    let dir = data_dir.display();
    let program = program();
    println!(
        "\nDone in {:.1} s. The ledger is served on {url} until Ctrl-C. Try, in another terminal:\n",
        took.as_secs_f64()
    );
    println!("  open {dir}/documents/model-card.html");
    println!("  {program} verify {url}/log --policy {dir}/policy --token {token}");
    println!("  {program} verify {dir}/{RUN_NAME}.rlhf-bundle --policy {dir}/policy");
    println!("  {program} prove 7 --server {url} --token {token}");
    println!("  curl -H 'Authorization: Bearer {token}' {url}/v1/runs");
    println!("  open {url}/docs");
}

/// How a shell finds this program: by its name where that is on the path, else where it lies.
fn program() -> String {
    const NAME: &str = "rlhf-audit";
    let Ok(own) = std::env::current_exe() else {
        return NAME.to_owned();
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(NAME).is_file()) {
        return NAME.to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    own.strip_prefix(&here)
        .unwrap_or(&own)
        .display()
        .to_string()
}

fn fitted(model: &RewardModel, comparisons: usize) -> EvaluationCompleted {
    let metrics = BTreeMap::from([
        ("accuracy".to_owned(), model.accuracy),
        ("log_loss".to_owned(), model.loss),
    ]);
    let mut body = EvaluationCompleted::new(metrics, "reward model fit".to_owned());
    body.samples = Some(comparisons as u64);
    body
}

fn evaluated(world: &World, policy: &Softmax, step: u64) -> Draft {
    let quality = world.mean_quality(&policy.probabilities());
    let mut body = EvaluationCompleted::new(
        BTreeMap::from([("true_quality".to_owned(), quality)]),
        "true quality".to_owned(),
    );
    body.step = Some(step);
    body.samples = Some(world.questions.len() as u64);
    Draft::new(body)
}

fn updated(step: u64, update: &Update) -> PolicyUpdated {
    let mut body = PolicyUpdated::new(step);
    body.loss = Some(update.loss);
    body.kl = Some(update.kl);
    body.entropy = Some(update.entropy);
    body.reward_mean = Some(update.reward_mean);
    body.reward_std = Some(update.reward_std);
    body.gradient_norm = Some(update.gradient_norm);
    body.learning_rate = Some(STEP.learning_rate);
    body
}

fn demand(holds: bool, otherwise: &str) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(Failure::unavailable(otherwise))
    }
}
