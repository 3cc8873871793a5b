//! The results of one Label Studio annotation, each by its type.

use record::kinds::{Choice, Scale};
use serde_json::{Value, json};

use super::interface::{Control, Interface};
use crate::error::Misfit;
use crate::fields::{Fields, found, kind_of};
use crate::platforms::words::{self, Role};
use crate::platforms::{Judgement, Named, Says, bounded, one_or_named, place_rationale};

/// What is said of who gives no interface where one is needed.
const NEEDS_INTERFACE: &str =
    "a control of the labeling interface; give the interface's XML with --settings";

/// The judgements in `results`, a list as Label Studio writes it.
///
/// # Errors
/// A result that is not of its type's form.
pub(super) fn judgements(
    results: &[Value],
    path: &str,
    data: &Value,
    interface: &Interface,
) -> Result<Vec<Judgement>, Misfit> {
    let mut said = Vec::new();
    let mut rationale = Vec::new();
    for (at, result) in results.iter().enumerate() {
        let fields = Fields::of(result, &format!("{path}[{at}]"))?;
        let one = Answer {
            control: name(&fields)?,
            kind: fields.text("type")?,
            fields,
            data,
            interface,
        };
        one.read(&mut said, &mut rationale)?;
    }
    place_rationale(&mut said, rationale);
    bounded(said)
}

/// The control's name; relations between regions have none.
fn name<'a>(fields: &Fields<'a>) -> Result<&'a str, Misfit> {
    match fields.get("from_name") {
        None => Ok("relation"),
        Some(_) => fields.text("from_name"),
    }
}

struct Answer<'a> {
    control: &'a str,
    kind: &'a str,
    fields: Fields<'a>,
    data: &'a Value,
    interface: &'a Interface,
}

impl<'a> Answer<'a> {
    fn read(&self, said: &mut Vec<Judgement>, rationale: &mut Named) -> Result<(), Misfit> {
        match self.kind {
            "pairwise" => said.extend(self.pairwise()?),
            "rating" | "number" if self.control().is_some_and(|it| it.scale.is_some()) => {
                said.extend(self.rating()?);
            }
            "rating" => return Err(self.needs_interface()),
            "ranker" => self.ranker(said)?,
            "choices" => self.words("choices", said)?,
            "textarea" => self.text(said, rationale)?,
            kind if kind.ends_with("labels") => self.words(kind, said)?,
            _ => said.push(self.other()),
        }
        Ok(())
    }

    /// `{"selected": "left"}`: of the two objects that the interface compares.
    fn pairwise(&self) -> Result<Option<Judgement>, Misfit> {
        const EXPECTED: &str = "left or right";
        let value = self.fields.object("value")?;
        let choice = match value.any("selected", EXPECTED)? {
            Value::String(side) if side == "left" => Choice::A,
            Value::String(side) if side == "right" => Choice::B,
            // What was selected and deselected again.
            Value::Null => return Ok(None),
            other => return Err(Misfit::at(value.path("selected"), EXPECTED, kind_of(other))),
        };
        let Some([left, right]) = self.control().map(|it| &it.about[..]) else {
            return Err(self.needs_interface());
        };
        let says = Says::Prefers {
            choice,
            a: self.needed(left)?,
            b: self.needed(right)?,
        };
        let about = [left.clone(), right.clone()];
        Ok(Some(self.judgement(says, &about)))
    }

    /// `{"rating": 4}`, `{"number": 40}`: on the scale that the interface has.
    fn rating(&self) -> Result<Option<Judgement>, Misfit> {
        const EXPECTED: &str = "a number on the interface's scale";
        let value = self.fields.object("value")?;
        let rating = value.any(self.kind, EXPECTED)?;
        let (min, max) = self.control().and_then(|it| it.scale).unwrap_or((1.0, 5.0));
        match rating.as_f64() {
            // No star is no rating.
            Some(0.0) if self.kind == "rating" => Ok(None),
            Some(number) if (min..=max).contains(&number) => {
                let object = self.object()?;
                let says = Says::Rates {
                    scale: Scale::new(min, max),
                    value: number,
                    response: self.needed(&object)?,
                };
                Ok(Some(self.judgement(says, &[object])))
            }
            _ => {
                let expected = format!("{EXPECTED}, {min} to {max}");
                Err(Misfit::at(value.path(self.kind), expected, found(rating)))
            }
        }
    }

    /// `{"ranker": ["b", "a"]}`, the same under the control's name, or items by bucket.
    fn ranker(&self, said: &mut Vec<Judgement>) -> Result<(), Misfit> {
        const EXPECTED: &str = "a list of items' ids, or such lists by bucket";
        let value = self.fields.object("value")?;
        let ranker = value.any("ranker", EXPECTED)?;
        let path = value.path("ranker");
        let object = self.object()?;
        let items = self.needed(&object)?;
        let items = items
            .as_array()
            .ok_or_else(|| Misfit::at("data", "a list of items with ids", kind_of(&items)))?;
        match ranker {
            Value::Array(order) => said.push(self.ranking(order, items, &path, object)?),
            Value::Object(named) => match named.iter().next() {
                Some((name, Value::Array(order))) if named.len() == 1 && name == self.control => {
                    said.push(self.ranking(order, items, &path, object)?);
                }
                _ => self.buckets(ranker, items, &path, said)?,
            },
            other => return Err(Misfit::at(path, EXPECTED, kind_of(other))),
        }
        Ok(())
    }

    fn ranking(
        &self,
        order: &[Value],
        items: &[Value],
        path: &str,
        object: String,
    ) -> Result<Judgement, Misfit> {
        let expected = "the ids of 2 to 256 different items of the task, best first";
        let misfit = || Misfit::at(path, expected, "another list");
        let mut places = Vec::with_capacity(order.len());
        for id in order {
            let at = items.iter().position(|item| item.get("id") == Some(id));
            places.push(at.ok_or_else(misfit)?);
        }
        let mut sorted = places.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != places.len() || !(2..=256).contains(&sorted.len()) {
            return Err(misfit());
        }
        // In the order of the task: that of the ranks would give them away.
        let rank = |at: &usize| {
            let place = places.iter().position(|place| place == at).unwrap_or(0);
            // At most 256.
            i64::try_from(place + 1).unwrap_or(i64::MAX)
        };
        let says = Says::Ranks {
            ranks: sorted.iter().map(rank).collect(),
            responses: sorted.iter().map(|at| items[*at].clone()).collect(),
        };
        Ok(self.judgement(says, &[object]))
    }

    fn buckets(
        &self,
        buckets: &Value,
        items: &[Value],
        path: &str,
        said: &mut Vec<Judgement>,
    ) -> Result<(), Misfit> {
        let buckets = Fields::of(buckets, path)?;
        for name in buckets.names() {
            // What was moved to no bucket.
            if name == "_" {
                continue;
            }
            for id in buckets.array(name)? {
                let item = items.iter().find(|item| item.get("id") == Some(id));
                let says = Says::Finds {
                    category: self.word(name),
                    target: None,
                    critique: json!({ "bucket": name, "item": id }),
                    response: item.cloned(),
                };
                said.push(self.judgement(says, &[]));
            }
        }
        Ok(())
    }

    /// `{"choices": ["toxic"]}`, `{"start": 3, "end": 9, "labels": ["wrong"]}`: a finding for each word.
    fn words(&self, member: &str, said: &mut Vec<Judgement>) -> Result<(), Misfit> {
        let value = self.fields.object("value")?;
        let whole = self.fields.any("value", "an object")?;
        let object = self.object()?;
        for word in value.array(member)? {
            let word = word
                .as_str()
                .ok_or_else(|| Misfit::at(value.path(member), "a list of texts", kind_of(word)))?;
            let critique = if member == "choices" {
                word.into()
            } else {
                whole.clone()
            };
            let says = Says::Finds {
                category: self.word(word),
                target: Some(object.clone()),
                critique,
                response: self.shown(&object),
            };
            said.push(self.judgement(says, std::slice::from_ref(&object)));
        }
        Ok(())
    }

    /// `{"text": ["…"]}`: a correction, a demonstration, a rationale or a remark.
    fn text(&self, said: &mut Vec<Judgement>, rationale: &mut Named) -> Result<(), Misfit> {
        let value = self.fields.object("value")?;
        let text = value.any("text", "a list of texts")?;
        let text = match text {
            Value::Array(texts) => match &texts[..] {
                [] => return Ok(()),
                [one] => one.clone(),
                several => Value::from(several.to_vec()),
            },
            text => text.clone(),
        };
        let texts_only = match &text {
            Value::String(text) if text.is_empty() => return Ok(()),
            Value::String(_) => true,
            Value::Array(texts) => texts.iter().all(Value::is_string),
            _ => false,
        };
        if !texts_only {
            return Err(Misfit::at(
                value.path("text"),
                "a list of texts",
                kind_of(&text),
            ));
        }
        let object = self.object()?;
        let filled = self.control().and_then(|it| it.filled.as_ref());
        let original = filled.and_then(|place| place.of(self.data).cloned());
        let says = match (words::role(self.control), filled) {
            (Role::Rationale, _) => {
                rationale.push((self.control.to_owned(), text));
                return Ok(());
            }
            (_, Some(_)) => Says::Corrects {
                corrected: text,
                original,
            },
            (Role::Correction, None) => Says::Corrects {
                corrected: text,
                original: self.shown(&object),
            },
            (Role::Demonstration, None) => Says::Shows { response: text },
            // What is written under a prompt answers it, whatever its field is called.
            (Role::Remark, None) if words::is_prompt(&object) => Says::Shows { response: text },
            (Role::Remark, None) => Says::Finds {
                category: words::category(self.control),
                target: Some(object.clone()),
                critique: text,
                response: self.shown(&object),
            },
        };
        // A demonstration's prompt is what it was written under.
        let about = if matches!(says, Says::Shows { .. }) {
            vec![]
        } else {
            vec![object]
        };
        said.push(self.judgement(says, &about));
        Ok(())
    }

    /// Whatever else annotators can say is kept as it is.
    fn other(&self) -> Judgement {
        let critique = match self.fields.get("value") {
            Some(value) => value.clone(),
            None => self.fields.whole(),
        };
        let says = Says::Finds {
            category: words::category(self.kind),
            target: None,
            critique,
            response: None,
        };
        self.judgement(says, &[])
    }

    fn judgement(&self, says: Says, about: &[String]) -> Judgement {
        let beside = self.interface.shown_beside(about, self.data);
        // Beside several things that are judged one by one stands what they have in common.
        let prompts: Vec<_> = beside
            .iter()
            .filter(|(name, _)| words::is_prompt(name))
            .cloned()
            .collect();
        let prompt = one_or_named(if prompts.is_empty() { beside } else { prompts });
        Judgement {
            criterion: self.control.to_owned(),
            prompt,
            rationale: None,
            says,
        }
    }

    fn control(&self) -> Option<&'a Control> {
        self.interface.control(self.control)
    }

    /// A word of the interface's own as a category; any other may be anything, and is sealed.
    fn word(&self, word: &str) -> String {
        let own = self.control().is_some_and(|it| it.words.contains(word));
        if own {
            words::category(word)
        } else {
            words::category(self.kind)
        }
    }

    /// What the control is about: the first, where there are several.
    fn object(&self) -> Result<String, Misfit> {
        match self.control().and_then(|it| it.about.first()) {
            Some(name) => Ok(name.clone()),
            None => self.fields.text("to_name").map(str::to_owned),
        }
    }

    fn shown(&self, object: &str) -> Option<Value> {
        self.interface.shown(object, self.data).cloned()
    }

    fn needed(&self, object: &str) -> Result<Value, Misfit> {
        self.shown(object).ok_or_else(|| {
            let expected = format!("what `{object}` of the labeling interface shows");
            Misfit::at("data", expected, "no such field")
        })
    }

    fn needs_interface(&self) -> Misfit {
        Misfit::at(
            self.fields.path("from_name"),
            NEEDS_INTERFACE,
            "none of that name",
        )
    }
}
