//! Golden files: one record of each kind as it was first logged. They are never changed, only
//! added to; whatever reads records has to read these for ever.

use std::collections::BTreeMap;
use std::path::PathBuf;

use record::*;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn hashes() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(directory().join("leaf-hashes.txt")).unwrap();
    text.lines()
        .map(|line| {
            let (hash, name) = line.split_once("  ").unwrap();
            (name.to_owned(), hash.to_owned())
        })
        .collect()
}

/// Each kind in each of its versions, and the file it has.
fn files() -> Vec<(Kind, u16, String)> {
    let file = |(kind, version)| match version {
        1 => (kind, version, format!("{kind}.json")),
        _ => (kind, version, format!("{kind}.v{version}.json")),
    };
    Kind::all_versions().map(file).collect()
}

#[test]
fn every_kind_has_one_and_it_reads() {
    let hashes = hashes();
    let all = files();
    for (kind, version, name) in &all {
        let bytes = std::fs::read(directory().join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}; add a record of the new kind"));
        let record = Record::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(record.kind(), Some(*kind));
        assert_eq!(record.version(), *version, "{name}");
        assert_eq!(record.leaf_hash().to_string(), hashes[name], "{name}");
        assert_eq!(record.bytes(), bytes);
    }
    assert_eq!(hashes.len(), all.len());
}

/// Nothing is lost between bytes, typed body and bytes.
#[test]
fn typed_bodies_hold_everything() {
    macro_rules! round_trip {
        ($record:expr, $($kind:ident)*) => {
            match $record.kind().unwrap() {
                $(Kind::$kind => {
                    let body: kinds::$kind = $record.decode().unwrap();
                    canonical::to_vec(&body).unwrap()
                })*
            }
        };
    }
    for (kind, _, name) in files() {
        let bytes = std::fs::read(directory().join(name)).unwrap();
        let record = Record::parse(&bytes).unwrap();
        let body = round_trip!(record,
            RunStarted RunDescribed RunSealed StreamOpened StreamSigned ProducerEnrolled
            ExperimentRegistered DatasetRegistered
            GuidelineRegistered ConsentRecorded AnnotationPreference AnnotationRating
            AnnotationRanking AnnotationCorrection AnnotationCritique AnnotationDemonstration
            AnnotationSuperseded AnnotationWithdrawn RewardScored PolicyUpdated ModelCheckpoint
            MetricLogged MetricDiverged ArtifactLogged EvaluationCompleted OversightApproved OversightRejected OversightStopped
            FindingRaised DocumentIssued AccessRead AccessChanged IncidentReported KeyRotated LedgerContinued LedgerClosed
        );
        assert_eq!(
            String::from_utf8(body).unwrap().as_bytes(),
            record.body_bytes(),
            "{kind}"
        );
    }
}
