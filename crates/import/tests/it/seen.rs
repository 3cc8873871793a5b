//! Reads files and shows what becomes of them, as records and openings rather than as drafts.

use std::{collections::BTreeMap, io::Read, path::PathBuf, sync::Arc};

use import::{Format, Pseudonyms, Row, RowError, Settings, Source, rows};
use record::{
    Draft, Kind, ProducerName, Record, RunId, Scope, SigningKey, StreamName, StreamWriter,
};
use serde_json::Value;
use testkit::log::{SeededEntropy, StepClock};

/// A record without its envelope, its sealed values opened.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) kind: &'static str,
    pub(crate) body: Value,
    pub(crate) sealed: BTreeMap<String, Value>,
}

pub(crate) fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// The shared file, if this machine has it.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {name} of the shared data is not here");
    None
}

pub(crate) fn source(format: Format) -> Source {
    Source {
        format,
        dataset: "tests".to_owned(),
        file: "file.json".to_owned(),
        settings: Settings::None,
        pseudonyms: Pseudonyms::from_seed([7; 32]),
    }
}

pub(crate) fn read(reader: impl Read, format: Format) -> Vec<Result<Row, RowError>> {
    rows(reader, source(format)).unwrap().collect()
}

pub(crate) fn read_text(text: &str, format: Format) -> Vec<Result<Row, RowError>> {
    read(text.as_bytes(), format)
}

/// The drafts of all rows, in which there must be no error.
pub(crate) fn drafts(rows: Vec<Result<Row, RowError>>) -> Vec<Draft> {
    rows.into_iter()
        .flat_map(|row| row.unwrap().drafts)
        .collect()
}

/// Writes drafts into a stream and reads the records back, through every check of `record`.
pub(crate) fn written(drafts: Vec<Draft>) -> Vec<Seen> {
    let run = RunId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
    let mut stream = StreamWriter::open(
        Scope::Run(run),
        StreamName::parse("import").unwrap(),
        ProducerName::parse("importer").unwrap(),
        SigningKey::from_bytes(&[7; 32]),
        Arc::new(StepClock::new(10)),
        Arc::new(SeededEntropy::new(1)),
    );
    let mut seen = Vec::new();
    for draft in drafts {
        for submission in stream.write(draft).unwrap() {
            let record = submission.check().unwrap();
            let kind = record.kind().unwrap();
            if matches!(kind, Kind::StreamOpened | Kind::StreamSigned) {
                continue;
            }
            if kind.name().starts_with("annotation.") {
                assert_nothing_open(&record);
            }
            let openings = submission.openings.iter();
            seen.push(Seen {
                kind: kind.name(),
                body: serde_json::from_slice(record.body_bytes()).unwrap(),
                sealed: openings
                    .map(|(f, o)| (f.clone(), o.value.to_json()))
                    .collect(),
            });
        }
    }
    seen
}

/// Bodies of annotations hold only names, numbers and words that this crate puts there.
fn assert_nothing_open(record: &Record<'_>) {
    let body: BTreeMap<String, Value> = serde_json::from_slice(record.body_bytes()).unwrap();
    let allowed = [
        "annotator",
        "at",
        "category",
        "choice",
        "criterion",
        "duration_ms",
        "item",
        "ranks",
        "scale",
        "source",
        "target",
        "value",
    ];
    assert!(
        body.keys().all(|name| allowed.contains(&name.as_str())),
        "{body:?}"
    );
}
