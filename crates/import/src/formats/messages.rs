//! Conversations as lists of messages, the form in which TRL and most tools know them.

use serde_json::{Value, json};

use crate::{
    error::Misfit,
    fields::{Fields, kind_of},
};

/// A message of one speaker.
pub(crate) fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

/// Checks that `value`, at `path`, is a list of at least one message: objects with a `role` and a
/// `content` that is a text, a list of parts (text, image) or, beside `tool_calls`, nothing.
pub(crate) fn check(value: &Value, path: &str) -> Result<(), Misfit> {
    const EXPECTED: &str = "a list of at least one message";
    let list = value
        .as_array()
        .ok_or_else(|| Misfit::at(path, EXPECTED, kind_of(value)))?;
    if list.is_empty() {
        return Err(Misfit::at(path, EXPECTED, "an empty list"));
    }
    for (i, entry) in list.iter().enumerate() {
        let fields = Fields::of(entry, &format!("{path}[{i}]"))?;
        if fields.text("role")?.is_empty() {
            return Err(Misfit::at(
                fields.path("role"),
                "a role such as user",
                "an empty text",
            ));
        }
        if fields.has("tool_calls") && !fields.has("content") {
            continue;
        }
        let content = fields.any("content", "a text")?;
        let allowed = content.is_string()
            || content.is_array()
            || (content.is_null() && fields.has("tool_calls"));
        if !allowed {
            return Err(Misfit::at(
                fields.path("content"),
                "a text",
                kind_of(content),
            ));
        }
    }
    Ok(())
}

/// How many messages two conversations have in common at their beginning, where each keeps at
/// least one message after them.
pub(crate) fn common(a: &[Value], b: &[Value]) -> usize {
    let most = a.len().min(b.len()).saturating_sub(1);
    a.iter()
        .zip(b)
        .take(most)
        .take_while(|(a, b)| a == b)
        .count()
}
