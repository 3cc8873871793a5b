//! Writes what is generated, or checks that it is current.
//!
//! `cargo run -p xtask -- schemas` writes a JSON Schema for each kind of record under
//! `docs/spec/schemas`, that of the configuration file, and the table of its keys; with `--check` it writes nothing
//! and fails where one is not current.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod configuration;
mod schemas;

const USAGE: &str = "usage: cargo run -p xtask -- schemas [--check]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (task, check) = match args.as_slice() {
        [task] => (*task, false),
        [task, "--check"] => (*task, true),
        _ => return usage(),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let result = match task {
        "schemas" => settle(&root.join(schemas::DIRECTORY), &schemas::files(), check)
            .and_then(|()| settle_files(&root, check)),
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Makes a directory hold exactly these files, or says how it differs.
fn settle(directory: &Path, files: &BTreeMap<String, String>, check: bool) -> Result<(), String> {
    let about = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    if !check {
        std::fs::create_dir_all(directory).map_err(|error| about(directory, error))?;
    }
    let mut stale = Vec::new();
    for (name, text) in files {
        let path = directory.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|found| found == *text) {
            continue;
        }
        if check {
            stale.push(name.clone());
        } else {
            std::fs::write(&path, text).map_err(|error| about(&path, error))?;
        }
    }
    for path in present(directory).map_err(|error| about(directory, error))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if files.contains_key(&name) {
            continue;
        }
        if check {
            stale.push(format!("{name} (nothing generates it)"));
        } else {
            std::fs::remove_file(&path).map_err(|error| about(&path, error))?;
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!(
        "not current: {}; run the same without --check",
        stale.join(", ")
    ))
}

/// Makes the files be so that concern the configuration, or says which are not.
fn settle_files(root: &Path, check: bool) -> Result<(), String> {
    let mut stale = Vec::new();
    for (name, text) in configuration::files(root)? {
        let path = root.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        if check {
            stale.push(name);
        } else {
            std::fs::write(&path, text).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!(
        "not current: {}; run the same without --check",
        stale.join(", ")
    ))
}

fn present(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}
