//! Numbers by name, as records can hold them, and what they cannot.

use std::collections::BTreeMap;

use record::kinds::MetricLogged;
use serde_json::Value;

use super::{Entry, python};

/// The most numbers in one record.
const MAX_NUMBERS: usize = 256;
/// The most bytes that they take in one record; it has 65,535 in all.
const MAX_BYTES: usize = 48 << 10;
/// The longest name, in characters.
const MAX_NAME: usize = 128;
/// The most bytes of a list of names in an incident's description.
const MAX_LISTED: usize = 8 << 10;

/// Numbers by name, and the names of what is none.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) finite: BTreeMap<String, f64>,
    /// NaN and infinities; which of them the file may not say.
    not_finite: Vec<String>,
    /// Texts, lists, and what has no name that a record can hold.
    left_out: Vec<String>,
}

impl Numbers {
    /// Takes one; true is 1.
    pub(super) fn take(&mut self, name: &str, value: &Value) {
        match number(value) {
            Some(number) if number.is_finite() => {
                if is_name(name) {
                    self.finite.insert(name.to_owned(), number);
                } else {
                    self.left_out.push(name.to_owned());
                }
            }
            Some(_) => self.not_finite.push(name.to_owned()),
            None => self.left_out.push(name.to_owned()),
        }
    }

    /// The first of these names that there is.
    pub(super) fn first(&self, names: &[&str]) -> Option<f64> {
        names
            .iter()
            .find_map(|name| self.finite.get(*name).copied())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.finite.contains_key(name) || self.not_finite.iter().any(|known| known == name)
    }

    /// In parts of which a record holds one each.
    pub(super) fn parts(&self) -> Vec<BTreeMap<String, f64>> {
        let mut parts: Vec<BTreeMap<String, f64>> = Vec::new();
        let mut bytes = 0;
        for (name, value) in &self.finite {
            // Twice the name for what has to be escaped, and the longest number.
            let takes = 2 * name.len() + 32;
            let full =
                |part: &BTreeMap<_, _>| part.len() >= MAX_NUMBERS || bytes + takes > MAX_BYTES;
            if parts.last().is_none_or(full) {
                parts.push(BTreeMap::new());
                bytes = 0;
            }
            bytes += takes;
            if let Some(part) = parts.last_mut() {
                part.insert(name.clone(), *value);
            }
        }
        parts
    }

    /// The first part, for a record that has room for one; the names of the rest count as left out.
    pub(super) fn one_part(&mut self) -> Option<BTreeMap<String, f64>> {
        let mut parts = self.parts().into_iter();
        let first = parts.next();
        self.left_out.extend(parts.flat_map(BTreeMap::into_keys));
        first
    }

    /// Reports what is in no record.
    pub(super) fn report(&self, entry: &mut Entry, place: &str) {
        if !self.not_finite.is_empty() {
            let what = format!("{place}: no finite number: {}", listed(&self.not_finite));
            entry.incident("metric-not-finite", None, &what);
        }
        if !self.left_out.is_empty() {
            let what = format!(
                "{place}: no number, or no name of at most {MAX_NAME} printable characters: {}",
                listed(&self.left_out)
            );
            entry.incident("metric-left-out", None, &what);
        }
    }
}

/// `metric.logged` for all of them.
pub(super) fn logged(numbers: &Numbers, fill: impl Fn(&mut MetricLogged)) -> Vec<MetricLogged> {
    let bodies = numbers.parts().into_iter().map(|part| {
        let mut body = MetricLogged::new(part);
        fill(&mut body);
        body
    });
    bodies.collect()
}

/// A number, and what stands for one; null is NaN.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Null => Some(f64::NAN),
        Value::String(text) if text == python::NOT_FINITE => Some(f64::NAN),
        _ => None,
    }
}

/// Whether a record can have it as a name.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().count() <= MAX_NAME
        && !name.bytes().any(|byte| byte < 0x20 || byte == 0x7f)
}

fn listed(names: &[String]) -> String {
    let mut text = String::new();
    for (at, name) in names.iter().enumerate() {
        if text.len() + name.len() > MAX_LISTED {
            return format!("{text}, and {} more", names.len() - at);
        }
        text.push_str(if at == 0 { "" } else { ", " });
        text.push_str(name);
    }
    text
}
