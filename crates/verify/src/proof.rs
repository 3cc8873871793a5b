//! One record and a C2SP tlog-proof of it.

use record::{Record, RecordError};
use tlog::{Policy, TlogProof, leaf_hash};

use crate::meaning::locate;
use crate::report::{Check, Failure, Report, Subject};
use crate::trust;

/// Checks that `record` (its exact bytes) is in a log that `policy` accepts, as `proof` (the text
/// of a `.tlog-proof` file) says. `name` is what the report calls it.
///
/// Every answer is in the report: a proof that cannot be read is a failure too.
pub fn proof(name: &str, proof: &[u8], record: &[u8], policy: &Policy) -> Report {
    let mut report = Report::new(Subject::Proof, name);
    let leaf = leaf_hash(record);
    report.counts.entries = 1;
    report.counts.bytes = record.len() as u64;
    let outcome =
        TlogProof::parse(proof).and_then(|proof| Ok((proof.verify(&leaf, policy)?, proof)));
    let index = match outcome {
        Ok((verified, proof)) => {
            trust::accept(verified, proof.checkpoint.as_bytes(), &mut report);
            Some(proof.index.get())
        }
        Err(error) => {
            report.fail(locate(
                Failure::new(
                    Check::Inclusion,
                    format!("a proof that the record with leaf hash {leaf} is in the log"),
                    error.to_string(),
                ),
                record,
            ));
            None
        }
    };
    match Record::parse(record) {
        Ok(parsed) => {
            report.counts.records = 1;
            report.counts.commitments = parsed.sealed().count() as u64;
            report.run = parsed.scope().run().map(|run| run.to_string());
        }
        Err(RecordError::UnknownKind { kind }) => {
            report.counts.unknown.insert(kind, 1);
        }
        Err(RecordError::UnknownVersion { kind, version, .. }) => {
            report
                .counts
                .unknown
                .insert(format!("{kind} v{version}"), 1);
        }
        Err(error) => {
            let failure = Failure::new(
                Check::Record,
                "a canonical record that fits the schema of its kind",
                error.to_string(),
            );
            let failure = locate(failure, record);
            report.fail(match index {
                Some(index) => failure.at(index),
                None => failure,
            });
        }
    }
    report.finish()
}
