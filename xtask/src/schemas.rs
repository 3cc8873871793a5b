//! The JSON Schemas of the kinds of record.

use std::collections::BTreeMap;

use record::{Kind, schema};

/// Where they lie, from the root of the repository.
pub(crate) const DIRECTORY: &str = "docs/spec/schemas";

/// File name and text of each, in each of its versions.
pub(crate) fn files() -> BTreeMap<String, String> {
    let file = |(kind, version): (Kind, u16)| {
        let name = format!("{}.v{version}.json", kind.name());
        // With `#` serde_json indents; a JSON value always prints.
        (
            name,
            format!("{:#}\n", schema::json_schema_of(kind, version)),
        )
    };
    Kind::all_versions().map(file).collect()
}
