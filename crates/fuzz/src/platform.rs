//! What annotation platforms deliver and export: whatever is understood can be recorded.

use std::sync::Arc;

use import::platforms::{Annotation, Event, Known, argilla, label_studio};
use import::{Format, Pseudonyms, Settings, Source, rows};
use record::{
    Clock, Draft, Entropy, ProducerName, Pseudonym, Record, RunId, Scope, SigningKey, StreamName,
    StreamWriter, Timestamp,
};

/// The most bytes in the clear: what people wrote is longer, and sealed.
const MAX_CLEAR: usize = 8 * 1024;

/// A delivery's body; or the rows of an export, with its settings and an empty line before them.
pub fn platform(data: &[u8]) {
    records(data);
}

/// How many records there were.
fn records(data: &[u8]) -> usize {
    let mut count = 0;
    if let Ok(payload) = serde_json::from_slice(data) {
        for event in [label_studio::event(&payload), argilla::event(&payload)] {
            if let Ok(Event::Stands(annotations)) = event {
                count += annotations.iter().map(delivered).sum::<usize>();
            }
        }
    }
    let empty = data.windows(2).position(|two| two == b"\n\n");
    let (settings, data) = match empty {
        Some(at) => (Some(&data[..at]), &data[at + 2..]),
        None => (None, data),
    };
    for format in [Format::LabelStudio, Format::Argilla] {
        let settings = settings.map_or(Ok(Settings::None), |bytes| format.settings(bytes));
        if let Ok(settings) = settings {
            count += exported(format, settings, data);
        }
    }
    count
}

fn delivered(annotation: &Annotation) -> usize {
    let known = Known {
        annotator: Some(Pseudonym::generate(&Ones)),
        late: None,
        source: &|_| None,
    };
    let Ok(drafts) = annotation.drafts(&known) else {
        return 0;
    };
    assert_eq!(drafts.len(), annotation.judgements.len());
    recorded(drafts)
}

fn exported(format: Format, settings: Settings, data: &[u8]) -> usize {
    let source = Source {
        format,
        dataset: "feedback".to_owned(),
        file: "-".to_owned(),
        settings,
        pseudonyms: Pseudonyms::from_seed([1; 32]),
    };
    let Ok(rows) = rows(data, source) else {
        return 0;
    };
    recorded(rows.flatten().flat_map(|row| row.drafts).collect())
}

/// Each draft becomes a record.
fn recorded(drafts: Vec<Draft>) -> usize {
    let count = drafts.len();
    if count == 0 {
        return 0;
    }
    let run = Scope::Run(RunId::generate(&Noon, &Ones));
    let producer = ProducerName::parse("fuzz").expect("a name");
    let mut writer = StreamWriter::open(
        run,
        StreamName::SERVER,
        producer,
        SigningKey::from_bytes(&[1; 32]),
        Arc::new(Noon),
        Arc::new(Ones),
    );
    for draft in drafts {
        let kind = draft.kind();
        let submissions = writer.write(draft).expect("what was understood is written");
        let last = submissions.last().expect("a record of its own");
        let record = Record::parse(&last.record).expect("what is written is read");
        assert!(record.is(kind), "another kind than its draft");
        assert!(last.record.len() < MAX_CLEAR, "too much in the clear");
    }
    count
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000_000)
    }
}

struct Ones;

impl Entropy for Ones {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(1);
    }
}

/// The corpus is understood; else the target would watch for what never comes.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_and_exports_are_understood() {
        macro_rules! corpus {
            ($name:literal) => {
                records(include_bytes!(concat!(
                    "../../../fuzz/corpus/platform/",
                    $name
                )))
            };
        }
        assert_eq!(corpus!("label-studio-created"), 2);
        assert_eq!(corpus!("label-studio-many"), 10);
        assert_eq!(corpus!("label-studio-export"), 10);
        assert_eq!(corpus!("label-studio-export-min"), 7);
        assert_eq!(corpus!("argilla-created"), 2);
        assert_eq!(corpus!("argilla-export"), 9);
        assert_eq!(corpus!("argilla-api"), 1);
    }
}
