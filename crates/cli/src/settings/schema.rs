//! The JSON Schema of the configuration file.

use serde_json::{Map, Value, json};

use super::keys::{Key, Keys, Shape};
use super::parts::Parts;

/// The schema; what is generated from it is docs/spec/configuration.schema.json.
pub(crate) fn schema(keys: &Keys) -> Value {
    let options = keys.iter().map(|key| (key.name.clone(), property(key)));
    let mut parts = Parts::schema();
    let tables = parts["properties"].as_object_mut().map(std::mem::take);
    let properties: Map<String, Value> = options.chain(tables.unwrap_or_default()).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rlhf-audit.toml",
        "description": "The configuration file of rlhf-audit. Each key is an option, but for the tables; the environment and the command line come before it.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "$defs": parts["$defs"].take(),
    })
}

fn property(key: &Key) -> Value {
    let mut property = match &key.shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Integer => json!({ "type": "integer", "minimum": 0 }),
        Shape::Number => json!({ "type": "number" }),
        Shape::OneOf(choices) => json!({ "enum": choices }),
        Shape::List => json!({ "type": "array", "items": { "type": "string" } }),
    };
    property["description"] = key.help.clone().into();
    property["x-variable"] = key.variable.clone().into();
    if let Some(default) = &key.default {
        property["default"] = match &key.shape {
            Shape::Flag => (default == "true").into(),
            Shape::Integer | Shape::Number => serde_json::from_str(default).unwrap_or_default(),
            _ => default.clone().into(),
        };
    }
    if key.secret {
        property["writeOnly"] = true.into();
    }
    property
}
