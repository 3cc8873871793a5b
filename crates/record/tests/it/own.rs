//! The server's own stream: its key can change, and it ends the ledger.

use record::chain::{ChainError, ScopeState};
use record::kinds::*;
use record::*;

use crate::common::{clock, entropy, signing_key, writer_in};

fn server(key: u8) -> StreamWriter {
    writer_in(Scope::Ledger, "server", key)
}

fn finding() -> Draft {
    Draft::new(FindingRaised::new("clock-skew".into()))
}

fn rotation(old: u8, new: u8) -> Draft {
    let new = PublicKey::from(&signing_key(new));
    Draft::new(KeyRotated::signed(
        KeyPurpose::Operator,
        None,
        &signing_key(old),
        new,
    ))
}

fn admit(state: &mut ScopeState, submission: &Submission) -> Result<(), ChainError> {
    let record = Record::parse(&submission.record).unwrap();
    state.admit(&record, &record.leaf_hash())
}

fn kinds(written: &[Submission]) -> Vec<String> {
    written
        .iter()
        .map(|one| Record::parse(&one.record).unwrap().kind_name().to_owned())
        .collect()
}

/// A stream of two records, the second not signed, as writer and state see it.
fn begun(key: u8) -> (StreamWriter, ScopeState) {
    let mut writer = server(key);
    let mut state = ScopeState::new(Scope::Ledger);
    for written in writer.write(finding()).unwrap() {
        admit(&mut state, &written).unwrap();
    }
    (writer, state)
}

fn key_of(state: &ScopeState) -> PublicKey {
    state.stream(&StreamName::SERVER).unwrap().key
}

#[test]
fn the_old_key_signs_up_to_the_rotation_and_the_new_one_from_there() {
    let (writer, mut state) = begun(1);
    let mut writer = writer.succeeded_by(signing_key(2));
    let written = writer.write(rotation(1, 2)).unwrap();
    let expected = ["stream.signed", "key.rotated", "stream.signed"];
    assert_eq!(kinds(&written), expected);
    for one in &written {
        admit(&mut state, one).unwrap();
    }
    assert_eq!(key_of(&state), PublicKey::from(&signing_key(2)));
    assert_eq!(state.stream(&StreamName::SERVER).unwrap().unsigned, 0);
    // And once more.
    let mut writer = writer.succeeded_by(signing_key(3));
    for one in &writer.write(rotation(2, 3)).unwrap() {
        admit(&mut state, one).unwrap();
    }
    for one in writer
        .write(finding())
        .unwrap()
        .iter()
        .chain(&writer.sign())
    {
        admit(&mut state, one).unwrap();
    }
    assert_eq!(key_of(&state), PublicKey::from(&signing_key(3)));
}

#[test]
fn a_writer_hands_over_only_to_the_key_it_was_given() {
    let (mut writer, _) = begun(1);
    let refused = Err(WriteError::OwnKind(Kind::KeyRotated));
    assert_eq!(writer.write(rotation(1, 2)), refused);
    let mut writer = writer.succeeded_by(signing_key(3));
    assert_eq!(writer.write(rotation(1, 2)), refused);
    assert_eq!(writer.write(rotation(2, 3)), refused);
    assert_eq!(
        kinds(&writer.write(rotation(1, 3)).unwrap())[1],
        "key.rotated"
    );
}

/// I21: what somebody writes who has the log's keys, but not the operator's.
#[test]
fn a_rotation_that_the_old_key_did_not_sign_is_refused() {
    let (mut writer, mut state) = begun(1);
    admit(&mut state, &writer.sign().unwrap()).unwrap();
    let next = |writer: &StreamWriter, key: u8| {
        StreamWriter::resume(
            Scope::Ledger,
            StreamName::SERVER,
            signing_key(key),
            writer.next_seq(),
            writer.head().unwrap(),
            clock(),
            entropy(),
        )
        .with_unsigned(0)
        .succeeded_by(signing_key(9))
    };
    // Says that the stream's key is another.
    let forged = &next(&writer, 8).write(rotation(8, 9)).unwrap()[0];
    let refused = admit(&mut state, forged).unwrap_err();
    assert!(matches!(refused, ChainError::Rotation { .. }), "{refused}");
    // Names the right key, and signs with another.
    let (right, new) = (signing_key(1), PublicKey::from(&signing_key(9)));
    let honest = KeyRotated::signed(KeyPurpose::Operator, None, &right, new);
    let mut forged = honest.clone();
    forged.signature =
        KeyRotated::signed(KeyPurpose::Operator, None, &signing_key(8), new).signature;
    let forged = &next(&writer, 1).write(Draft::new(forged)).unwrap()[0];
    let refused = admit(&mut state, forged).unwrap_err();
    assert!(matches!(refused, ChainError::Signature { .. }), "{refused}");
    // A good signature over something else.
    for (purpose, new) in [(KeyPurpose::Producer, 9), (KeyPurpose::Operator, 7)] {
        let other = KeyRotated::signed(purpose, None, &right, PublicKey::from(&signing_key(new)));
        let mut forged = honest.clone();
        forged.signature = other.signature;
        let forged = &next(&writer, 1).write(Draft::new(forged)).unwrap()[0];
        let refused = admit(&mut state, forged).unwrap_err();
        assert!(matches!(refused, ChainError::Signature { .. }), "{refused}");
    }
    // None at all.
    let mut forged = honest.clone();
    forged.signature = None;
    let forged = &next(&writer, 1).write(Draft::new(forged)).unwrap()[0];
    let refused = admit(&mut state, forged).unwrap_err();
    assert!(matches!(refused, ChainError::Rotation { .. }), "{refused}");
    // Nothing of this has changed the state.
    let good = &next(&writer, 1).write(Draft::new(honest)).unwrap()[0];
    admit(&mut state, good).unwrap();
    assert_eq!(key_of(&state), new);
}

#[test]
fn the_old_key_has_to_cover_what_came_before() {
    let (writer, mut state) = begun(1);
    let (next_seq, head) = (writer.next_seq(), writer.head().unwrap());
    let stream = StreamName::SERVER;
    let (clock, entropy) = (clock(), entropy());
    let mut unsigned = StreamWriter::resume(
        Scope::Ledger,
        stream,
        signing_key(1),
        next_seq,
        head,
        clock,
        entropy,
    )
    .with_unsigned(0)
    .succeeded_by(signing_key(2));
    let forged = &unsigned.write(rotation(1, 2)).unwrap()[0];
    let refused = admit(&mut state, forged).unwrap_err();
    assert!(matches!(refused, ChainError::Rotation { .. }), "{refused}");
}

#[test]
fn rotations_and_the_end_stand_in_the_servers_stream_alone() {
    let new = PublicKey::from(&signing_key(2));
    let rotated = KeyRotated::signed(KeyPurpose::Producer, None, &signing_key(1), new);
    let continued = LedgerContinued::new("example.com/old".into(), RecordHash([1; 32]), 7);
    let drafts = [
        Draft::new(rotated),
        Draft::new(LedgerClosed::new()),
        Draft::new(continued.clone()),
    ];
    for draft in drafts {
        let mut writer = writer_in(Scope::Ledger, "import", 1);
        let mut state = ScopeState::new(Scope::Ledger);
        let written = writer.write(draft).unwrap();
        admit(&mut state, &written[0]).unwrap();
        let refused = admit(&mut state, &written[1]).unwrap_err();
        assert!(matches!(refused, ChainError::Misplaced { .. }), "{refused}");
    }
    // How the ledger began is said first or never.
    let mut state = ScopeState::new(Scope::Ledger);
    for one in server(1).write(Draft::new(continued.clone())).unwrap() {
        admit(&mut state, &one).unwrap();
    }
    let (mut writer, mut state) = begun(1);
    let late = &writer.write(Draft::new(continued)).unwrap()[0];
    let refused = admit(&mut state, late).unwrap_err();
    assert!(matches!(refused, ChainError::Misplaced { .. }), "{refused}");
}

/// I22.
#[test]
fn nothing_but_its_signature_follows_the_end() {
    let (mut writer, mut state) = begun(1);
    let mut other = writer_in(Scope::Ledger, "import", 5);
    for one in other.write(finding()).unwrap() {
        admit(&mut state, &one).unwrap();
    }
    for one in writer.write(Draft::new(LedgerClosed::new())).unwrap() {
        admit(&mut state, &one).unwrap();
    }
    assert!(state.closed());
    let closed = |refused: ChainError| matches!(refused, ChainError::Closed { .. });
    let mut goes_on = writer_in(Scope::Ledger, "import", 5);
    goes_on.write(finding()).unwrap();
    let late = &goes_on.write(finding()).unwrap()[0];
    assert!(closed(admit(&mut state, late).unwrap_err()));
    let new = &writer_in(Scope::Ledger, "new", 6).write(finding()).unwrap()[0];
    assert!(closed(admit(&mut state, new).unwrap_err()));
    // What is kept of the state still knows.
    let kept = state.stream(&StreamName::SERVER).unwrap().to_bytes();
    let kept = record::chain::StreamState::from_bytes(&kept).unwrap();
    assert!(kept.closed);

    admit(&mut state, &writer.sign().unwrap()).unwrap();
    let after = &writer.write(finding()).unwrap()[0];
    assert!(closed(admit(&mut state, after).unwrap_err()));
}

/// I16: version 1 was information, wherever it stood, and stays that.
#[test]
fn version_1_changes_nothing() {
    let (mut writer, mut state) = begun(1);
    let text = String::from_utf8(writer.write(rotation_v1()).unwrap()[0].record.clone()).unwrap();
    let body = r#"{"new":"VxBQffEiYxOfzUo4bm+kQe5yQvdy++pSJ96PPAB0KyE=","old":"Tuqq3xMBIO3jk5apWkikY3fhqBUDsRYad3EW5WycgXQ=","purpose":"operator"}"#;
    let (_, rest) = text.split_once(r#","kind""#).unwrap();
    let record = format!(
        r#"{{"body":{body},"kind"{}"#,
        rest.replace("\"v\":2}", "\"v\":1}")
    );
    let before = key_of(&state);
    let record = Record::parse(record.as_bytes()).unwrap();
    assert_eq!(
        (record.kind(), record.version()),
        (Some(Kind::KeyRotated), 1)
    );
    state.admit(&record, &record.leaf_hash()).unwrap();
    assert_eq!(key_of(&state), before);
    // Its schema is the old one: no signature.
    let signed = String::from_utf8(record.bytes().to_vec())
        .unwrap()
        .replace(r#""purpose":"operator"}"#, r#""purpose":"log"}"#);
    assert!(Record::parse(signed.as_bytes()).is_err());
}

fn rotation_v1() -> Draft {
    let key = |number| PublicKey::from(&signing_key(number));
    Draft::new(KeyRotated::new(key(2), key(1), KeyPurpose::Producer))
}
