//! What a `log_*` call is given, column by column: lists, and whatever can become one (NumPy, pandas, Arrow, torch),
//! without knowing any of these libraries.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::Value;

use crate::errors::Raise;
use crate::json;

/// The columns of one call, which all have the same length.
pub(crate) struct Columns<'a, 'py> {
    given: &'a Bound<'py, PyDict>,
    /// The first column that was read, and its length.
    first: Option<(String, usize)>,
}

impl<'a, 'py> Columns<'a, 'py> {
    pub(crate) fn new(given: &'a Bound<'py, PyDict>) -> Self {
        Self { given, first: None }
    }

    fn get(&self, name: &str) -> Result<Option<Bound<'py, PyAny>>, Raise> {
        let found = self.given.get_item(name).map_err(Raise::input)?;
        Ok(found.filter(|found| !found.is_none()))
    }

    /// One value for all rows, where it is given.
    pub(crate) fn scalar(&self, name: &str) -> Result<Option<Value>, Raise> {
        match self.get(name)? {
            Some(given) => json::value(&given, name).map(Some),
            None => Ok(None),
        }
    }

    /// A column that has to be there.
    pub(crate) fn required<T>(
        &mut self,
        name: &str,
        convert: impl Fn(&Bound<'py, PyAny>, &str) -> Result<T, Raise>,
    ) -> Result<Vec<T>, Raise> {
        let Some(given) = self.get(name)? else {
            return Err(Raise::input(format!(
                "{name}: expected a column of values, found nothing"
            )));
        };
        let list = as_list(&given, name)?;
        self.hold_length(name, list.len())?;
        (list.iter().enumerate())
            .map(|(row, value)| convert(&value, &format!("{name}[{row}]")))
            .collect()
    }

    /// A column that may be missing, and values that may: `None`, or the NaN that pandas has for it. A single value, where
    /// `single` knows it as one, is that of all rows.
    pub(crate) fn optional<T: Clone>(
        &mut self,
        name: &str,
        single: impl Fn(&Bound<'py, PyAny>) -> bool,
        convert: impl Fn(&Bound<'py, PyAny>, &str) -> Result<T, Raise>,
    ) -> Result<Optional<T>, Raise> {
        let Some(given) = self.get(name)? else {
            return Ok(Optional::All(None));
        };
        if single(&given) {
            return convert(&given, name).map(|value| Optional::All(Some(value)));
        }
        let list = as_list(&given, name)?;
        self.hold_length(name, list.len())?;
        (list.iter().enumerate())
            .map(|(row, value)| {
                if is_missing(&value) {
                    return Ok(None);
                }
                convert(&value, &format!("{name}[{row}]")).map(Some)
            })
            .collect::<Result<_, Raise>>()
            .map(Optional::Each)
    }

    fn hold_length(&mut self, name: &str, rows: usize) -> Result<(), Raise> {
        let (first, expected) = self.first.get_or_insert_with(|| (name.to_owned(), rows));
        if *expected == rows {
            return Ok(());
        }
        Err(Raise::input(format!(
            "the lengths differ: {first} has {expected}, {name} has {rows}"
        )))
    }
}

/// A column that may be missing.
pub(crate) enum Optional<T> {
    /// The same in all rows.
    All(Option<T>),
    /// One a row.
    Each(Vec<Option<T>>),
}

impl<T: Clone> Optional<T> {
    /// Takes the value of a row.
    pub(crate) fn take(&mut self, row: usize) -> Option<T> {
        match self {
            Self::All(value) => value.clone(),
            Self::Each(values) => values.get_mut(row)?.take(),
        }
    }
}

/// What is not given.
fn is_missing(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value
            .cast::<PyFloat>()
            .is_ok_and(|number| number.value().is_nan())
}

/// A column as a list: pyarrow has `to_pylist`, NumPy, pandas and torch have `tolist`.
fn as_list<'py>(given: &Bound<'py, PyAny>, name: &str) -> Result<Bound<'py, PyList>, Raise> {
    if let Ok(list) = given.cast::<PyList>() {
        return Ok(list.clone());
    }
    if let Ok(tuple) = given.cast::<PyTuple>() {
        return Ok(tuple.to_list());
    }
    let expected = "a column: a list, an array or a series";
    if is_text(given) || given.cast::<PyDict>().is_ok() {
        return Err(json::unexpected(given, name, expected));
    }
    for method in ["to_pylist", "tolist"] {
        if let Ok(found) = given.call_method0(method) {
            return match found.cast_into::<PyList>() {
                Ok(list) => Ok(list),
                // An array without dimensions is a number.
                Err(error) => Err(json::unexpected(&error.into_inner(), name, expected)),
            };
        }
    }
    let list = PyList::empty(given.py());
    let items = given
        .try_iter()
        .map_err(|_| json::unexpected(given, name, expected))?;
    for item in items {
        let item = item.map_err(|error| Raise::input(format!("{name}: {error}")))?;
        list.append(item)
            .map_err(|error| Raise::input(format!("{name}: {error}")))?;
    }
    Ok(list)
}

/// Whether it is a text.
pub(crate) fn is_text(value: &Bound<'_, PyAny>) -> bool {
    value.cast::<PyString>().is_ok()
}

/// Whether it is a text or a number, and so no column.
pub(crate) fn is_single(value: &Bound<'_, PyAny>) -> bool {
    is_text(value) || value.cast::<PyInt>().is_ok() || value.cast::<PyFloat>().is_ok()
}

/// A text.
pub(crate) fn text(value: &Bound<'_, PyAny>, at: &str) -> Result<String, Raise> {
    match value.cast::<PyString>() {
        Ok(text) => json::text(text, at),
        Err(_) => Err(json::unexpected(value, at, "a text")),
    }
}

/// A text, or a conversation as a list of messages: what a prompt or a response may be.
pub(crate) fn content(value: &Bound<'_, PyAny>, at: &str) -> Result<Value, Raise> {
    if let Ok(text) = value.cast::<PyString>() {
        return json::text(text, at).map(Value::String);
    }
    match json::value(value, at)? {
        found @ (Value::Array(_) | Value::Object(_)) => Ok(found),
        _ => Err(json::unexpected(value, at, "a text or a list of messages")),
    }
}

/// A finite number.
pub(crate) fn number(value: &Bound<'_, PyAny>, at: &str) -> Result<f64, Raise> {
    if let Ok(number) = value.cast::<PyFloat>() {
        return json::finite(number.value(), at);
    }
    let found = match json::value(value, at)? {
        Value::Bool(yes) => Some(f64::from(u8::from(yes))),
        Value::Number(number) => number.as_f64(),
        _ => None,
    };
    found.ok_or_else(|| json::unexpected(value, at, "a number"))
}

/// An integer.
pub(crate) fn integer(value: &Bound<'_, PyAny>, at: &str) -> Result<i64, Raise> {
    let found = match json::value(value, at)? {
        Value::Number(number) => number.as_i64().or_else(|| {
            number
                .as_f64()
                .filter(|f| f.fract() == 0.0)
                .map(|f| f as i64)
        }),
        _ => None,
    };
    found.ok_or_else(|| json::unexpected(value, at, "an integer"))
}

/// An integer that counts something.
pub(crate) fn count(value: &Bound<'_, PyAny>, at: &str) -> Result<u64, Raise> {
    let number = integer(value, at)?;
    u64::try_from(number)
        .map_err(|_| Raise::input(format!("{at}: expected 0 or more, found {number}")))
}

/// Who annotated: a text, or a number that stands for one.
pub(crate) fn person(value: &Bound<'_, PyAny>, at: &str) -> Result<String, Raise> {
    if let Ok(text) = value.cast::<PyString>() {
        return json::text(text, at);
    }
    let is_number = value.cast::<PyBool>().is_err();
    match integer(value, at) {
        Ok(number) if is_number => Ok(number.to_string()),
        _ => Err(json::unexpected(
            value,
            at,
            "an annotator's id: a text or an integer",
        )),
    }
}
