//! The arrows between the rooms, as docs/architecture.md draws them, held against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each room may import. An arrow never turns round.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("tlog", &[]),
    ("record", &["tlog"]),
    ("store", &["tlog", "record"]),
    ("weights", &["record"]),
    ("verify", &["tlog", "record", "weights"]),
    ("monitor", &["tlog", "record", "verify"]),
    ("import", &["record"]),
    ("report", &["tlog", "record"]),
    ("export", &["record", "store"]),
    ("watch", &["record"]),
    ("client", &["tlog", "record", "verify"]),
    ("ledger", &["tlog", "record", "store", "verify"]),
    ("backup", &["tlog", "record", "store", "ledger"]),
    (
        "jobs",
        &[
            "tlog", "record", "store", "ledger", "report", "backup", "export",
        ],
    ),
    // What platforms tell by webhook is read as their exports are.
    (
        "server",
        &[
            "tlog", "record", "import", "store", "ledger", "report", "jobs", "watch",
        ],
    ),
    // The native half of the SDK: a client, and a ledger in the process where there is no server.
    (
        "python",
        &[
            "tlog", "record", "client", "verify", "ledger", "server", "weights",
        ],
    ),
    ("testkit", &["tlog", "record", "store"]),
    // Not a room: it calls the readers of all of them.
    (
        "fuzz-targets",
        &[
            "tlog", "record", "store", "ledger", "verify", "client", "weights", "import",
        ],
    ),
    // Not a room, but held to the faces a user has: it measures the binary.
    ("benches", &["record", "client"]),
];

/// Crates that speak to a database or an object store: `store` alone may know them.
const DATABASES: &[&str] = &[
    "rusqlite",
    "postgres",
    "tokio-postgres",
    "sqlx",
    "object_store",
    "redis",
];

fn room(package: &str) -> Option<&str> {
    package.strip_prefix("rlhf-audit-")
}

/// Each workspace package's dependencies that end up in a release: normal and build, not dev.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().expect("a name").to_owned();
            let dependencies = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .filter(|d| d["kind"].as_str() != Some("dev"))
                .map(|d| d["name"].as_str().expect("a name").to_owned())
                .collect();
            (name, dependencies)
        })
        .collect()
}

#[test]
fn no_room_imports_one_above_it() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let dependencies = dependencies();
    for (package, imports) in &dependencies {
        let Some(room_name) = room(package) else {
            continue;
        };
        let allowed = allowed
            .get(room_name)
            .unwrap_or_else(|| panic!("{package} is not in the list of rooms"));
        for import in imports.iter().filter_map(|import| room(import)) {
            assert!(
                allowed.contains(&import),
                "{room_name} may not import {import}"
            );
        }
    }
    for (name, _) in MAY_IMPORT {
        assert!(
            dependencies.contains_key(&format!("rlhf-audit-{name}")),
            "{name} is no room any more"
        );
    }
}

#[test]
fn only_the_store_knows_a_database() {
    for (package, imports) in dependencies() {
        if package == "rlhf-audit-store" {
            continue;
        }
        for database in DATABASES {
            assert!(!imports.contains(*database), "{package} imports {database}");
        }
    }
}
