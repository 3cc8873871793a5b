//! The commands, one file each: its arguments and `run`.

pub(crate) mod verify;

#[cfg(feature = "full")]
pub(crate) mod append;
#[cfg(feature = "full")]
pub(crate) mod bench;
#[cfg(feature = "full")]
pub(crate) mod bundle;
#[cfg(feature = "full")]
pub(crate) mod card;
#[cfg(feature = "full")]
pub(crate) mod fsck;
#[cfg(feature = "full")]
pub(crate) mod import;
#[cfg(feature = "full")]
pub(crate) mod init;
#[cfg(feature = "full")]
pub(crate) mod migrate;
#[cfg(feature = "full")]
pub(crate) mod monitor;
#[cfg(feature = "full")]
pub(crate) mod prove;
#[cfg(feature = "full")]
pub(crate) mod reindex;
#[cfg(feature = "full")]
pub(crate) mod run;
#[cfg(feature = "full")]
pub(crate) mod serve;
#[cfg(feature = "full")]
pub(crate) mod timestamp;
#[cfg(feature = "full")]
pub(crate) mod token;
#[cfg(feature = "full")]
pub(crate) mod witness;
