//! One JSON Schema as a table of fields, or as a few words where it is simple.

use std::fmt::Write as _;

use serde_json::Value;

use super::{escape, prose};
use crate::words::either;

/// A schema in a few words, with links to the named ones.
pub(super) fn words(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return format!("<a href=\"#schema-{name}\">{name}</a>", name = escape(name));
    }
    for alternatives in ["oneOf", "anyOf"] {
        if let Some(options) = schema[alternatives].as_array() {
            let words: Vec<String> = options.iter().map(words).collect();
            return either(&words);
        }
    }
    if let Some(options) = schema["enum"].as_array() {
        let options: Vec<String> = options
            .iter()
            .map(|o| format!("<code>{}</code>", escape(&o.to_string())))
            .collect();
        return either(&options);
    }
    let mut text = match &schema["type"] {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" or "),
        Value::String(one) if one == "array" => {
            format!("array of {}", words(&schema["items"]))
        }
        Value::String(one) if one == "object" && schema["additionalProperties"].is_object() => {
            format!("object of {}", words(&schema["additionalProperties"]))
        }
        Value::String(one) => escape(one),
        _ => "any".to_owned(),
    };
    if let Some(format) = schema["format"].as_str() {
        let _ = write!(text, " ({})", escape(format));
    }
    if let (Some(least), Some(most)) = (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        let _ = write!(text, ", {least} to {most}");
    }
    text
}

/// An object's fields; `None` where there are none to show.
pub(super) fn fields(schema: &Value) -> Option<String> {
    let properties = schema["properties"].as_object()?;
    let required = |name: &str| {
        schema["required"]
            .as_array()
            .is_some_and(|names| names.iter().any(|n| n == name))
    };
    let rows: Vec<String> = properties
        .iter()
        .map(|(name, field)| {
            let optional = if required(name) {
                ""
            } else {
                " <small>optional</small>"
            };
            let mut meaning = field["description"].as_str().map(prose).unwrap_or_default();
            for example in ["example", "default"] {
                if !field[example].is_null() {
                    let _ = write!(
                        meaning,
                        "<p><small>{example}: <code>{}</code></small></p>",
                        escape(&field[example].to_string())
                    );
                }
            }
            format!(
                "<tr><td><code>{}</code>{optional}</td><td>{}</td><td>{meaning}</td></tr>",
                escape(name),
                words(field),
            )
        })
        .collect();
    Some(format!(
        "<table><thead><tr><th>Field</th><th>Type</th><th>Meaning</th></tr></thead>\
         <tbody>{}</tbody></table>",
        rows.concat()
    ))
}

fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"]
        .as_str()?
        .strip_prefix("#/components/schemas/")
}
