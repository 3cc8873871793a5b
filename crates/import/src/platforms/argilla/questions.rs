//! The questions of an Argilla data set: what may be answered, and on which scale.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::Misfit;
use crate::fields::{Fields, kind_of};

/// The questions of a data set, by name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Questions(BTreeMap<String, Question>);

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Question {
    /// Free text.
    Text,
    /// A whole number; the ends of the scale.
    Rating { min: f64, max: f64 },
    /// One of these words.
    Label(Vec<String>),
    /// Some of these words.
    Labels(Vec<String>),
    /// These words in an order.
    Ranking(Vec<String>),
    /// Parts of a field, each with one of these words.
    Spans { field: String, words: Vec<String> },
    /// One that this version does not know.
    Other,
}

impl Questions {
    /// Reads the `settings.json` that Argilla's client writes beside a data set's records.
    ///
    /// # Errors
    /// It is no such file.
    pub fn parse(settings: &[u8]) -> Result<Self, Misfit> {
        const EXPECTED: &str =
            "Argilla's settings.json, which `dataset.to_disk` or `settings.to_json` writes";
        let settings: Value = serde_json::from_slice(settings)
            .map_err(|error| Misfit::row(EXPECTED, format!("no JSON: {error}")))?;
        Self::of(&Fields::of_row(&settings)?)
    }

    /// The questions under `questions`, as settings and events both have them.
    pub(super) fn of(fields: &Fields<'_>) -> Result<Self, Misfit> {
        let list = fields.array("questions")?.iter().enumerate();
        let read = |(at, value): (usize, &Value)| {
            let question = Fields::of(value, &format!("{}[{at}]", fields.path("questions")))?;
            let name = question.text("name")?.to_owned();
            Ok((name, Question::read(&question.object("settings")?)?))
        };
        list.map(read).collect::<Result<_, Misfit>>().map(Self)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Question> {
        self.0.get(name)
    }
}

impl Question {
    fn read(settings: &Fields<'_>) -> Result<Self, Misfit> {
        Ok(match settings.text("type")? {
            "text" => Self::Text,
            "rating" => {
                let options = numbers(settings)?;
                let ends = options.iter().copied();
                let (min, max) = (
                    ends.clone().fold(f64::MAX, f64::min),
                    ends.fold(f64::MIN, f64::max),
                );
                if options.is_empty() {
                    return Err(Misfit::at(
                        settings.path("options"),
                        "two numbers or more",
                        "none",
                    ));
                }
                Self::Rating { min, max }
            }
            "label_selection" => Self::Label(words(settings)?),
            "multi_label_selection" => Self::Labels(words(settings)?),
            "ranking" => Self::Ranking(words(settings)?),
            "span" => Self::Spans {
                field: settings.text("field")?.to_owned(),
                words: words(settings)?,
            },
            _ => Self::Other,
        })
    }
}

fn words(settings: &Fields<'_>) -> Result<Vec<String>, Misfit> {
    let word = |fields: Fields<'_>| fields.text("value").map(str::to_owned);
    options(settings, word)
}

fn numbers(settings: &Fields<'_>) -> Result<Vec<f64>, Misfit> {
    options(settings, |fields| {
        let value = fields.any("value", "a number")?;
        value
            .as_f64()
            .ok_or_else(|| Misfit::at(fields.path("value"), "a number", kind_of(value)))
    })
}

fn options<T>(
    settings: &Fields<'_>,
    read: impl Fn(Fields<'_>) -> Result<T, Misfit>,
) -> Result<Vec<T>, Misfit> {
    let path = settings.path("options");
    let options = settings.array("options")?.iter().enumerate();
    options
        .map(|(at, value)| read(Fields::of(value, &format!("{path}[{at}]"))?))
        .collect()
}
