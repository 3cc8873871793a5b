//! The JSON Schema of the configuration file, as the binary prints it, and the table of its keys.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Where the schema lies, from the root of the repository.
const SCHEMA: &str = "docs/spec/configuration.schema.json";
/// The page with the table, which stands between two marks.
const PAGE: &str = "docs/operations/configuration.md";
const MARKS: [&str; 2] = [
    "<!-- keys: cargo run -p xtask -- schemas -->\n",
    "<!-- /keys -->",
];

/// Path and text of what is generated.
pub(crate) fn files(root: &Path) -> Result<[(&'static str, String); 2], String> {
    let schema = printed()?;
    let value: Value = serde_json::from_str(&schema).map_err(|error| error.to_string())?;
    let page =
        std::fs::read_to_string(root.join(PAGE)).map_err(|error| format!("{PAGE}: {error}"))?;
    let page =
        with_table(&page, &table(&value)).ok_or_else(|| format!("{PAGE} has no {}", MARKS[0]))?;
    Ok([(SCHEMA, schema), (PAGE, page)])
}

fn printed() -> Result<String, String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "run",
            "--locked",
            "-q",
            "-p",
            "rlhf-audit",
            "--",
            "config",
            "schema",
        ])
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

fn with_table(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some(format!("{before}{}{table}{}{after}", MARKS[0], MARKS[1]))
}

fn table(schema: &Value) -> String {
    let mut table = String::from("| key | variable | default | what |\n|---|---|---|---|\n");
    let properties = schema["properties"].as_object().into_iter().flatten();
    // Tables have pages of their own.
    for (name, key) in properties.filter(|(_, key)| key.get("x-variable").is_some()) {
        let text = |member: &str| key[member].as_str().unwrap_or_default().replace('|', "\\|");
        let default = match &key["default"] {
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let secret = if key["writeOnly"] == true {
            " (secret)"
        } else {
            ""
        };
        let (variable, what) = (text("x-variable"), text("description"));
        // Writing to a string never fails.
        let _ = writeln!(
            table,
            "| `{name}` | `{variable}` | {default} | {what}{secret} |"
        );
    }
    table
}
