//! A record that has no place in a stream yet: a body, what is sealed with it, what is attached.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::canonical;
use crate::hash::Sha256;
use crate::kinds::{Body, Kind};
use crate::sealed::{OpeningError, SealedValue, Subject};
use crate::time::Timestamp;

/// A public value too large for a record, as the record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// How many bytes it has.
    pub bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256,
}

/// A record to be: what [`crate::StreamWriter::write`] puts into a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub(crate) kind: Kind,
    pub(crate) body: Vec<u8>,
    pub(crate) sealed: Vec<(String, Seal)>,
    pub(crate) attachments: Vec<(String, Attachment)>,
    pub(crate) time: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seal {
    pub(crate) value: Result<SealedValue, OpeningError>,
    pub(crate) subject: Subject,
}

/// Why JSON is no draft.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// Something is missing, unknown or of the wrong type.
    #[error("{path}: expected {expected}, found {found}")]
    Invalid {
        /// The member.
        path: String,
        /// What would have been right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// No such kind.
    #[error("kind: unknown kind {0:?}; see docs/spec/schemas for those there are")]
    UnknownKind(String),
}

impl Draft {
    /// A draft with this body.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a body is used up by its draft"
    )]
    pub fn new<B: Body>(body: B) -> Self {
        // Bodies are structs of texts, numbers and maps with text keys, which always serialise;
        // whatever else came out would be refused by the parser when it is written.
        let body = canonical::to_vec(&body).unwrap_or_default();
        Self {
            kind: B::KIND,
            body,
            sealed: Vec::new(),
            attachments: Vec::new(),
            time: None,
        }
    }

    /// Seals a value: the record will hold a commitment to it.
    ///
    /// Whether the kind has such a field is said when the draft is written.
    #[must_use]
    pub fn seal(mut self, field: &str, value: &Value, subject: Subject) -> Self {
        let value = SealedValue::from_json(value);
        self.sealed
            .push((field.to_owned(), Seal { value, subject }));
        self
    }

    /// Names an attachment.
    #[must_use]
    pub fn attach(mut self, name: &str, attachment: Attachment) -> Self {
        self.attachments.push((name.to_owned(), attachment));
        self
    }

    /// Sets the record's time, for what is recorded later than it happened; without it the writer
    /// asks its clock.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// The kind it will be of.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// At most so many bytes has the line of its submission (`docs/spec/submission.md`), with the newline: for whoever
    /// has to know that there is room before it is written.
    pub fn most_bytes(&self) -> usize {
        /// Envelope: names, two hashes, a ULID, stream, time, seq, kind.
        const ENVELOPE: usize = 512;
        /// Twice the name, the commitment, its key, a pseudonym and what is around them.
        const SEALED: usize = 256;
        /// A name, a length, a digest.
        const ATTACHED: usize = 256;
        let sealed = self.sealed.iter().map(|(field, seal)| {
            let value = seal
                .value
                .as_ref()
                .map_or(0, |value| value.as_bytes().len());
            value + 2 * field.len() + SEALED
        });
        ENVELOPE + self.body.len() + sealed.sum::<usize>() + ATTACHED * self.attachments.len()
    }

    /// From `{"kind", "body", "sealed"?, "attachments"?}`, in any JSON order. `body` may be left
    /// out where nothing in it is required. A sealed field is `{"value", "subject"}`, or any other
    /// JSON value, whose subject is then the body's `annotator`, or the run where there is none.
    ///
    /// # Errors
    ///
    /// [`DraftError`] with the member. The body's shape is checked when the draft is written.
    pub fn from_json(value: &Value) -> Result<Self, DraftError> {
        let members = object("draft", value)?;
        let known = ["attachments", "body", "kind", "sealed"];
        if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(invalid(
                name,
                "one of kind, body, sealed, attachments",
                "another member",
            ));
        }
        let kind = match members.get("kind") {
            Some(Value::String(name)) => {
                Kind::parse(name).ok_or_else(|| DraftError::UnknownKind(name.clone()))?
            }
            other => return Err(invalid("kind", "the name of a kind", &found(other))),
        };
        let body = match members.get("body") {
            None => &Value::Object(Map::new()),
            Some(body) => body,
        };
        let subject = match object("body", body)?
            .get("annotator")
            .and_then(Value::as_str)
        {
            Some(text) => Subject::parse(text).unwrap_or(Subject::Run),
            None => Subject::Run,
        };
        if !canonical::is_exact(body) {
            return Err(invalid("body", "integers within ±(2^53-1)", "a larger one"));
        }
        let mut draft = Self {
            kind,
            body: canonical::to_canonical(body),
            sealed: Vec::new(),
            attachments: Vec::new(),
            time: None,
        };
        if let Some(sealed) = members.get("sealed") {
            for (field, value) in object("sealed", sealed)? {
                let (value, subject) = sealed_value(field, value, subject)?;
                draft = draft.seal(field, value, subject);
            }
        }
        if let Some(attachments) = members.get("attachments") {
            for (name, value) in object("attachments", attachments)? {
                let attachment = Attachment::deserialize(value).map_err(|error| {
                    let path = format!("attachments.{name}");
                    invalid(&path, "{\"bytes\", \"sha256\"}", &error.to_string())
                })?;
                draft = draft.attach(name, attachment);
            }
        }
        Ok(draft)
    }
}

/// A value with its subject, where both are given.
fn sealed_value<'v>(
    field: &str,
    value: &'v Value,
    default: Subject,
) -> Result<(&'v Value, Subject), DraftError> {
    match value.as_object() {
        Some(members) if members.len() == 2 => {
            let (Some(value), Some(subject)) = (members.get("value"), members.get("subject"))
            else {
                return Ok((value, default));
            };
            let subject = subject.as_str().and_then(Subject::parse).ok_or_else(|| {
                let path = format!("sealed.{field}.subject");
                invalid(&path, "`run` or a pseudonym", &found(Some(subject)))
            })?;
            Ok((value, subject))
        }
        _ => Ok((value, default)),
    }
}

fn object<'v>(path: &str, value: &'v Value) -> Result<&'v Map<String, Value>, DraftError> {
    value
        .as_object()
        .ok_or_else(|| invalid(path, "an object", &found(Some(value))))
}

fn invalid(path: &str, expected: &str, found: &str) -> DraftError {
    DraftError::Invalid {
        path: path.into(),
        expected: expected.into(),
        found: found.into(),
    }
}

fn found(value: Option<&Value>) -> String {
    match value {
        None => "nothing".into(),
        Some(Value::Null) => "null".into(),
        Some(Value::Array(_)) => "an array".into(),
        Some(Value::Object(_)) => "an object".into(),
        Some(value) => value.to_string().chars().take(48).collect(),
    }
}
