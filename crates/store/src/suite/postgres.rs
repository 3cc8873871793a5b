//! PostgreSQL, held to the contracts of the traits.

use std::time::Duration;

use crate::{PgJournal, PgMeta, PgOptions, Postgres, suite};

/// A ledger of its own in the server that the tests share.
fn database() -> Postgres {
    let server = testkit::services::postgres();
    let options = PgOptions {
        schema: server.new_schema(),
        retain: Duration::ZERO,
        ..PgOptions::new(server.url())
    };
    Postgres::open(&options).unwrap()
}

fn meta() -> ((), PgMeta) {
    ((), PgMeta::new(&database()))
}

fn open(database: &Postgres, start: u64) -> PgJournal {
    PgJournal::open(database, start).unwrap()
}

#[test]
fn postgres_journal() {
    suite::journal(database, open);
}

#[test]
fn postgres_shared_journal() {
    suite::shared_journal(database, open);
}

#[test]
fn postgres_checkpoints() {
    suite::checkpoints(meta);
}

#[test]
fn postgres_index() {
    suite::index(meta);
}

#[test]
fn postgres_subject_keys() {
    suite::subject_keys(meta);
}

#[test]
fn postgres_tokens() {
    suite::tokens(meta);
}

#[test]
fn postgres_settings() {
    suite::settings(meta);
}

#[test]
fn postgres_leases() {
    suite::leases(meta);
}

#[test]
fn postgres_jobs() {
    suite::jobs(meta);
}
