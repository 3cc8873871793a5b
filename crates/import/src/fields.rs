//! Reaches into a row and says by path what is not as expected.

use serde_json::{Map, Value};

use crate::error::Misfit;

/// A JSON object and where it stands in its row.
pub(crate) struct Fields<'a> {
    path: String,
    members: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The row itself.
    pub(crate) fn of_row(row: &'a Value) -> Result<Self, Misfit> {
        let members = row
            .as_object()
            .ok_or_else(|| Misfit::row("a JSON object", kind_of(row)))?;
        Ok(Self {
            path: String::new(),
            members,
        })
    }

    /// The object `value`, which stands at `path`.
    pub(crate) fn of(value: &'a Value, path: &str) -> Result<Self, Misfit> {
        let members = value
            .as_object()
            .ok_or_else(|| Misfit::at(path, "an object", kind_of(value)))?;
        Ok(Self {
            path: format!("{path}."),
            members,
        })
    }

    /// The member, unless it is missing or null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// The names of all members.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.members.keys().map(String::as_str)
    }

    /// The object as it is.
    pub(crate) fn whole(&self) -> Value {
        Value::Object(self.members.clone())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// The path of this object's member `name`.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    pub(crate) fn any(&self, name: &str, expected: &str) -> Result<&'a Value, Misfit> {
        self.members
            .get(name)
            .ok_or_else(|| Misfit::at(self.path(name), expected, "no such field"))
    }

    pub(crate) fn text(&self, name: &str) -> Result<&'a str, Misfit> {
        let value = self.any(name, "a text")?;
        value
            .as_str()
            .ok_or_else(|| Misfit::at(self.path(name), "a text", kind_of(value)))
    }

    pub(crate) fn object(&self, name: &str) -> Result<Fields<'a>, Misfit> {
        Fields::of(self.any(name, "an object")?, &self.path(name))
    }

    pub(crate) fn array(&self, name: &str) -> Result<&'a [Value], Misfit> {
        let value = self.any(name, "an array")?;
        value
            .as_array()
            .map(Vec::as_slice)
            .ok_or_else(|| Misfit::at(self.path(name), "an array", kind_of(value)))
    }

    /// A whole number from 0 that every JSON implementation keeps exactly.
    pub(crate) fn count(&self, name: &str) -> Result<u64, Misfit> {
        const EXPECTED: &str = "a whole number from 0";
        let value = self.any(name, EXPECTED)?;
        value
            .as_u64()
            .filter(|count| *count <= record::MAX_INTEGER)
            .ok_or_else(|| Misfit::at(self.path(name), EXPECTED, found(value)))
    }
}

/// What a value is, in words; what it says is kept out of messages, since it may be personal.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Numbers and truth values as they stand, which is what helps; of all else only what it is.
pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        _ => kind_of(value).to_owned(),
    }
}
