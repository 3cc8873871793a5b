//! Records: one, or a stream of them, one a line.

use record::chain::{RunState, ScopeState, StreamState};
use record::{Kind, Record, canonical, kinds, leaf_hash};

/// A record's bytes; lines of them are admitted to one scope.
pub fn record(data: &[u8]) {
    one(data);
    let mut state: Option<ScopeState> = None;
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(record) = Record::parse(line) else {
            return;
        };
        let state = state.get_or_insert_with(|| ScopeState::new(record.scope()));
        let before = format!("{state:?}");
        if state.admit(&record, &leaf_hash(line)).is_err() {
            assert_eq!(
                format!("{state:?}"),
                before,
                "refused, and the state is another"
            );
            continue;
        }
        for stream in state.streams() {
            let again = StreamState::from_bytes(&stream.to_bytes());
            assert_eq!(
                again.as_ref(),
                Ok(stream),
                "a state that cannot be read back"
            );
        }
        if let Some(run) = state.run() {
            assert_eq!(RunState::from_bytes(&run.to_bytes()).as_ref(), Ok(run));
        }
    }
}

fn one(data: &[u8]) {
    if canonical::check(data).is_ok() {
        let value: serde_json::Value =
            serde_json::from_slice(data).expect("canonical JSON is JSON");
        assert_eq!(
            text(&canonical::to_canonical(&value)),
            text(data),
            "canonical, written otherwise"
        );
    }
    let Ok(envelope) = Record::parse_envelope(data) else {
        assert!(Record::parse(data).is_err(), "a record without an envelope");
        return;
    };
    assert_eq!(envelope.bytes(), data);
    assert_eq!(envelope.leaf_hash(), leaf_hash(data));
    canonical::check(data).expect("a record is canonical");
    let Ok(record) = Record::parse(data) else {
        return;
    };
    assert_eq!(
        (record.scope(), record.stream(), record.seq(), record.time()),
        (
            envelope.scope(),
            envelope.stream(),
            envelope.seq(),
            envelope.time()
        )
    );
    let _ = (record.named_run(), record.prev(), record.version());
    let _ = (record.sealed().count(), record.attachments().count());
    body(&record);
}

/// What was checked can be decoded, and what was decoded is what was written.
fn body(record: &Record<'_>) {
    macro_rules! decode {
        ($($kind:ident)*) => {
            match record.kind() {
                $(Some(Kind::$kind) => {
                    let body: kinds::$kind = record.decode().expect("a body that was checked");
                    canonical::to_vec(&body).expect("a body is JSON")
                })*
                None => return,
            }
        };
    }
    let bytes = decode!(
        RunStarted RunDescribed RunSealed StreamOpened StreamSigned ProducerEnrolled
        ExperimentRegistered DatasetRegistered
        GuidelineRegistered ConsentRecorded AnnotationPreference AnnotationRating AnnotationRanking
        AnnotationCorrection AnnotationCritique AnnotationDemonstration AnnotationSuperseded
        AnnotationWithdrawn RewardScored PolicyUpdated ModelCheckpoint MetricLogged
        MetricDiverged ArtifactLogged EvaluationCompleted OversightApproved OversightRejected OversightStopped FindingRaised
        DocumentIssued AccessRead AccessChanged IncidentReported KeyRotated LedgerClosed LedgerContinued
    );
    assert_eq!(
        text(&bytes),
        text(record.body_bytes()),
        "a body is written as read"
    );
}

/// For messages that can be read.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
