//! A filter picks what parsing would, and reads no more than it has to.

use record::*;

use crate::common::run_id;
use crate::samples;

#[test]
fn it_picks_what_parsing_would() {
    let records: Vec<_> = samples::records()
        .into_iter()
        .chain(samples::least())
        .collect();
    let scopes = [None, Some(Scope::Ledger), Some(Scope::Run(run_id()))];
    let kinds = || Kind::ALL.iter().map(|kind| Some(*kind)).chain([None]);
    let mut picked = 0;
    for (scope, kind) in scopes
        .into_iter()
        .flat_map(|scope| kinds().map(move |kind| (scope, kind)))
    {
        let filter = Filter::new(scope, kind);
        assert_eq!(filter.is_empty(), scope.is_none() && kind.is_none());
        for submission in &records {
            let record = Record::parse_envelope(&submission.record).unwrap();
            let fits = scope.is_none_or(|scope| scope == record.scope())
                && kind.is_none_or(|kind| record.is(kind));
            let found = filter.pick(&submission.record).unwrap();
            assert_eq!(
                found.is_some(),
                fits,
                "{scope:?} {kind:?} {}",
                record.kind_name()
            );
            picked += usize::from(found.is_some());
        }
    }
    // Each by nothing, by its scope, by its kind, and by both.
    assert_eq!(picked, 4 * records.len());
}

#[test]
fn a_body_that_holds_the_same_text_is_not_taken_for_it() {
    let text = r#"x","kind":"run.sealed","run":"ledger","y"#;
    let quoted = serde_json::to_string(text).unwrap();
    let draft = Draft::new(kinds::RunStarted::new(text.to_owned(), PublicKey([7; 32])));
    let mut writer = crate::common::writer("main", 1);
    let started = &writer.write(draft).unwrap()[1];
    assert!(String::from_utf8_lossy(&started.record).contains(&quoted));
    let ledger = Filter::new(Some(Scope::Ledger), None);
    assert!(ledger.pick(&started.record).unwrap().is_none());
    // Not a string, but a member of an object in the body: canonical JSON has the same bytes there.
    let nested = br#"{"body":{"a":{"b":1,"kind":"run.sealed","run":"ledger","z":1}},"kind":"x.y","prev":"00","run":"01KAQZB9G0VXA1ZD3Q4RW7M2PN"}"#;
    assert!(
        ledger.pick(nested).is_err(),
        "it looks like one, and is no record"
    );
    let other = Filter::new(
        Some(Scope::Run(
            RunId::parse("01KAQZB9G0VXA1ZD3Q4RW7M2PP").unwrap(),
        )),
        None,
    );
    assert!(other.pick(nested).unwrap().is_none(), "it is not parsed");
}
