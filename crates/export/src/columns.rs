//! Which columns the table of a kind has: those of every record, and the members of its body from the schema of the kind.

use record::{Kind, schema};
use serde_json::Value;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Integer,
    Number,
    Boolean,
    Text,
    /// Microseconds since 1970, UTC.
    Time,
    /// JSON in a text: what is no single value.
    Json,
}

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Index,
    LeafHash,
    Stream,
    Seq,
    Prev,
    Time,
    Version,
    /// A member of the body.
    Body(String),
    Sealed,
    Attachments,
    /// A sealed value that was opened.
    Opened(String),
    /// The canonical bytes.
    Record,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) origin: Origin,
    pub(crate) required: bool,
}

impl Column {
    fn new(name: &str, kind: Type, origin: Origin, required: bool) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            origin,
            required,
        }
    }
}

/// Names that are taken: by columns of every record, and by the partitions.
const TAKEN: &[&str] = &[
    "attachments",
    "index",
    "kind",
    "leaf_hash",
    "prev",
    "record",
    "run",
    "sealed",
    "seq",
    "stream",
    "time",
    "version",
];

/// The columns of a kind's table, in their order.
pub(crate) fn of(kind: Kind, openings: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::new("index", Type::Integer, Origin::Index, true),
        Column::new("leaf_hash", Type::Text, Origin::LeafHash, true),
        Column::new("stream", Type::Text, Origin::Stream, true),
        Column::new("seq", Type::Integer, Origin::Seq, true),
        Column::new("prev", Type::Text, Origin::Prev, false),
        Column::new("time", Type::Time, Origin::Time, true),
        Column::new("version", Type::Integer, Origin::Version, true),
    ];
    let schema = schema::json_schema(kind);
    let members = schema["properties"]["body"]["properties"].as_object();
    for (member, of) in members.into_iter().flatten() {
        let name = if TAKEN.contains(&member.as_str()) {
            format!("body_{member}")
        } else {
            member.clone()
        };
        // What one version requires another may not.
        let origin = Origin::Body(member.clone());
        columns.push(Column::new(&name, type_of(of), origin, false));
    }
    columns.push(Column::new("sealed", Type::Json, Origin::Sealed, false));
    let attachments = Origin::Attachments;
    columns.push(Column::new("attachments", Type::Json, attachments, false));
    for (field, _) in kind.sealed_fields().iter().filter(|_| openings) {
        let origin = Origin::Opened((*field).to_owned());
        columns.push(Column::new(
            &format!("opened_{field}"),
            Type::Json,
            origin,
            false,
        ));
    }
    columns.push(Column::new("record", Type::Text, Origin::Record, true));
    columns
}

fn type_of(member: &Value) -> Type {
    let is_time = member["format"] == "date-time";
    match member["type"].as_str() {
        Some("string") if is_time => Type::Time,
        Some("string") => Type::Text,
        Some("integer") => Type::Integer,
        Some("number") => Type::Number,
        Some("boolean") => Type::Boolean,
        // A choice among words.
        None if member["enum"].is_array() => Type::Text,
        _ => Type::Json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_columns_with_names_of_their_own() {
        for kind in Kind::ALL {
            let columns = of(*kind, true);
            let mut names: Vec<_> = columns.iter().map(|column| &column.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), columns.len(), "{kind}");
            assert!(
                !names.iter().any(|name| *name == "run" || *name == "kind"),
                "{kind}"
            );
        }
    }

    #[track_caller]
    fn assert_type(columns: &[Column], name: &str, expected: Type) {
        let column = columns.iter().find(|column| column.name == name);
        assert_eq!(column.map(|column| column.kind), Some(expected), "{name}");
    }

    #[test]
    fn types_are_those_of_the_schema() {
        let columns = of(Kind::PolicyUpdated, false);
        assert_type(&columns, "step", Type::Integer);
        assert_type(&columns, "kl", Type::Number);
        assert_type(&columns, "metrics", Type::Json);
        assert_type(&columns, "body_run", Type::Text);
        assert_type(&columns, "time", Type::Time);
        let columns = of(Kind::AnnotationPreference, true);
        assert_type(&columns, "choice", Type::Text);
        assert_type(&columns, "at", Type::Time);
        assert_type(&columns, "opened_prompt", Type::Json);
        let columns = of(Kind::AnnotationPreference, false);
        assert!(
            columns
                .iter()
                .all(|column| !column.name.starts_with("opened"))
        );
    }
}
