//! Leases, by the clock of this machine.

use rusqlite::params;

use super::{SqliteMeta, stored};
use crate::error::Result;
use crate::meta::LeaseStore;

/// Milliseconds since 1970-01-01T00:00:00Z, as SQLite has them.
const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

impl LeaseStore for SqliteMeta {
    fn take_lease(&self, name: &str, holder: &str, millis: u64) -> Result<bool> {
        self.write("take a lease", |transaction| {
            let taken = transaction
                .prepare_cached(&format!(
                    "INSERT INTO leases (name, holder, until) VALUES (?1, ?2, {NOW} + ?3)
                     ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
                     WHERE leases.holder = excluded.holder OR leases.until <= {NOW}"
                ))?
                .execute(params![name, holder, stored(millis)?])?;
            Ok(taken > 0)
        })
    }

    fn release_lease(&self, name: &str, holder: &str) -> Result<()> {
        self.write("give up a lease", |transaction| {
            transaction
                .prepare_cached("DELETE FROM leases WHERE name = ?1 AND holder = ?2")?
                .execute(params![name, holder])?;
            Ok(())
        })
    }
}
