//! A record of each kind with every member it can have, and every field sealed that can be.

use record::kinds::*;
use record::*;
use serde_json::json;

use crate::common::{START, annotator, run_id, signing_key, stream, writer, writer_in};

fn text(text: &str) -> String {
    text.to_owned()
}

fn hash(number: u8) -> RecordHash {
    RecordHash(tlog::sha256(&[b'r', number]))
}

fn digest(number: u8) -> Sha256 {
    Sha256(tlog::sha256(&[b'f', number]))
}

fn key(number: u8) -> PublicKey {
    PublicKey::from(&signing_key(number))
}

fn numbers() -> std::collections::BTreeMap<String, f64> {
    [
        ("kl".into(), 0.0125),
        ("loss/policy".into(), -1.5e-7),
        ("größe".into(), 1e21),
    ]
    .into()
}

fn time() -> Timestamp {
    Timestamp(START - 60_000_000)
}

macro_rules! shared {
    ($body:expr) => {{
        let mut body = $body;
        body.annotator = Some(annotator());
        body.annotator_type = Some(AnnotatorType::Expert);
        body.at = Some(time());
        body.criterion = Some(text("helpfulness"));
        body.duration_ms = Some(41_250);
        body.item = Some(text("item-000123"));
        body.run = Some(run_id());
        body.source = Some(Source {
            part: Some(1),
            ..Source::new(text("pairs"), 17)
        });
        body
    }};
}

macro_rules! decision {
    ($body:ident) => {
        $body {
            at: Some(time()),
            record: Some(hash(1)),
            reviewer: Some(annotator()),
            run: Some(run_id()),
            step: Some(40),
            ..$body::new(text("release of checkpoint-40"))
        }
    };
}

/// Drafts of every kind but those that a writer writes itself.
pub(crate) fn drafts() -> Vec<Draft> {
    let mut drafts = vec![
        Draft::new(RunStarted {
            config: Some(
                [
                    ("beta".into(), json!(0.1)),
                    ("bf16".into(), json!(true)),
                    ("optimizer".into(), json!("adamw")),
                    ("seed".into(), json!(42)),
                ]
                .into(),
            ),
            experiment: Some(text("safety_alignment_v2")),
            model: Some(text("gpt2")),
            ..RunStarted::new(text("first run"), key(1))
        }),
        Draft::new(RunDescribed {
            config: Some([("warmup_steps".into(), json!(100))].into()),
            run: Some(run_id()),
            tags: Some([("stage".into(), json!("pilot"))].into()),
        }),
        Draft::new(ExperimentRegistered::new(text("safety_alignment_v2"))),
        Draft::new(ProducerEnrolled::new(
            text("token:admin"),
            key(1),
            ProducerName::parse("trainer").unwrap(),
        )),
        Draft::new(DatasetRegistered {
            files: Some(vec![DatasetFile::new(
                81_234,
                text("train.jsonl.gz"),
                digest(7),
            )]),
            fingerprint: Some(text("d2a3c1f0b5e49786")),
            license: Some(text("MIT")),
            rows: Some(3_000),
            run: Some(run_id()),
            source: Some(text("https://example.org/pairs.jsonl.gz")),
            splits: Some([("test".into(), 500), ("train".into(), 2_500)].into()),
            ..DatasetRegistered::new(81_234, text("hh-rlhf"), text("pairs"), digest(4))
        }),
        Draft::new(GuidelineRegistered {
            language: Some(text("en")),
            media_type: Some(text("text/markdown")),
            revision: Some(text("3")),
            run: Some(run_id()),
            ..GuidelineRegistered::new(12_345, text("how to compare"), digest(5))
        }),
        Draft::new(ConsentRecorded {
            at: Some(time()),
            document: Some(digest(6)),
            purposes: Some(vec![text("research"), text("training")]),
            run: Some(run_id()),
            ..ConsentRecorded::new(annotator(), ConsentStatus::Granted)
        }),
        Draft::new(AnnotationPreference {
            strength: Some(0.8),
            ..shared!(AnnotationPreference::new(Choice::A))
        }),
        Draft::new(AnnotationRating {
            scale: Some(Scale::new(1.0, 5.0)),
            ..shared!(AnnotationRating::new(4.0))
        }),
        Draft::new(shared!(AnnotationRanking::new(vec![2, 1, 1]))),
        Draft::new(shared!(AnnotationCorrection::new())),
        Draft::new(AnnotationCritique {
            target: Some(text("a")),
            ..shared!(AnnotationCritique::new(text("factual-error")))
        }),
        Draft::new(shared!(AnnotationDemonstration::new())),
        Draft::new(AnnotationSuperseded {
            annotator: Some(annotator()),
            at: Some(time()),
            by: Some(hash(6)),
            run: Some(run_id()),
            ..AnnotationSuperseded::new(hash(5))
        }),
        Draft::new(AnnotationWithdrawn {
            annotator: Some(annotator()),
            at: Some(time()),
            run: Some(run_id()),
            ..AnnotationWithdrawn::new(hash(5))
        }),
    ];
    drafts.extend(of_training());
    drafts.extend(of_people_and_servers());
    drafts.into_iter().map(seal_all).collect()
}

fn of_training() -> Vec<Draft> {
    vec![
        Draft::new(RewardScored {
            components: Some(numbers()),
            item: Some(text("item-000123")),
            reward_model: Some(text("rm-1")),
            run: Some(run_id()),
            step: Some(40),
            ..RewardScored::new(0.75)
        }),
        Draft::new(PolicyUpdated {
            batch: Some(Batch {
                members: Some(vec![hash(9), hash(10)]),
                sha256: Some(digest(1)),
                ..Batch::new(64)
            }),
            entropy: Some(2.25),
            epoch: Some(0.5),
            gradient_norm: Some(1.0),
            kl: Some(0.012_5),
            learning_rate: Some(1e-6),
            loss: Some(-0.031_25),
            metrics: Some(numbers()),
            module_norms: Some(numbers()),
            norms: Some(Norms {
                confidence: Some(0.95),
                dimensions: Some(4_093),
                memory_bytes: Some(1_048_576),
                relative_error: Some(0.1),
                seed: Some(7),
                since: Some(39),
                ..Norms::new(NormMethod::Projection)
            }),
            parameters: Some(124_439_808),
            reward_mean: Some(0.5),
            reward_std: Some(0.25),
            run: Some(run_id()),
            trainable: Some(1_048_576),
            ..PolicyUpdated::new(40)
        }),
        Draft::new(ModelCheckpoint {
            epoch: Some(1.0),
            metrics: Some(numbers()),
            parameters: Some(124_439_808),
            parent: Some(text("base")),
            run: Some(run_id()),
            step: Some(40),
            ..ModelCheckpoint::new(
                vec![ModelFile::new(
                    548_105_171,
                    text("model.safetensors"),
                    digest(2),
                )],
                text("checkpoint-40"),
            )
        }),
        Draft::new(ModelCheckpoint {
            step: Some(41),
            ..ModelCheckpoint::new(Vec::new(), text("step 41"))
        }),
        Draft::new(MetricLogged {
            epoch: Some(1.0),
            phase: Some(text("train")),
            run: Some(run_id()),
            step: Some(40),
            ..MetricLogged::new(numbers())
        }),
        Draft::new(MetricDiverged {
            epoch: Some(1.0),
            phase: Some(text("train")),
            run: Some(run_id()),
            step: Some(41),
            ..MetricDiverged::new(
                [
                    (text("grad_norm"), NotFinite::Infinity),
                    (text("loss"), NotFinite::Nan),
                ]
                .into(),
            )
        }),
        Draft::new(ArtifactLogged {
            media_type: Some(text("image/png")),
            path: Some(text("plots/reward.png")),
            run: Some(run_id()),
            ..ArtifactLogged::new(20_481, digest(5))
        }),
        Draft::new(EvaluationCompleted {
            dataset: Some(text("held-out")),
            model: Some(text("checkpoint-40")),
            run: Some(run_id()),
            samples: Some(1_000),
            step: Some(40),
            ..EvaluationCompleted::new(numbers(), text("win rate"))
        }),
    ]
}

fn of_people_and_servers() -> Vec<Draft> {
    vec![
        Draft::new(decision!(OversightApproved)),
        Draft::new(decision!(OversightRejected)),
        Draft::new(decision!(OversightStopped)),
        Draft::new(FindingRaised {
            detail: Some(text("ahead")),
            evidence: Some(vec![12, 13]),
            run: Some(run_id()),
            severity: Some(Severity::Warning),
            stream: Some(stream("rank0")),
            ..FindingRaised::new(text("clock-skew"))
        }),
        Draft::new(DocumentIssued::new(
            text("model-card"),
            vec![DocumentFile::new(
                4_096,
                text("text/markdown"),
                text("card.md"),
                digest(3),
            )],
            1_024,
            hash(2),
            run_id(),
        )),
        Draft::new(IncidentReported {
            detail: Some(text("other-bytes")),
            logged: Some(hash(3)),
            producer: ProducerName::parse("trainer"),
            refused: Some(hash(4)),
            run: Some(run_id()),
            seq: Some(41),
            stream: Some(stream("rank0")),
            ..IncidentReported::new(text("conflicting-resend"))
        }),
        Draft::new(KeyRotated {
            new_ml_dsa_44: Some(digest(3)),
            old_ml_dsa_44: Some(digest(4)),
            reason: Some(text("scheduled")),
            ..KeyRotated::signed(
                KeyPurpose::Producer,
                ProducerName::parse("trainer"),
                &signing_key(1),
                key(2),
            )
        }),
        Draft::new(AccessRead {
            run: Some(run_id()),
            spans: Some(vec![ReadSpan::new(100, 4_096)]),
            ..AccessRead::new(
                text("t-01kaqza6000000000000000000"),
                time(),
                time(),
                ReadPart::Records,
                1,
            )
        }),
        Draft::new(AccessChanged {
            by: Some(text("local")),
            expires: Some(time()),
            parts: Some(vec![ReadPart::Documents, ReadPart::Aggregates]),
            request: Some(text("r-01kaqza6000000000000000000")),
            runs: Some(vec![run_id()]),
            token: Some(text("t-01kaqza6000000000000000000")),
            ..AccessChanged::new(AccessChange::Created, text("auditor"))
        }),
        Draft::new(LedgerContinued::new(
            text("rlhf-audit.internal/01kaqza6000000000000000000"),
            hash(5),
            1_024,
        )),
        Draft::new(LedgerClosed {
            reason: Some(text("moved")),
            successor: Some(text("example.com/next")),
        }),
    ]
}

fn seal_all(draft: Draft) -> Draft {
    draft
        .kind()
        .sealed_fields()
        .iter()
        .fold(draft, |draft, (field, _)| {
            draft.seal(field, &json!(format!("the {field}")), Subject::Run)
        })
}

/// One record of every kind, with its submission's openings.
pub(crate) fn records() -> Vec<Submission> {
    let mut run = writer("rank0", 1).software("trainer 1.0").continues(
        stream("rank0-old"),
        41,
        hash(7).into(),
    );
    let mut submissions: Vec<Submission> = Vec::new();
    for draft in drafts() {
        // The first of a stream brings its stream.opened, of which one is enough.
        submissions.extend(run.write(draft).unwrap());
    }
    submissions.extend(run.sign());
    let other = StreamEnd::new(stream("rank1"), 7, hash(8));
    submissions.push(run.seal(RunStatus::Completed, vec![other]).unwrap());
    submissions
}

/// The least a record of each kind can be.
pub(crate) fn least() -> Vec<Submission> {
    let mut ledger = writer_in(Scope::Ledger, "server", 4);
    let mut submissions = Vec::new();
    for submission in records() {
        let record = Record::parse(&submission.record).unwrap();
        let kind = record.kind().unwrap();
        if matches!(
            kind,
            Kind::StreamOpened | Kind::StreamSigned | Kind::RunSealed
        ) {
            continue;
        }
        let schema = schema::json_schema(kind);
        let required = &schema["properties"]["body"]["required"];
        let mut body: serde_json::Value = serde_json::from_slice(record.body_bytes()).unwrap();
        body.as_object_mut().unwrap().retain(|name, _| {
            required
                .as_array()
                .is_some_and(|required| required.iter().any(|one| one == name))
        });
        let mut draft = Draft::from_json(&json!({"kind": kind.name(), "body": body})).unwrap();
        for (field, _) in kind
            .sealed_fields()
            .iter()
            .filter(|(_, required)| *required)
        {
            draft = draft.seal(field, &json!(null), Subject::Run);
        }
        submissions.extend(ledger.write(draft).unwrap());
    }
    submissions
}
