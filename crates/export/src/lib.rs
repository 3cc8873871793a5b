//! Records as tables: Parquet, CSV or JSON Lines, a folder for each run and kind, with the checkpoint they belong to.
//!
//! An [`Export`] writes into a directory or an object store, one file after the other, each under a name of its own until it is whole, and
//! notes what it has. Interrupted and begun again it goes on after the last whole file, at the same checkpoint. In the end a
//! manifest has the SHA-256 of every file.
//!
//! Not here: where records come from, and whether they are what the checkpoint says (that is `verify`). The layout and the columns
//! are described in `docs/analytics.md`.

mod columns;
mod csv_file;
mod error;
mod export;
mod json_lines;
mod layout;
mod manifest;
mod out;
mod parquet_file;
mod table;

pub use error::ExportError;
pub use export::{Export, Row, Setup};
pub use layout::Format;
pub use manifest::{ExportedFile, Manifest};
