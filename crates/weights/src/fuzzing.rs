//! For `crates/fuzz`: what reads files of weights. Not for anything else, and in no build of the binary.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::layout::{self, Form, LayoutError};

/// Where the parts of a file of this name with these bytes are; `None` for one without.
///
/// # Errors
/// It is not what its name says, and why.
pub fn parts(name: &str, bytes: &[u8]) -> Result<Option<Vec<Range<u64>>>, String> {
    let file = in_memory(bytes).map_err(|error| error.to_string())?;
    match layout::of(name, &file, bytes.len() as u64) {
        Ok(layout) if layout.form == Form::Plain => Ok(None),
        Ok(layout) => Ok(Some(
            layout
                .parts
                .iter()
                .map(|part| part.begin..part.end)
                .collect(),
        )),
        Err(LayoutError::Malformed(why)) => Err(why),
        Err(LayoutError::Io(error)) => Err(error.to_string()),
    }
}

fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("weights", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}
