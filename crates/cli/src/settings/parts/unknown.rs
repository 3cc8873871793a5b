//! Keys of tables that the schema does not have.

use serde_json::Value;
use toml::Table;

use crate::settings::keys::nearest;

/// What is wrong, with the nearest name.
pub(super) fn of(tables: &Table, schema: &Value) -> Vec<String> {
    let mut search = Search {
        root: schema,
        faults: Vec::new(),
    };
    search.table("", tables, schema);
    search.faults
}

struct Search<'a> {
    root: &'a Value,
    faults: Vec<String>,
}

impl Search<'_> {
    fn value(&mut self, path: &str, value: &toml::Value, schema: &Value) {
        match value {
            toml::Value::Table(table) => self.table(path, table, schema),
            toml::Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.value(&format!("{path}[{at}]"), item, &schema["items"]);
                }
            }
            _ => {}
        }
    }

    fn table(&mut self, path: &str, table: &Table, schema: &Value) {
        let root = self.root;
        let named = schema["$ref"]
            .as_str()
            .and_then(|name| name.strip_prefix('#'));
        let schema = named.and_then(|name| root.pointer(name)).unwrap_or(schema);
        // Another table may hold anything.
        if schema["additionalProperties"] != false {
            return;
        }
        let Some(known) = schema["properties"].as_object() else {
            return;
        };
        for (name, value) in table {
            let full = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            if let Some(below) = known.get(name) {
                self.value(&full, value, below);
            } else {
                let nearest = nearest(name, known.keys().map(String::as_str));
                let nearest = nearest.map(|nearest| format!("; did you mean `{nearest}`?"));
                let nearest = nearest.unwrap_or_default();
                self.faults
                    .push(format!("nothing is called `{full}`{nearest}"));
            }
        }
    }
}
