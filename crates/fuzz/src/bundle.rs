//! Bundles: the frame, and what verification makes of it.

use std::num::NonZeroUsize;

use verify::bundle::{Reader, Writer};
use verify::{Options, Verdict};

use crate::example::{ENTRIES, POLICY_OF};

/// A bundle under the example's policy. What is found true is of the example's log.
pub fn bundle(data: &[u8]) {
    let records = frame(data);
    if matches!(verdict(data), Verdict::Verified | Verdict::Incomplete) {
        let records = records.expect("verified, and no bundle");
        for record in records {
            assert!(ENTRIES.contains(&record), "verified, and not in the log");
        }
    }
}

pub(crate) fn verdict(data: &[u8]) -> Verdict {
    let options = Options {
        threads: Some(NonZeroUsize::MIN),
        ..Options::default()
    };
    let report = verify::bundle::check::read("fuzz", data, &POLICY_OF, &options);
    report.expect("memory can always be read").verdict
}

/// Reads the frame and writes it again; gives its records.
fn frame(data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut reader = Reader::new(data).ok()?;
    let header = reader.header().clone();
    let mut again = Writer::begin(Vec::new(), &header).expect("a header as it was read");
    let mut records = Vec::new();
    while let Some(entry) = reader.next_entry().ok()? {
        again
            .entry(entry.index, &entry.record, &entry.openings)
            .expect("an entry as it was read");
        records.push(entry.record);
    }
    while let Some(attached) = reader.next_attachment().ok()? {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            match reader.piece(&mut piece).ok()? {
                0 => break,
                read => bytes.extend_from_slice(&piece[..read]),
            }
        }
        again
            .attachment(attached.sha256, attached.bytes, &mut bytes.as_slice())
            .expect("an attachment as it was read");
    }
    let again = again.finish().expect("as many entries as announced");
    assert!(again == data, "a bundle is written as read");
    Some(records)
}
