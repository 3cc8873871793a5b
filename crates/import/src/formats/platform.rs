//! label-studio, argilla: a row is what people said of one thing, each of them under a pseudonym.

use record::Draft;
use serde_json::Value;

use super::{Place, Settings};
use crate::error::Misfit;
use crate::platforms::argilla::{self, Questions};
use crate::platforms::label_studio::{self, Interface};
use crate::platforms::{Annotation, Known};

pub(super) fn label_studio(row: &Value, place: &Place<'_>) -> Result<Vec<Draft>, Misfit> {
    let unknown = Interface::default();
    let interface = match place.settings {
        Settings::LabelStudio(interface) => interface,
        _ => &unknown,
    };
    drafts(&label_studio::row(row, interface)?, place)
}

pub(super) fn argilla(row: &Value, place: &Place<'_>) -> Result<Vec<Draft>, Misfit> {
    let unknown = Questions::default();
    let questions = match place.settings {
        Settings::Argilla(questions) => questions,
        _ => &unknown,
    };
    drafts(&argilla::row(row, place.row, questions)?, place)
}

fn drafts(annotations: &[Annotation], place: &Place<'_>) -> Result<Vec<Draft>, Misfit> {
    let mut drafts = Vec::new();
    for annotation in annotations {
        let pseudonym = annotation
            .annotator
            .as_ref()
            .map(|id| place.pseudonyms.of(id));
        let before = drafts.len();
        drafts.extend(annotation.drafts(&Known {
            annotator: pseudonym,
            late: None,
            source: &|number| Some(place.source(Some(before + number))),
        })?);
    }
    Ok(drafts)
}
