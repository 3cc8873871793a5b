//! The answers in a response, each by its question's type; and a record's fields, which are what was
//! asked about.

use record::kinds::{Choice, Scale};
use serde_json::{Value, json};

use super::questions::{Question, Questions};
use super::{is_uuid, words};
use crate::error::Misfit;
use crate::fields::{Fields, found, kind_of};
use crate::platforms::words::Role;
use crate::platforms::{
    Annotation, Judgement, Named, Says, bounded, one_or_named, place_rationale,
};

/// Answers by question.
type Given<'a> = Vec<(&'a str, &'a Value)>;

/// The judgements in answers by question.
///
/// # Errors
/// An answer that its question does not allow.
pub(super) fn judgements(
    given: &[(&str, &Value)],
    path: &Fields<'_>,
    record: &Fields<'_>,
    questions: &Questions,
) -> Result<Vec<Judgement>, Misfit> {
    let fields = record.object("fields")?;
    let mut said = Vec::new();
    let mut rationale = Vec::new();
    for (question, value) in given {
        let answer = Answer {
            question,
            value,
            path: path.path(question),
            fields: &fields,
        };
        answer.read(questions, &mut said, &mut rationale)?;
    }
    place_rationale(&mut said, rationale);
    bounded(said)
}

/// The annotations of a record as Argilla's client writes it: answers by question, each with who gave
/// it. Whether an answer was submitted or is a draft is not in there.
pub(super) fn by_person(
    record: &Fields<'_>,
    number: u64,
    questions: &Questions,
) -> Result<Vec<Annotation>, Misfit> {
    let responses = record.object("responses")?;
    let mut people: Vec<(Option<&str>, Given<'_>)> = Vec::new();
    for question in responses.names() {
        for (at, answer) in responses.array(question)?.iter().enumerate() {
            let path = format!("{}[{at}]", responses.path(question));
            let answer = Fields::of(answer, &path)?;
            let person = match answer.get("user_id") {
                // What Python writes where there is nobody.
                Some(Value::String(nobody)) if nobody == "None" => None,
                Some(_) => Some(answer.text("user_id")?),
                None => None,
            };
            let Some(value) = answer.get("value") else {
                continue;
            };
            match people.iter_mut().find(|(known, _)| *known == person) {
                Some((_, given)) => given.push((question, value)),
                None => people.push((person, vec![(question, value)])),
            }
        }
    }
    let own_id = record.get("_server_id").and_then(Value::as_str);
    let own_id = own_id.filter(|id| is_uuid(id));
    let of = own_id.map_or_else(|| format!("r{number}"), str::to_ascii_lowercase);
    let annotation = |(person, given): (Option<&str>, Given<'_>)| {
        Ok(Annotation {
            of: of.clone(),
            id: String::new(),
            annotator: person.map(Value::from),
            at: None,
            duration_ms: None,
            judgements: judgements(&given, &responses, record, questions)?,
        })
    };
    people.into_iter().map(annotation).collect()
}

struct Answer<'a> {
    question: &'a str,
    value: &'a Value,
    path: String,
    fields: &'a Fields<'a>,
}

impl Answer<'_> {
    fn read(
        &self,
        questions: &Questions,
        said: &mut Vec<Judgement>,
        rationale: &mut Named,
    ) -> Result<(), Misfit> {
        match (questions.get(self.question), self.value) {
            (Some(Question::Text) | None, Value::String(text)) => {
                said.extend(self.text(text, rationale));
            }
            (Some(Question::Rating { min, max }), _) => said.push(self.rating(*min, *max)?),
            (Some(Question::Label(words)), Value::String(word)) => {
                said.push(
                    self.choice(word, words)
                        .unwrap_or_else(|| self.finding(word, words)),
                );
            }
            (Some(Question::Labels(words)), Value::Array(list)) => {
                for word in list {
                    said.push(self.finding(self.as_text(word)?, words));
                }
            }
            (Some(Question::Ranking(words)), Value::Array(list)) => {
                said.push(self.ranking(list, words)?);
            }
            (Some(Question::Spans { field, words }), Value::Array(list)) => {
                for span in list {
                    said.push(self.span(span, field, words)?);
                }
            }
            (Some(Question::Other), other) => {
                let response = self.judged();
                said.push(self.finds("other".to_owned(), other.clone(), response));
            }
            (Some(_), other) => return Err(self.misfit("an answer of its question's type", other)),
            (None, other) => {
                let expected =
                    "a text, or Argilla's settings.json with --settings, which says what was asked";
                return Err(self.misfit(expected, other));
            }
        }
        Ok(())
    }

    fn text(&self, text: &str, rationale: &mut Named) -> Option<Judgement> {
        if text.is_empty() {
            return None;
        }
        let said = Value::from(text);
        let says = match words::role(self.question) {
            Role::Rationale => {
                rationale.push((self.question.to_owned(), said));
                return None;
            }
            Role::Correction => Says::Corrects {
                corrected: said,
                original: self.judged(),
            },
            Role::Demonstration => Says::Shows { response: said },
            Role::Remark => Says::Finds {
                category: words::category(self.question),
                target: None,
                critique: said,
                response: self.judged(),
            },
        };
        Some(self.judgement(says))
    }

    fn rating(&self, min: f64, max: f64) -> Result<Judgement, Misfit> {
        let value = self
            .value
            .as_f64()
            .filter(|value| (min..=max).contains(value));
        let expected = format!("a number on the question's scale, {min} to {max}");
        let value = value.ok_or_else(|| self.misfit(&expected, self.value))?;
        Ok(self.judgement(Says::Rates {
            scale: Scale::new(min, max),
            value,
            response: self.judged().unwrap_or(Value::Null),
        }))
    }

    /// A choice between two words that both name a field is one between what these fields hold.
    fn choice(&self, word: &str, words: &[String]) -> Option<Judgement> {
        let [a, b] = words else { return None };
        let choice = match word {
            word if word == a => Choice::A,
            word if word == b => Choice::B,
            _ => return None,
        };
        let (a, b) = (self.fields.get(a)?.clone(), self.fields.get(b)?.clone());
        Some(self.judgement(Says::Prefers { choice, a, b }))
    }

    fn finding(&self, word: &str, words: &[String]) -> Judgement {
        self.finds(category(word, words), word.into(), self.judged())
    }

    /// Words in an order, or with ranks; equal ranks are ties.
    fn ranking(&self, list: &[Value], words: &[String]) -> Result<Judgement, Misfit> {
        let expected = "2 to 256 of the question's words, best first or with ranks";
        let misfit = || self.misfit(expected, self.value);
        let mut ranks = vec![None; words.len()];
        for (at, entry) in list.iter().enumerate() {
            let (word, rank) = match entry {
                Value::String(word) => (word.as_str(), None),
                entry => {
                    let entry = Fields::of(entry, &self.path)?;
                    (
                        entry.text("value")?,
                        entry.get("rank").and_then(Value::as_i64),
                    )
                }
            };
            let place = words
                .iter()
                .position(|known| known == word)
                .ok_or_else(misfit)?;
            let rank = rank.unwrap_or_else(|| i64::try_from(at + 1).unwrap_or(i64::MAX));
            if !(1..=10_000).contains(&rank) {
                return Err(misfit());
            }
            if ranks[place].replace(rank).is_some() {
                return Err(misfit());
            }
        }
        // In the order of the question: that of the ranks would give them away.
        let ranked = words
            .iter()
            .zip(ranks)
            .filter_map(|(word, rank)| Some((word, rank?)));
        let (responses, ranks): (Vec<Value>, Vec<i64>) = ranked
            .map(|(word, rank)| {
                (
                    self.fields
                        .get(word)
                        .cloned()
                        .unwrap_or_else(|| word.as_str().into()),
                    rank,
                )
            })
            .unzip();
        if !(2..=256).contains(&ranks.len()) {
            return Err(misfit());
        }
        Ok(self.judgement(Says::Ranks { ranks, responses }))
    }

    fn span(&self, span: &Value, field: &str, words: &[String]) -> Result<Judgement, Misfit> {
        let span = Fields::of(span, &self.path)?;
        let word = span.text("label")?;
        let critique = json!({
            "start": span.count("start")?, "end": span.count("end")?, "label": word,
        });
        let response = self.fields.get(field).cloned();
        let mut judgement = self.finds(category(word, words), critique, response);
        if let Says::Finds { target, .. } = &mut judgement.says {
            *target = Some(field.to_owned());
        }
        Ok(judgement)
    }

    fn finds(&self, category: String, critique: Value, response: Option<Value>) -> Judgement {
        self.judgement(Says::Finds {
            category,
            target: None,
            critique,
            response,
        })
    }

    fn judgement(&self, says: Says) -> Judgement {
        let prompt = self.split().0;
        Judgement {
            criterion: self.question.to_owned(),
            prompt: one_or_named(prompt),
            rationale: None,
            says,
        }
    }

    /// What is judged: the field that the question's name names, or all that are no prompts.
    fn judged(&self) -> Option<Value> {
        let question = self.question.to_lowercase();
        let (prompts, others) = self.split();
        let named: Vec<_> = others
            .iter()
            .filter(|(name, _)| question.contains(&name.to_lowercase()))
            .collect();
        match named[..] {
            [(_, value)] => Some(value.clone()),
            _ if others.is_empty() => one_or_named(prompts),
            _ => one_or_named(others),
        }
    }

    /// The record's fields: those that are prompts by their name, and the others.
    fn split(&self) -> (Named, Named) {
        let all = self.fields.names();
        let all = all.filter_map(|name| Some((name.to_owned(), self.fields.get(name)?.clone())));
        all.partition(|(name, _)| words::is_prompt(name))
    }

    fn as_text<'v>(&self, value: &'v Value) -> Result<&'v str, Misfit> {
        value
            .as_str()
            .ok_or_else(|| self.misfit("a list of texts", value))
    }

    fn misfit(&self, expected: &str, seen: &Value) -> Misfit {
        let seen = if seen.is_number() {
            found(seen)
        } else {
            kind_of(seen).to_owned()
        };
        Misfit::at(&self.path, expected, seen)
    }
}

/// A word that the question offers is a category; any other may be anything, and is sealed.
fn category(word: &str, offered: &[String]) -> String {
    let own = offered.iter().any(|known| known == word);
    words::category(if own { word } else { "other" })
}
