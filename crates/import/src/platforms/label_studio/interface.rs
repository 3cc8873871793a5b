//! Label Studio's labeling interface: which controls there are, what they are about, and where in a
//! task that stands. It is the XML under Settings, Labeling Interface, Code; webhooks bring it along.

use std::collections::{BTreeMap, BTreeSet};

use roxmltree::{Document, Node};
use serde_json::Value;

use crate::error::Misfit;
use crate::platforms::Named;
use crate::platforms::words::is_prompt;

/// The most bytes of an interface: what people write by hand is a thousandth of it.
const MAX_BYTES: usize = 4 << 20;
/// The scale of a `Rating` that says nothing else.
const DEFAULT_STARS: f64 = 5.0;

/// A labeling interface.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Interface {
    controls: BTreeMap<String, Control>,
    /// Name and place in the task, in the order of the interface.
    objects: Vec<(String, Place)>,
}

/// Something that annotators answer with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Control {
    /// The type of its results: its tag in lower case.
    pub(super) kind: String,
    /// The names of what it is about.
    pub(super) about: Vec<String>,
    /// The words that the interface itself offers.
    pub(super) words: BTreeSet<String>,
    /// What it is filled with before anybody answers.
    pub(super) filled: Option<Place>,
    /// The ends of its scale.
    pub(super) scale: Option<(f64, f64)>,
}

/// Where in a task's data something stands: `$texts[0].body` is `texts`, `0`, `body`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place(Vec<String>);

impl Interface {
    /// Reads an interface.
    ///
    /// # Errors
    /// It is no XML, or too large.
    pub fn parse(xml: &str) -> Result<Self, Misfit> {
        const EXPECTED: &str = "a labeling interface: XML whose root is <View>";
        let misfit = |found: String| Misfit::at("label_config", EXPECTED, found);
        if xml.len() > MAX_BYTES {
            return Err(misfit(format!("{} bytes, over {MAX_BYTES}", xml.len())));
        }
        let document = Document::parse(xml).map_err(|error| misfit(error.to_string()))?;
        let mut interface = Self::default();
        for node in document.descendants().filter(Node::is_element) {
            let Some(name) = node.attribute("name") else {
                continue;
            };
            let place = node.attribute("value").and_then(Place::parse);
            if let Some(about) = node.attribute("toName") {
                let control = Control::read(&node, about, place);
                interface.controls.insert(name.to_owned(), control);
            } else if let Some(place) = place {
                interface.objects.push((name.to_owned(), place));
            }
        }
        Ok(interface)
    }

    pub(super) fn control(&self, name: &str) -> Option<&Control> {
        self.controls.get(name)
    }

    pub(super) fn controls(&self) -> impl Iterator<Item = (&str, &Control)> {
        self.controls
            .iter()
            .map(|(name, control)| (name.as_str(), control))
    }

    /// What the object `name` shows of a task. An interface that is not known is taken to show each
    /// field under its own name.
    pub(super) fn shown<'d>(&self, name: &str, data: &'d Value) -> Option<&'d Value> {
        let place = self.objects.iter().find(|(object, _)| object == name);
        match place {
            Some((_, place)) => place.of(data),
            None if self.objects.is_empty() => data.get(name),
            None => None,
        }
    }

    /// All that the interface shows beside the objects named, by name; of one that is not known, the
    /// fields whose names say that they are prompts.
    pub(super) fn shown_beside(&self, named: &[String], data: &Value) -> Named {
        if self.objects.is_empty() {
            let fields = data.as_object().into_iter().flatten();
            return fields
                .filter(|(name, _)| is_prompt(name) && !named.contains(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
        }
        let beside = self
            .objects
            .iter()
            .filter(|(name, _)| !named.contains(name));
        beside
            .filter_map(|(name, place)| Some((name.clone(), place.of(data)?.clone())))
            .collect()
    }
}

impl Control {
    fn read(node: &Node<'_, '_>, about: &str, filled: Option<Place>) -> Self {
        let number = |name: &str| {
            node.attribute(name)?
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite())
        };
        let scale = match node.tag_name().name() {
            "Rating" => Some((1.0, number("maxRating").unwrap_or(DEFAULT_STARS))),
            _ => number("min").zip(number("max")),
        };
        let mut words = BTreeSet::new();
        for child in node.descendants().skip(1).filter(Node::is_element) {
            // A value that stands in the task is the task's, not the interface's.
            let own = |text: &&str| !text.starts_with('$');
            words.extend(child.attribute("value").filter(own).map(str::to_owned));
            words.extend(child.attribute("alias").filter(own).map(str::to_owned));
            words.extend(child.attribute("name").map(str::to_owned));
        }
        Self {
            kind: node.tag_name().name().to_lowercase(),
            about: about
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect(),
            words,
            filled,
            scale,
        }
    }
}

impl Place {
    /// From `$field`, `$field.member` or `$list[0]`; none for a text that stands in the interface.
    fn parse(value: &str) -> Option<Self> {
        let path = value.strip_prefix('$')?;
        let steps = path
            .split(['.', '['])
            .map(|step| step.trim_end_matches(']').to_owned());
        let steps: Vec<String> = steps.collect();
        steps
            .iter()
            .all(|step| !step.is_empty())
            .then_some(Self(steps))
    }

    pub(super) fn of<'d>(&self, data: &'d Value) -> Option<&'d Value> {
        // A field may have a dot in its name.
        data.get(self.0.join(".")).or_else(|| {
            self.0.iter().try_fold(data, |value, step| match value {
                Value::Array(list) => list.get(step.parse::<usize>().ok()?),
                other => other.get(step),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_interface_says_what_is_shown_and_asked() {
        let interface = Interface::parse(
            r#"<View>
                 <Text name="p" value="$dialog[0].content"/><Text name="a" value="$a.text"/>
                 <Header value="Stars"/>
                 <Rating name="stars" toName="a" maxRating="7"/>
                 <Choices name="flags" toName="a"><Choice value="toxic"/><Choice value="$dynamic"/></Choices>
                 <Number name="score" toName="a" min="0" max="100"/>
               </View>
               <!-- {"data": {}} -->"#,
        )
        .unwrap();
        let data = json!({ "dialog": [{ "content": "Hello?" }], "a.text": "Hi.", "a": 1 });
        assert_eq!(interface.shown("p", &data), Some(&json!("Hello?")));
        assert_eq!(interface.shown("a", &data), Some(&json!("Hi.")));
        assert_eq!(interface.shown("q", &data), None);
        let beside = interface.shown_beside(&["a".to_owned()], &data);
        assert_eq!(beside, [("p".to_owned(), json!("Hello?"))]);
        assert_eq!(interface.control("stars").unwrap().scale, Some((1.0, 7.0)));
        assert_eq!(
            interface.control("score").unwrap().scale,
            Some((0.0, 100.0))
        );
        let words = &interface.control("flags").unwrap().words;
        assert_eq!(words.iter().collect::<Vec<_>>(), ["toxic"]);
    }

    #[test]
    fn what_is_no_interface_is_refused() {
        for bad in [
            "",
            "<View>",
            "{}",
            "<!DOCTYPE x [<!ENTITY a 'b'>]><View>&a;</View>",
        ] {
            let error = Interface::parse(bad).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("label_config"), "{bad}");
        }
    }
}
