//! Clocks, failing stores, real servers and fixtures; only ever a dev-dependency.

#[cfg(feature = "stores")]
pub mod failing;
pub mod log;
#[cfg(feature = "services")]
pub mod services;
#[cfg(feature = "stores")]
pub mod shared;
#[cfg(feature = "tsa")]
pub mod tsa;
pub mod web;
