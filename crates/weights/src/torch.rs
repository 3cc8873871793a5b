//! What `torch.save` writes since `PyTorch` 1.6: a zip archive whose entries are stored as they are. `data.pkl` says what is
//! what, the storages lie in `data/0` and so on. A pickle is a program, so it is hashed and never read: parts are named by
//! their entries.

use std::fs::File;

use rawzip::{CompressionMethod, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ZipArchive};

use crate::layout::{Form, Layout, LayoutError, Part, malformed};

/// What such a file begins with: its first entry.
pub(crate) const MAGIC: [u8; 4] = *b"PK\x03\x04";
/// More entries than this are no checkpoint.
const MAX_ENTRIES: usize = 1_000_000;

/// The entries of an archive; of one with compressed entries, which torch does not write, none.
pub(crate) fn layout(file: &File, bytes: u64) -> Result<Layout, LayoutError> {
    let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
    let broken =
        |error: rawzip::Error| LayoutError::Malformed(format!("as a zip archive: {error}"));
    let archive = ZipArchive::from_file(file.try_clone()?, &mut buffer).map_err(broken)?;
    let mut parts = Vec::new();
    let mut entries = archive.entries(&mut buffer);
    while let Some(entry) = entries.next_entry().map_err(broken)? {
        if parts.len() == MAX_ENTRIES {
            return malformed(format!("it has more than {MAX_ENTRIES} entries"));
        }
        let stored = entry.compression_method() == CompressionMethod::STORE
            && entry.compressed_size_hint() == entry.uncompressed_size_hint();
        if !stored || entry.flags().is_encrypted() {
            return Ok(Layout::plain());
        }
        let path = entry.file_path();
        let Ok(name) = std::str::from_utf8(path.as_ref()) else {
            return malformed("an entry's name is not UTF-8");
        };
        let name = name.to_owned();
        let place = archive.get_entry(entry.wayfinder()).map_err(broken)?;
        let (begin, end) = place.compressed_data_range();
        if end < begin || end > bytes {
            return malformed(format!(
                "entry {name} is said to be at {begin}..{end} of {bytes} bytes"
            ));
        }
        parts.push(Part {
            name,
            begin,
            end,
            tensor: None,
        });
    }
    distinct(&mut parts).or_else(malformed)?;
    Ok(Layout {
        form: Form::TorchZip,
        parts,
    })
}

/// Puts parts in their order, where no two have a byte or a name in common.
fn distinct(parts: &mut [Part]) -> Result<(), String> {
    parts.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if let Some([twice, _]) = parts.array_windows().find(|[a, b]| a.name == b.name) {
        return Err(format!("entry {} is there twice", twice.name));
    }
    parts.sort_unstable_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
    match parts.array_windows().find(|[a, b]| a.end > b.begin) {
        Some([a, b]) => Err(format!("entries {} and {} overlap", a.name, b.name)),
        None => Ok(()),
    }
}
