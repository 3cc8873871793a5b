//! What a user imports: whole files, good and bad, up to the records they become.

mod fine_grained;
mod hh;
mod malformed;
mod seen;
mod trl;
