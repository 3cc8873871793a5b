//! Models made by hand, hashed and held against each other.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are not seen as tests themselves"
)]

mod changing;
mod compare;
mod folder;
mod form;
mod models;
mod safetensors;
mod torch;
