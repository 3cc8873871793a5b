//! Leases, by the clock of the database.

use super::PgMeta;
use crate::error::Result;
use crate::meta::LeaseStore;
use crate::rows::stored;

impl LeaseStore for PgMeta {
    fn take_lease(&self, name: &str, holder: &str, millis: u64) -> Result<bool> {
        let asked = (name.to_owned(), holder.to_owned(), stored(millis)?);
        // Taking it twice is taking it; so it may be tried again.
        self.database.run("take a lease", move |session| {
            let (name, holder, millis) = asked.clone();
            async move {
                let taken = session
                    .execute(
                        "INSERT INTO leases (name, holder, until)
                         VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 millisecond')
                         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
                         WHERE leases.holder = excluded.holder OR leases.until <= clock_timestamp()",
                        &[&name, &holder, &millis],
                    )
                    .await?;
                Ok(taken > 0)
            }
        })
    }

    fn release_lease(&self, name: &str, holder: &str) -> Result<()> {
        let asked = (name.to_owned(), holder.to_owned());
        self.database.run("give up a lease", move |session| {
            let (name, holder) = asked.clone();
            async move {
                session
                    .execute(
                        "DELETE FROM leases WHERE name = $1 AND holder = $2",
                        &[&name, &holder],
                    )
                    .await?;
                Ok(())
            }
        })
    }
}
