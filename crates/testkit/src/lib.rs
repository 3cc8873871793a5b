//! Clocks, failing stores and fixtures; only ever a dev-dependency.

#[cfg(feature = "stores")]
pub mod failing;
pub mod log;
#[cfg(feature = "stores")]
pub mod shared;
#[cfg(feature = "tsa")]
pub mod tsa;
