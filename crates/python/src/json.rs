//! Python values as JSON, and only those that a record or a sealed value can hold.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::{Map, Number, Value};

use crate::errors::Raise;

/// Deeper values are no data that somebody annotated; a record nests 64 deep at most.
const MAX_DEPTH: usize = 32;

/// A value, or what is wrong with it and where: `at` names it.
pub(crate) fn value(object: &Bound<'_, PyAny>, at: &str) -> Result<Value, Raise> {
    nested(object, at, 0)
}

/// A row of a data set: a value in which what JSON has no form for stands as a text. It is only hashed.
pub(crate) fn row(object: &Bound<'_, PyAny>, at: &str) -> Result<Value, Raise> {
    match nested(object, at, 0) {
        Ok(value) => Ok(value),
        Err(refused) => match object.cast::<PyDict>() {
            Ok(members) => {
                let spelled = members.iter().map(|(name, found)| {
                    let value = match nested(&found, at, 1) {
                        Ok(value) => value,
                        Err(_) => spelled(&found, at)?,
                    };
                    Ok((name.to_string(), value))
                });
                Ok(Value::Object(spelled.collect::<Result<_, Raise>>()?))
            }
            Err(_) => Err(refused),
        },
    }
}

/// A value as Python spells it: dates, bytes, NaN.
fn spelled(object: &Bound<'_, PyAny>, at: &str) -> Result<Value, Raise> {
    match object.repr() {
        // An address would be another in each process.
        Ok(text) if !text.to_string_lossy().contains(" at 0x") => {
            Ok(Value::String(text.to_string_lossy().into_owned()))
        }
        _ => Err(unexpected(object, at, "something that can be written down")),
    }
}

fn nested(object: &Bound<'_, PyAny>, at: &str, depth: usize) -> Result<Value, Raise> {
    if let Ok(text) = object.cast::<PyString>() {
        return self::text(text, at).map(Value::String);
    }
    if depth > MAX_DEPTH {
        return Err(Raise::input(format!(
            "{at}: expected at most {MAX_DEPTH} levels of lists and dictionaries, found more"
        )));
    }
    if let Ok(items) = object.cast::<PyList>() {
        return array(items.iter(), at, depth);
    }
    if let Ok(members) = object.cast::<PyDict>() {
        return members
            .iter()
            .map(|(name, value)| {
                let name = name.cast::<PyString>().map_err(|_| {
                    let found = type_name(&name);
                    Raise::input(format!("{at}: expected texts as keys, found {found}"))
                })?;
                let name = text(name, at)?;
                let value = nested(&value, &format!("{at}.{name}"), depth + 1)?;
                Ok((name, value))
            })
            .collect::<Result<Map<_, _>, Raise>>()
            .map(Value::Object);
    }
    if object.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(boolean) = object.cast::<PyBool>() {
        return Ok(Value::Bool(boolean.is_true()));
    }
    if object.cast::<PyInt>().is_ok() {
        return integer(object, at);
    }
    if let Ok(number) = object.cast::<PyFloat>() {
        return finite(number.value(), at).map(number_value);
    }
    if let Ok(items) = object.cast::<PyTuple>() {
        return array(items.iter(), at, depth);
    }
    plain(object, at, depth)
}

/// NumPy's and torch's scalars and arrays, and whatever else knows how to become plain Python.
fn plain(object: &Bound<'_, PyAny>, at: &str, depth: usize) -> Result<Value, Raise> {
    for method in ["tolist", "item", "as_py"] {
        if let Ok(found) = object.call_method0(method) {
            return nested(&found, at, depth + 1);
        }
    }
    Err(unexpected(
        object,
        at,
        "a text, a number, a boolean, a list or a dictionary",
    ))
}

fn array<'py>(
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    at: &str,
    depth: usize,
) -> Result<Value, Raise> {
    items
        .enumerate()
        .map(|(i, item)| nested(&item, &format!("{at}[{i}]"), depth + 1))
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
}

/// A text, which must be one in Unicode.
pub(crate) fn text(text: &Bound<'_, PyString>, at: &str) -> Result<String, Raise> {
    text.to_str().map(str::to_owned).map_err(|_| {
        Raise::input(format!(
            "{at}: expected a text, found half a surrogate pair in it, which UTF-8 has no bytes for"
        ))
    })
}

fn integer(object: &Bound<'_, PyAny>, at: &str) -> Result<Value, Raise> {
    if let Ok(number) = object.extract::<i64>()
        && number.unsigned_abs() <= record::MAX_INTEGER
    {
        return Ok(number.into());
    }
    Err(Raise::input(format!(
        "{at}: expected an integer within ±(2^53-1), found {object}; write it as a text"
    )))
}

/// A number that JSON has.
pub(crate) fn finite(number: f64, at: &str) -> Result<f64, Raise> {
    if number.is_finite() {
        return Ok(number);
    }
    let found = if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "infinity"
    } else {
        "-infinity"
    };
    Err(Raise::input(format!(
        "{at}: expected a finite number, found {found}"
    )))
}

fn number_value(number: f64) -> Value {
    // Finite, and so a number of JSON.
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// Something that is not what it has to be.
pub(crate) fn unexpected(object: &Bound<'_, PyAny>, at: &str, expected: &str) -> Raise {
    let found = type_name(object);
    Raise::input(format!("{at}: expected {expected}, found {found}"))
}

fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(
        |_| "something without a type".to_owned(),
        |name| name.to_string(),
    )
}
