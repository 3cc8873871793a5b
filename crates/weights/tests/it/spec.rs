//! Holds the example of `docs/spec/model-manifest.md` to the code. With `UPDATE_SPEC=1` in the environment it is written
//! instead.

use std::fmt::Write as _;
use std::path::Path;

use weights::Manifest;

use crate::models::{hash, with_header, write};

const HEADER: &str = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

/// The model of the example.
fn model() -> (Manifest, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let numbers = [1_f32, 2.0].map(f32::to_le_bytes).concat();
    let safetensors = with_header(HEADER.as_bytes(), &numbers);
    write(dir.path(), "config.json", b"{}");
    write(dir.path(), "model.safetensors", &safetensors);
    write(
        dir.path(),
        "optimizer.pt",
        include_bytes!("../golden/example.pt"),
    );
    (hash(dir.path()).unwrap(), safetensors)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn the_document_is_current() {
    let (manifest, safetensors) = model();
    let (length, rest) = safetensors.split_at(8);
    let (header, numbers) = rest.split_at(HEADER.len());
    let examples = [
        ("manifest", String::from_utf8(manifest.to_bytes()).unwrap()),
        (
            "manifest-hash",
            format!("SHA-256(manifest) = {}", manifest.sha256()),
        ),
        (
            "safetensors",
            format!(
                "length   {}\nheader   {}\ntensor   {}",
                hex(length),
                String::from_utf8(header.to_vec()).unwrap(),
                hex(numbers)
            ),
        ),
    ];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/model-manifest.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let mut current = document.clone();
    for (name, example) in examples {
        let mark = format!("<!-- example: {name} -->\n```");
        let at = current.find(&mark).unwrap_or_else(|| panic!("no {name}"));
        let begin = at + mark.len() + current[at + mark.len()..].find('\n').unwrap() + 1;
        let end = begin + current[begin..].find("```").unwrap();
        current.replace_range(begin..end, &format!("{example}\n"));
    }
    if std::env::var_os("UPDATE_SPEC").is_some() {
        std::fs::write(&path, current).unwrap();
    } else {
        assert!(
            current == document,
            "{} is not current; UPDATE_SPEC=1 writes it",
            path.display()
        );
    }
}
