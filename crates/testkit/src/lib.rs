//! Clocks, failing stores and fixtures; only ever a dev-dependency.

#[cfg(feature = "stores")]
pub mod failing;
pub mod log;
#[cfg(feature = "services")]
pub mod services;
