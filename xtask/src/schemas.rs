//! The JSON Schemas of the kinds of record.

use std::collections::BTreeMap;

use record::{Kind, schema};

/// Where they lie, from the root of the repository.
pub(crate) const DIRECTORY: &str = "docs/spec/schemas";

/// File name and text of each.
pub(crate) fn files() -> BTreeMap<String, String> {
    let file = |kind: &Kind| {
        let name = format!("{}.v{}.json", kind.name(), kind.version());
        // With `#` serde_json indents; a JSON value always prints.
        (name, format!("{:#}\n", schema::json_schema(*kind)))
    };
    Kind::ALL.iter().map(file).collect()
}
