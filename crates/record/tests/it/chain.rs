//! Streams and runs: what may come next, and each way in which it may not.

use record::chain::{ChainError, Link, RunState, ScopeState, StreamState};
use record::kinds::*;
use record::*;
use serde_json::Value;

use crate::common::{preference, run_id, signing_key, started, stream, writer, writer_in};

fn metric() -> Draft {
    Draft::new(MetricLogged::new([("loss".to_owned(), 0.5)].into()))
}

/// A run of two streams, unsealed: all its records, and the writers to go on with.
fn run() -> (ScopeState, Vec<Vec<u8>>, StreamWriter, StreamWriter) {
    let (mut first, mut second) = (writer("rank0", 1), writer("rank1", 2));
    let mut records = Vec::new();
    for draft in [started(1), preference(), preference(), metric()] {
        records.extend(first.write(draft).unwrap());
    }
    records.extend(second.write(metric()).unwrap());
    records.extend(second.sign());
    records.extend(first.sign());
    let records: Vec<_> = records
        .into_iter()
        .map(|submission| submission.record)
        .collect();
    let mut state = ScopeState::new(run_id().into());
    for bytes in &records {
        admit(&mut state, bytes).unwrap();
    }
    (state, records, first, second)
}

fn admit(state: &mut ScopeState, bytes: &[u8]) -> Result<(), ChainError> {
    let before = state.clone();
    let (record, leaf) = (Record::parse(bytes).unwrap(), leaf_hash(bytes));
    let mut short = state.clone();
    let went_short = record.scope() == state.scope() && short.admit_next(&link(&record), &leaf);
    let result = state.admit(&record, &leaf);
    if result.is_err() {
        assert_eq!(*state, before, "a refused record leaves no trace");
    }
    let ordinary = record.kind().is_some_and(Kind::is_ordinary);
    assert_eq!(went_short, ordinary && result.is_ok(), "{result:?}");
    assert_eq!(short, if went_short { state.clone() } else { before });
    result
}

fn link(record: &Record<'_>) -> Link {
    Link {
        stream: *record.stream(),
        seq: record.seq(),
        prev: record.prev(),
        kind: record.kind().unwrap(),
    }
}

/// The same record with members changed, canonical again.
fn changed(bytes: &[u8], change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(bytes).unwrap();
    change(&mut value);
    canonical::to_canonical(&value)
}

fn write(writer: &mut StreamWriter, draft: Draft) -> Vec<u8> {
    writer.write(draft).unwrap().remove(0).record
}

#[test]
fn a_whole_run_is_admitted_and_sealed() {
    let (mut state, _, mut owner, second) = run();
    assert_eq!(state.streams().count(), 2);
    assert!(state.streams().all(|stream| stream.unsigned == 0));
    let ends = vec![state.stream(&second.stream()).unwrap().end()];
    let seal = owner.seal(RunStatus::Completed, ends).unwrap();
    admit(&mut state, &seal.record).unwrap();
    assert!(state.run().unwrap().sealed);
    assert!(matches!(owner.write(metric()), Err(WriteError::Ended(_))));
}

#[test]
fn a_record_after_the_seal_is_refused() {
    let (mut state, _, mut owner, mut second) = run();
    let ends = vec![state.stream(&second.stream()).unwrap().end()];
    let seal = owner.seal(RunStatus::Failed, ends).unwrap();
    admit(&mut state, &seal.record).unwrap();
    let late = write(&mut second, metric());
    assert_eq!(
        admit(&mut state, &late),
        Err(ChainError::Sealed { run: run_id() })
    );
    let mut third = writer("rank2", 3);
    let opened = write(&mut third, metric());
    assert_eq!(
        admit(&mut state, &opened),
        Err(ChainError::Sealed { run: run_id() })
    );
}

#[test]
fn a_gap_is_refused() {
    let (mut state, _, mut owner, _) = run();
    let skipped = write(&mut owner, metric());
    let next = write(&mut owner, metric());
    assert_eq!(
        admit(&mut state, &next),
        Err(ChainError::Seq {
            expected: 6,
            found: 7
        })
    );
    admit(&mut state, &skipped).unwrap();
    admit(&mut state, &next).unwrap();
    assert_eq!(
        admit(&mut state, &next),
        Err(ChainError::Seq {
            expected: 8,
            found: 7
        })
    );
}

#[test]
fn a_wrong_prev_is_refused() {
    let (mut state, _, mut owner, _) = run();
    let next = write(&mut owner, metric());
    let other = RecordHash([7; 32]);
    let next = changed(&next, |value| value["prev"] = other.to_string().into());
    let expected = state.stream(&stream("rank0")).unwrap().head;
    let error = admit(&mut state, &next).unwrap_err();
    assert_eq!(
        error,
        ChainError::Prev {
            seq: 6,
            expected,
            found: other.into()
        }
    );
    assert!(
        error.to_string().contains("the leaf hash of seq 5"),
        "{error}"
    );
}

#[test]
fn a_forged_signature_is_refused() {
    let (mut state, _, mut owner, _) = run();
    let next = write(&mut owner, metric());
    admit(&mut state, &next).unwrap();
    let signed = owner.sign().unwrap().record;
    // Well-formed, but of another key.
    let mut other_key = StreamWriter::resume(
        run_id().into(),
        stream("rank0"),
        signing_key(9),
        7,
        leaf_hash(&next),
        crate::common::clock(),
        crate::common::entropy(),
    );
    let forged = other_key.sign().unwrap().record;
    assert_ne!(signed, forged);
    let error = admit(&mut state, &forged).unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::Signature {
                kind: "stream.signed",
                seq: 7,
                ..
            }
        ),
        "{error}"
    );
    // The same, not checked at once: the state goes on, the pending signature tells.
    let mut unverified = state.clone();
    let record = Record::parse(&forged).unwrap();
    let pending = unverified
        .admit_unverified(&record, &leaf_hash(&forged))
        .unwrap()
        .unwrap();
    assert!(!pending.is_valid());
    assert_eq!(unverified.stream(&stream("rank0")).unwrap().next_seq, 8);
    // A signature taken from another place of the chain.
    let earlier = owner_signature_elsewhere();
    let moved = changed(&signed, |value| {
        value["body"]["signature"] = earlier.clone();
    });
    assert!(matches!(
        admit(&mut state, &moved),
        Err(ChainError::Signature { .. })
    ));
    admit(&mut state, &signed).unwrap();
}

fn owner_signature_elsewhere() -> Value {
    let (_, records, ..) = run();
    let signed: Value = serde_json::from_slice(records.last().unwrap()).unwrap();
    signed["body"]["signature"].clone()
}

#[test]
fn a_stream_opens_once_and_first() {
    let (mut state, records, mut owner, _) = run();
    let mut third = writer("rank2", 3);
    third.write(metric()).unwrap();
    let second_record = write(&mut third, metric());
    assert!(matches!(
        admit(&mut state, &second_record),
        Err(ChainError::NotOpened { seq: 2, .. })
    ));
    assert_eq!(
        admit(&mut state, &records[0]),
        Err(ChainError::Seq {
            expected: 6,
            found: 0
        })
    );
    let opened: Value = serde_json::from_slice(&records[0]).unwrap();
    let again = changed(&write(&mut owner, metric()), |value| {
        value["kind"] = "stream.opened".into();
        value["body"] = opened["body"].clone();
    });
    assert_eq!(
        admit(&mut state, &again),
        Err(ChainError::OpenedAgain { seq: 6 })
    );
    let metric_first = changed(&records[0], |value| {
        value["stream"] = "rank9".into();
        value["kind"] = "metric.logged".into();
        value["body"] = serde_json::json!({"metrics": {"loss": 1}});
    });
    assert!(matches!(
        admit(&mut state, &metric_first),
        Err(ChainError::NotOpened { seq: 0, .. })
    ));
}

#[test]
fn a_run_begins_with_its_first_stream_and_run_started() {
    let mut state = ScopeState::new(run_id().into());
    let (mut first, mut second) = (writer("rank0", 1), writer("rank1", 2));
    let first_records = first.write(started(1)).unwrap();
    let second_records = second.write(metric()).unwrap();
    admit(&mut state, &first_records[0].record).unwrap();
    let early = admit(&mut state, &second_records[0].record).unwrap_err();
    assert!(matches!(early, ChainError::NotStarted { .. }), "{early}");
    assert!(
        early
            .to_string()
            .contains("run.started at seq 1 of stream rank0"),
        "{early}"
    );
    let mut other = writer("rank0", 1);
    other.write(metric()).unwrap();
    admit(&mut state, &first_records[1].record).unwrap();
    admit(&mut state, &second_records[0].record).unwrap();
    admit(&mut state, &second_records[1].record).unwrap();
    let again = write(&mut second, started(2));
    assert_eq!(
        admit(&mut state, &again),
        Err(ChainError::StartedAgain { run: run_id() })
    );
}

#[test]
fn a_run_cannot_begin_otherwise() {
    let mut first = writer("rank0", 1);
    let records = first.write(metric()).unwrap();
    let mut state = ScopeState::new(run_id().into());
    let not_opened = admit(&mut state, &records[1].record).unwrap_err();
    assert!(
        not_opened.to_string().contains("stream.opened at seq 0"),
        "{not_opened}"
    );
    admit(&mut state, &records[0].record).unwrap();
    let not_started = admit(&mut state, &records[1].record).unwrap_err();
    assert!(
        matches!(not_started, ChainError::NotStarted { .. }),
        "{not_started}"
    );
}

#[test]
fn the_scope_ledger_has_streams_but_no_runs() {
    let mut state = ScopeState::new(Scope::Ledger);
    let mut server = writer_in(Scope::Ledger, "server", 4);
    for submission in server
        .write(Draft::new(IncidentReported::new("test".into())))
        .unwrap()
    {
        admit(&mut state, &submission.record).unwrap();
    }
    let begins = write(&mut server, started(4));
    assert_eq!(
        admit(&mut state, &begins),
        Err(ChainError::NotInLedger {
            kind: "run.started"
        })
    );
    let foreign = writer("rank0", 1).write(metric()).unwrap().remove(0).record;
    assert!(matches!(
        admit(&mut state, &foreign),
        Err(ChainError::WrongStream { .. })
    ));
}

#[test]
fn only_the_owner_seals() {
    let (mut state, _, owner, mut second) = run();
    let ends = vec![state.stream(&owner.stream()).unwrap().end()];
    let seal = second.seal(RunStatus::Completed, ends).unwrap();
    let error = admit(&mut state, &seal.record).unwrap_err();
    assert_eq!(
        error,
        ChainError::NotOwner {
            owner: owner.public_key(),
            found: second.public_key()
        }
    );
}

#[test]
fn a_seal_lists_every_stream_as_it_ends() {
    let (mut state, ..) = run();
    let end = state.stream(&stream("rank1")).unwrap().end();
    let seal = |ends: Vec<StreamEnd>| {
        let (_, _, mut owner, _) = run();
        owner.seal(RunStatus::Completed, ends).unwrap().record
    };
    let omitted = seal(vec![]);
    assert_eq!(
        admit(&mut state, &omitted),
        Err(ChainError::StreamOmitted {
            stream: stream("rank1"),
            seq: end.seq
        })
    );
    for name in ["aaa", "rank10", "zzz"] {
        let unknown = StreamEnd {
            stream: stream(name),
            ..end.clone()
        };
        let with_unknown = seal(vec![end.clone(), unknown]);
        assert_eq!(
            admit(&mut state, &with_unknown),
            Err(ChainError::StreamUnknown {
                stream: stream(name)
            })
        );
    }
    let shorter = seal(vec![StreamEnd {
        seq: end.seq - 1,
        ..end.clone()
    }]);
    assert!(matches!(
        admit(&mut state, &shorter),
        Err(ChainError::StreamEnd { .. })
    ));
    let other_head = seal(vec![StreamEnd {
        head: RecordHash([1; 32]),
        ..end.clone()
    }]);
    assert!(matches!(
        admit(&mut state, &other_head),
        Err(ChainError::StreamEnd { .. })
    ));

    let good = seal(vec![end]);
    let reordered = changed(&good, |value| {
        value["body"]["streams"].as_array_mut().unwrap().reverse();
    });
    assert_eq!(
        admit(&mut state, &reordered),
        Err(ChainError::StreamOrder {
            stream: stream("rank0")
        })
    );
    // The status is signed too.
    let status = changed(&good, |value| value["body"]["status"] = "failed".into());
    assert!(matches!(
        admit(&mut state, &status),
        Err(ChainError::Signature {
            kind: "run.sealed",
            ..
        })
    ));
    admit(&mut state, &good).unwrap();
}

#[test]
fn a_run_has_at_most_so_many_streams() {
    let (state, records, ..) = run();
    let mut run = state.run().unwrap().clone();
    run.streams = MAX_STREAMS;
    let opened = changed(&records[0], |value| value["stream"] = "rank400".into());
    let record = Record::parse(&opened).unwrap();
    assert_eq!(
        run.admit(&record),
        Err(ChainError::TooManyStreams { run: run_id() })
    );
}

/// The longest names and numbers there are still fit into a record.
#[test]
fn the_largest_seal_fits() {
    let mut owner = writer(&"o".repeat(64), 1);
    owner.write(started(1)).unwrap();
    let ends = (1..MAX_STREAMS)
        .map(|number| {
            StreamEnd::new(
                stream(&format!("{number:064}")),
                MAX_INTEGER,
                RecordHash([0; 32]),
            )
        })
        .collect();
    let seal = owner.seal(RunStatus::Completed, ends).unwrap();
    assert!(seal.record.len() > 60_000 && Record::parse(&seal.record).is_ok());
}

#[test]
fn states_survive_as_bytes() {
    let (state, ..) = run();
    for stream in state.streams() {
        assert_eq!(
            StreamState::from_bytes(&stream.to_bytes()).as_ref(),
            Ok(stream)
        );
    }
    let run_state = state.run().unwrap();
    assert_eq!(
        RunState::from_bytes(&run_state.to_bytes()).as_ref(),
        Ok(run_state)
    );
    let begun = RunState {
        owner: None,
        ..run_state.clone()
    };
    assert_eq!(RunState::from_bytes(&begun.to_bytes()), Ok(begun));
    assert!(RunState::from_bytes(b"run-state/2\n").is_err());
    assert!(StreamState::from_bytes(b"").is_err());
    // One state has one spelling.
    let spelt = |bytes: Vec<u8>, from: &str, to: &str| {
        String::from_utf8(bytes)
            .unwrap()
            .replace(from, to)
            .into_bytes()
    };
    for (from, to) in [
        ("\n", "\r\n"),
        ("false\n", "false"),
        ("false\n", "false\n1\n"),
    ] {
        let bytes = spelt(run_state.to_bytes(), from, to);
        assert!(RunState::from_bytes(&bytes).is_err(), "{to:?}");
    }
    let stream = state.streams().next().unwrap();
    let number = format!("\n{}\n", stream.next_seq);
    for other in ["\n+", "\n0"] {
        let bytes = spelt(stream.to_bytes(), &number, &number.replacen('\n', other, 1));
        assert!(StreamState::from_bytes(&bytes).is_err(), "{other:?}");
    }
    let parts = ScopeState::from_parts(
        run_id().into(),
        state.run().cloned(),
        state.streams().cloned(),
    );
    assert_eq!(parts, state);
}
