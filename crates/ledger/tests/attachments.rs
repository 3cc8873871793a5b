//! Attachments: durable before they are acknowledged, there before a record that names them is, whole or not at all.

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod common;

use std::io::{self, Cursor, Read};

use common::shaky::Shaky;
use common::{Fixture, metric, policy, seal};
use ledger::{AttachmentError, BundleParts, Ledger, LedgerError, OpenObject};
use record::kinds::LedgerClosed;
use record::{Attachment, MAX_ATTACHMENT_BYTES, Sha256};
use testkit::failing::{Left, Step};
use verify::Verdict;

fn name(bytes: &[u8]) -> Sha256 {
    Sha256(tlog::sha256(bytes))
}

fn named(bytes: &[u8]) -> Attachment {
    Attachment {
        bytes: bytes.len() as u64,
        sha256: name(bytes),
    }
}

fn put(ledger: &Ledger, bytes: &[u8]) -> Result<ledger::StoredAttachment, AttachmentError> {
    ledger.put_attachment(name(bytes), &mut Cursor::new(bytes))
}

fn read(ledger: &Ledger, bytes: &[u8]) -> Option<Vec<u8>> {
    let OpenObject { mut reader, .. } = ledger.attachment(&name(bytes)).unwrap()?;
    let mut found = Vec::new();
    reader.read_to_end(&mut found).unwrap();
    Some(found)
}

#[test]
fn a_write_that_fails_is_not_acknowledged_and_can_be_made_again() {
    for (left, there) in [(Left::Nothing, false), (Left::All, true)] {
        let mut shaky = Shaky::new();
        let ledger = shaky.fixture.ledger.clone();
        shaky.faults.next(Step::Put, left);
        let failed = put(&ledger, b"kept").unwrap_err();
        assert!(matches!(failed, AttachmentError::Ledger(_)), "{failed}");
        assert_eq!(read(&ledger, b"kept").is_some(), there, "{left:?}");
        let again = put(&ledger, b"kept").unwrap();
        assert_eq!((again.bytes, again.fresh), (4, !there), "{left:?}");
        let draft = metric(1.0).attach("a", named(b"kept"));
        let batch = shaky.owner.write(draft).unwrap();
        shaky.acknowledge(batch);
        drop(ledger);
        shaky.crash();
        assert_eq!(read(&shaky.fixture.ledger, b"kept").unwrap(), b"kept");
        shaky.check();
    }
}

/// I13: what a failed sync left behind is not known.
#[test]
fn a_sync_that_fails_stops_the_ledger() {
    let mut shaky = Shaky::new();
    shaky.faults.next(Step::Put, Left::Unsynced);
    assert!(put(&shaky.fixture.ledger, b"lost").is_err());
    assert!(shaky.fixture.status().failed.is_some());
    let stopped = put(&shaky.fixture.ledger, b"lost").unwrap_err();
    assert!(
        stopped.to_string().contains("restart the server"),
        "{stopped}"
    );
    shaky.faults.heal();
    shaky.crash();
    put(&shaky.fixture.ledger, b"lost").unwrap();
    shaky.check();
}

/// Bytes, and then a failure.
struct Broken<R>(R);

impl<R: Read> Read for Broken<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            read => Ok(read),
        }
    }
}

#[test]
fn what_breaks_off_is_too_long_or_another_leaves_nothing() {
    let fixture = Fixture::new();
    let ledger = &fixture.ledger;
    let nothing_left = || {
        assert!(ledger.attachment(&name(b"whole")).unwrap().is_none());
        let tmp = std::fs::read_dir(fixture.dir.path().join("tmp")).unwrap();
        assert_eq!(tmp.count(), 0);
    };
    // All of its bytes came, and their end did not.
    let broken = ledger.put_attachment(name(b"whole"), &mut Broken(&b"whole"[..]));
    assert!(
        matches!(broken, Err(AttachmentError::Source(_))),
        "{broken:?}"
    );
    nothing_left();
    let long = ledger.put_attachment(
        name(b"whole"),
        &mut io::repeat(7).take(MAX_ATTACHMENT_BYTES + 1),
    );
    assert!(matches!(long, Err(AttachmentError::TooLarge)), "{long:?}");
    nothing_left();
    let other = ledger.put_attachment(name(b"whole"), &mut &b"other"[..]);
    match other {
        Err(AttachmentError::Mismatch { expected, found }) => {
            assert_eq!((expected, found), (name(b"whole"), name(b"other")));
        }
        other => panic!("{other:?}"),
    }
    nothing_left();
}

#[test]
fn an_attachment_that_was_lost_is_asked_for_again() {
    let fixture = Fixture::new();
    let mut owner = fixture.start_run("lost", 1);
    put(&fixture.ledger, b"first").unwrap();
    let sent = owner
        .write(metric(1.0).attach("a", named(b"first")))
        .unwrap();
    let receipts = fixture.append(sent.clone());
    // A server that starts knows nothing, and looks.
    let fixture = fixture.reopen();
    assert!(fixture.append(sent.clone())[0].duplicate);
    let file = fixture.dir.path().join("attachments");
    std::fs::remove_dir_all(file).unwrap();
    let fixture = fixture.reopen();
    let refused = fixture.submit(sent.clone()).unwrap_err();
    assert_eq!(refused.code.as_str(), "attachment-missing");
    assert_eq!(refused.line, Some(1));
    put(&fixture.ledger, b"first").unwrap();
    let again = fixture.append(sent);
    assert_eq!(
        (again[0].index, again[0].duplicate),
        (receipts[0].index, true)
    );
}

#[test]
fn a_bundle_has_the_attachments_that_are_there() {
    let fixture = Fixture::new();
    let mut owner = fixture.start_run("bundled", 1);
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    for bytes in [&b"one"[..], &large, b"three"] {
        put(&fixture.ledger, bytes).unwrap();
        let draft = metric(1.0).attach("a", named(bytes));
        fixture.append(owner.write(draft).unwrap());
    }
    // Another run's is not in it.
    let mut other = fixture.start_run("other", 2);
    put(&fixture.ledger, b"other").unwrap();
    let draft = metric(1.0).attach("a", named(b"other"));
    fixture.append(other.write(draft).unwrap());
    seal(&fixture, &mut owner);
    fixture.published();
    let run = owner.scope().run().unwrap();
    let bundle = |parts, attachments| {
        let mut bytes = Vec::new();
        let info = fixture.ledger.bundle(run, parts, &mut bytes).unwrap();
        assert_eq!(info.attachments, attachments);
        assert_eq!(info.bytes, bytes.len() as u64);
        let options = verify::Options::default();
        let policy = policy(&fixture.ledger);
        let report = verify::bundle::check::read("bundle", bytes.as_slice(), &policy, &options);
        let report = report.unwrap();
        assert_eq!(report.verdict(), Verdict::Verified, "{report}");
        assert_eq!(report.counts.attachments, 3);
        assert_eq!(report.counts.attachments_checked, attachments);
    };
    bundle(BundleParts::default(), 3);
    let without = BundleParts {
        attachments: false,
        ..BundleParts::default()
    };
    bundle(without, 0);
    let lost = name(b"three").to_string();
    let file = fixture.dir.path().join("attachments").join(&lost[..2]);
    std::fs::remove_file(file.join(&lost)).unwrap();
    bundle(BundleParts::default(), 2);
}

#[test]
fn a_ledger_that_has_ended_takes_none() {
    let fixture = Fixture::new();
    put(&fixture.ledger, b"before").unwrap();
    fixture.ledger.end(LedgerClosed::new()).unwrap();
    let refused = put(&fixture.ledger, b"after").unwrap_err();
    assert!(
        matches!(refused, AttachmentError::Ledger(LedgerError::Ended { .. })),
        "{refused}"
    );
    assert_eq!(read(&fixture.ledger, b"before").unwrap(), b"before");
}
