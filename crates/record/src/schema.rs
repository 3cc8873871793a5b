//! JSON Schemas (draft 2020-12), printed from the same tables that the parser walks; checked in
//! under `docs/spec/schemas` by `cargo run -p xtask -- schemas`.

use serde_json::{Map, Value, json};

use crate::kinds::Kind;
use crate::record::{ATTACHMENT, MAX_ATTACHMENTS};
use crate::shape::{Form, Member, Shape};

/// The pattern of texts without control characters.
const NO_CONTROL: &str = "^[^\\u0000-\\u001f\\u007f]*$";

/// The JSON Schema of a whole record of this kind, in its present version.
pub fn json_schema(kind: Kind) -> Value {
    json_schema_of(kind, kind.version())
}

/// The JSON Schema of a whole record of this kind in one of its versions, 1 to the present one.
pub fn json_schema_of(kind: Kind, version: u16) -> Value {
    let spec = kind.spec_of(version);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:rlhf-audit-trail:record:{}:{version}", kind.name()),
        "title": kind.name(),
        "description": spec.doc.trim(),
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "attachments": map(&object(ATTACHMENT), 1, MAX_ATTACHMENTS, "^[a-z0-9][a-z0-9._-]{0,63}$"),
            "body": object(spec.members),
            "kind": { "const": kind.name() },
            "prev": form(Form::Base64x32),
            "run": { "type": "string", "pattern": format!("^(ledger|{})$", ulid()) },
            "seq": { "type": "integer", "minimum": 0, "maximum": crate::MAX_INTEGER },
            "stream": form(Form::Stream),
            "time": form(Form::Time),
            "v": { "const": version },
        },
        "required": ["body", "kind", "run", "seq", "stream", "time", "v"],
        "if": { "properties": { "seq": { "const": 0 } } },
        "then": { "not": { "required": ["prev"] } },
        "else": { "required": ["prev"] },
    });
    if !spec.sealed.is_empty() {
        let mut sealed = object(spec.sealed_members);
        sealed["minProperties"] = json!(1);
        schema["properties"]["sealed"] = sealed;
        if spec.sealed.iter().any(|(_, required)| *required) {
            schema["required"] = json!([
                "body", "kind", "run", "sealed", "seq", "stream", "time", "v"
            ]);
        }
    }
    schema
}

fn object(members: &[Member]) -> Value {
    let properties: Map<String, Value> = members
        .iter()
        .map(|member| {
            let mut schema = shape(&member.shape);
            schema["description"] = json!(member.doc.trim());
            (member.name.to_owned(), schema)
        })
        .collect();
    let mut schema =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    let required: Vec<_> = members
        .iter()
        .filter(|member| member.required)
        .map(|member| member.name)
        .collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn map(value: &Value, min: usize, max: usize, names: &str) -> Value {
    json!({
        "type": "object",
        "additionalProperties": value,
        "propertyNames": { "pattern": names },
        "minProperties": min,
        "maxProperties": max,
    })
}

fn shape(shape_of: &Shape) -> Value {
    match shape_of {
        Shape::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Number => json!({ "type": "number" }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Text { max } => {
            json!({ "type": "string", "minLength": 1, "maxLength": max, "pattern": NO_CONTROL })
        }
        Shape::OneOf(texts) => json!({ "enum": texts }),
        Shape::Form(of) => form(*of),
        Shape::Scalar => json!({
            "type": ["string", "number", "boolean"],
            "minLength": 1,
            "maxLength": 128,
            "pattern": NO_CONTROL,
        }),
        Shape::Object(members) => object(members),
        Shape::Map { value, min, max } => {
            let mut schema = map(&shape(value), *min, *max, NO_CONTROL);
            schema["propertyNames"]["minLength"] = json!(1);
            schema["propertyNames"]["maxLength"] = json!(128);
            schema
        }
        Shape::Array { item, min, max } => {
            json!({ "type": "array", "items": shape(item), "minItems": min, "maxItems": max })
        }
    }
}

/// 128 bits in 26 Crockford characters.
fn ulid() -> &'static str {
    "[0-7][0-9A-HJKMNP-TV-Z]{25}"
}

fn form(form: Form) -> Value {
    let pattern = match form {
        Form::RunId => "^[0-7][0-9A-HJKMNP-TV-Z]{25}$",
        Form::Stream => "^[a-z0-9][a-z0-9._-]{0,63}$",
        Form::Pseudonym => "^p-[0-7][0-9a-hjkmnp-tv-z]{25}$",
        Form::Producer => "^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$",
        Form::Time => {
            "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\\.[0-9]{6}Z$"
        }
        // The last character before the padding has bits to spare, which must be zero.
        Form::Base64x32 => "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$",
        Form::Base64x64 => "^[A-Za-z0-9+/]{85}[AQgw]==$",
        Form::Sha256 => "^[0-9a-f]{64}$",
        Form::Slug => "^[a-z0-9]+(-[a-z0-9]+)*$",
    };
    let mut schema = json!({ "type": "string", "pattern": pattern });
    match form {
        Form::Time => schema["format"] = json!("date-time"),
        Form::Slug => schema["maxLength"] = json!(64),
        _ => {}
    }
    schema
}
