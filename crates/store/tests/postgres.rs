//! What PostgreSQL adds: servers that restart, hang, turn read-only or answer nothing, and what they leave behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use store::{
    CheckpointStore, IndexStore, IndexUpdate, Journal, JournalEntry, LeaseStore, PgJournal, PgMeta,
    PgOptions, Postgres, RangeRow, SettingStore, StoreError, StoredCheckpoint, StreamRow,
    SubjectKey, SubjectKeyRow, SubjectKeyStore,
};
use testkit::services::{self, Fault, Proxy, postgres};
use tlog::Hash;

fn options(server: &services::Postgres, port: u16) -> PgOptions {
    PgOptions {
        schema: server.new_schema(),
        retain: Duration::ZERO,
        ..PgOptions::new(format!("postgres://postgres@127.0.0.1:{port}/postgres"))
    }
}

fn append(journal: &mut PgJournal, record: &str) -> Result<(), StoreError> {
    let entry = JournalEntry {
        record: record.as_bytes(),
        sealed: b"",
        principal: b"",
    };
    journal.append_group(journal.next_index(), &[entry])
}

/// Takes the turn; the records that are shown.
fn begin(journal: &mut PgJournal) -> Result<Vec<String>, StoreError> {
    let mut shown = Vec::new();
    journal.begin(&mut |group| {
        shown.extend(
            group
                .entries()
                .map(|entry| String::from_utf8_lossy(entry.record).into_owned()),
        );
        Ok(())
    })?;
    Ok(shown)
}

fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn checkpoint(size: u64) -> StoredCheckpoint {
    StoredCheckpoint {
        size,
        root: Hash::from([size as u8; 32]),
        note: b"note".to_vec(),
    }
}

fn unavailable<T: std::fmt::Debug>(outcome: &Result<T, StoreError>) {
    assert!(
        matches!(outcome, Err(error) if error.is_unavailable()),
        "{outcome:?}"
    );
}

/// I1: once not kept, once kept but reported failed; the next turn knows which.
#[test]
fn an_append_that_fails_is_decided_by_the_next_turn() {
    let server = postgres();
    let proxy = Proxy::start(server.port());
    let database = Postgres::open(&options(server, proxy.port())).unwrap();
    let mut journal = PgJournal::open(&database, 0).unwrap();
    for (fault, kept) in [
        (Fault::Lose, None),
        (Fault::LoseAnswer, Some("kept but reported failed")),
    ] {
        assert!(begin(&mut journal).unwrap().is_empty());
        let next = journal.next_index();
        proxy.plan("COMMIT", 1, fault);
        unavailable(&append(&mut journal, kept.unwrap_or("lost")));
        assert_eq!(journal.next_index(), next);
        let shown = begin(&mut journal).unwrap();
        assert_eq!(shown, kept.into_iter().collect::<Vec<_>>());
        journal.release();
    }
    assert_eq!(proxy.struck(), 2);
    append(&mut journal, "goes on").unwrap();
    assert_eq!(journal.next_index(), 2);
}

/// I3: the same for what is moved by compare-and-swap, and for a round of the index.
#[test]
fn a_commit_that_fails_is_decided_by_the_next_read() {
    let server = postgres();
    let proxy = Proxy::start(server.port());
    let meta = PgMeta::new(&Postgres::open(&options(server, proxy.port())).unwrap());
    meta.swap_checkpoint(None, &checkpoint(1)).unwrap();
    let round = |from, to| IndexUpdate {
        from,
        to,
        ..IndexUpdate::default()
    };
    proxy.plan("COMMIT", 1, Fault::Lose);
    unavailable(&meta.swap_checkpoint(Some((1, checkpoint(1).root)), &checkpoint(2)));
    assert_eq!(meta.latest_checkpoint().unwrap(), Some(checkpoint(1)));
    proxy.plan("COMMIT", 1, Fault::LoseAnswer);
    unavailable(&meta.swap_checkpoint(Some((1, checkpoint(1).root)), &checkpoint(2)));
    assert_eq!(meta.latest_checkpoint().unwrap(), Some(checkpoint(2)));
    proxy.plan("COMMIT", 1, Fault::Lose);
    unavailable(&meta.apply(&round(0, 5)));
    assert_eq!(meta.indexed_size().unwrap(), 0);
    proxy.plan("COMMIT", 1, Fault::LoseAnswer);
    unavailable(&meta.apply(&round(0, 5)));
    assert_eq!(meta.indexed_size().unwrap(), 5);
    assert_eq!(proxy.struck(), 4);
}

/// A connection that was cut while nothing was asked is replaced without anybody noticing; so is one that is cut before
/// a write can have been kept.
#[test]
fn idle_connections_may_be_cut() {
    let server = postgres();
    let proxy = Proxy::start(server.port());
    let database = Postgres::open(&options(server, proxy.port())).unwrap();
    let (meta, mut journal) = (
        PgMeta::new(&database),
        PgJournal::open(&database, 0).unwrap(),
    );
    append(&mut journal, "first").unwrap();
    meta.kv_put("name", b"value").unwrap();
    for text in ["BEGIN", "SELECT"] {
        proxy.cut();
        proxy.heal();
        assert_eq!(begin(&mut journal).unwrap(), [""; 0]);
        journal.release();
        assert_eq!(meta.kv_get("name").unwrap().as_deref(), Some(&b"value"[..]));
        proxy.plan(text, 1, Fault::LoseAnswer);
        meta.kv_put("name", b"value").unwrap();
        proxy.plan(text, 1, Fault::Lose);
        assert_eq!(begin(&mut journal).unwrap(), [""; 0]);
        journal.release();
    }
    proxy.cut();
    unavailable(&begin(&mut journal));
    unavailable(&meta.kv_get("name"));
    unavailable(&meta.take_lease("publisher", "a", 1000));
    proxy.heal();
    assert!(meta.take_lease("publisher", "a", 1000).unwrap());
    append(&mut journal, "second").unwrap();
}

/// Giving a turn up takes a moment, and nobody waits for it: the turn after it is another's business all the same.
#[test]
fn a_turn_that_was_given_up_ends_no_later_one() {
    let database = Postgres::open(&options(postgres(), postgres().port())).unwrap();
    let rounds = |name: &str| {
        let mut journal = PgJournal::open(&database, 0).unwrap();
        for round in 0..300 {
            begin(&mut journal).unwrap();
            journal.release();
            begin(&mut journal).unwrap();
            append(&mut journal, &format!("{name} {round}")).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| rounds("one"));
        scope.spawn(|| rounds("other"));
    });
    let mut journal = PgJournal::open(&database, 0).unwrap();
    journal.restart(0);
    assert_eq!(begin(&mut journal).unwrap().len(), 600);
}

/// The server says nothing, neither yes nor no. It wakes when the client has long given up, and keeps the group.
#[test]
fn a_backend_that_hangs_with_the_turn_decides_when_it_wakes() {
    let server = services::Postgres::start();
    let database = Postgres::open(&options(&server, server.port())).unwrap();
    let open = || PgJournal::open(&database, 0).unwrap();
    let (mut journal, mut other) = (open(), open());
    begin(&mut journal).unwrap();
    let backend = server.sql(
        "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction' AND application_name LIKE 'rlhf-audit%'",
    );
    let backend = backend.parse().unwrap();
    server.pause(backend);
    unavailable(&append(&mut journal, "slow"));
    // Nobody may decide meanwhile.
    unavailable(&begin(&mut journal));
    unavailable(&begin(&mut other));
    server.resume(backend);
    let shown = until("no turn after the backend woke", || begin(&mut other).ok());
    other.release();
    assert_eq!(begin(&mut journal).unwrap(), shown);
    append(&mut journal, "next").unwrap();
    assert_eq!(journal.next_index(), shown.len() as u64 + 1);
}

#[test]
fn a_server_that_restarts_is_found_again() {
    let mut server = services::Postgres::start();
    let database = Postgres::open(&options(&server, server.port())).unwrap();
    let (meta, mut journal) = (
        PgMeta::new(&database),
        PgJournal::open(&database, 0).unwrap(),
    );
    append(&mut journal, "first").unwrap();
    meta.swap_checkpoint(None, &checkpoint(1)).unwrap();
    begin(&mut journal).unwrap();
    server.stop();
    unavailable(&append(&mut journal, "second"));
    unavailable(&begin(&mut journal));
    unavailable(&meta.latest_checkpoint());
    unavailable(&meta.swap_checkpoint(Some((1, checkpoint(1).root)), &checkpoint(2)));
    unavailable(&Postgres::open(&options(&server, server.port())));
    server.restart();
    assert_eq!(begin(&mut journal).unwrap(), [""; 0]);
    append(&mut journal, "second").unwrap();
    assert_eq!(meta.latest_checkpoint().unwrap(), Some(checkpoint(1)));
    meta.swap_checkpoint(Some((1, checkpoint(1).root)), &checkpoint(2))
        .unwrap();
}

/// As a primary that was demoted: connections stay, writes are refused until another server is found.
#[test]
fn a_server_that_turns_read_only_is_unavailable() {
    let server = services::Postgres::start();
    let database = Postgres::open(&options(&server, server.port())).unwrap();
    let (meta, mut journal) = (
        PgMeta::new(&database),
        PgJournal::open(&database, 0).unwrap(),
    );
    append(&mut journal, "first").unwrap();
    meta.kv_put("name", b"value").unwrap();
    let read_only = |value: &str| {
        server.sql(&format!(
            "ALTER SYSTEM SET default_transaction_read_only = {value}"
        ));
        server.sql("SELECT pg_reload_conf()");
        until("the setting does not arrive", || {
            (server.sql("SHOW default_transaction_read_only") == value).then_some(())
        });
    };
    read_only("on");
    unavailable(&begin(&mut journal));
    unavailable(&meta.kv_put("name", b"other"));
    read_only("off");
    append(&mut journal, "second").unwrap();
    meta.kv_put("name", b"other").unwrap();
}

#[test]
fn certificates_are_held_against_what_sslmode_asks() {
    let server = services::Postgres::start_with_tls();
    let other = services::Postgres::start_with_tls();
    let open = |host: &str, query: &str| {
        let port = server.port();
        Postgres::open(&PgOptions::new(format!(
            "postgres://postgres@{host}:{port}/postgres?{query}"
        )))
    };
    let ours = format!("sslrootcert={}", server.authority().display());
    let theirs = format!("sslrootcert={}", other.authority().display());
    for (host, query) in [
        ("localhost", format!("sslmode=verify-full&{ours}")),
        ("127.0.0.1", format!("sslmode=verify-ca&{ours}")),
        ("127.0.0.1", format!("{ours}&sslmode=require")),
        ("127.0.0.1", "sslmode=require".to_owned()),
        ("127.0.0.1", "sslmode=prefer".to_owned()),
    ] {
        let database = open(host, &query).unwrap();
        let encrypted = server.sql(
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
             WHERE application_name LIKE 'rlhf-audit%'",
        );
        assert_eq!(encrypted, "t", "{query}");
        drop(database);
    }
    for (host, query) in [
        ("127.0.0.1", format!("sslmode=verify-full&{ours}")),
        ("localhost", format!("sslmode=verify-full&{theirs}")),
        ("localhost", format!("sslmode=verify-ca&{theirs}")),
        ("localhost", format!("sslmode=require&{theirs}")),
    ] {
        let error = open(host, &query).unwrap_err();
        assert!(
            matches!(error, StoreError::Database { .. }) && error.to_string().contains("cert"),
            "{query}: {error:?}"
        );
    }
    let missing = open("localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem");
    assert!(
        matches!(missing, Err(StoreError::BadConfig { .. })),
        "{missing:?}"
    );
    // A server without TLS is none that `require` accepts.
    let plain = postgres();
    let refused = Postgres::open(&PgOptions::new(format!("{}?sslmode=require", plain.url())));
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn what_cannot_be_opened_says_why() {
    let server = postgres();
    let nobody = Proxy::start(server.port());
    nobody.cut();
    let error = Postgres::open(&PgOptions::new(format!(
        "postgres://me:hunter2@127.0.0.1:{}/postgres",
        nobody.port()
    )))
    .unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    // Trying again does not make a database.
    let error = Postgres::open(&PgOptions::new(format!(
        "postgres://postgres@127.0.0.1:{}/nothing",
        server.port()
    )))
    .unwrap_err();
    assert!(matches!(error, StoreError::Database { .. }), "{error:?}");
    assert!(error.to_string().contains("nothing"), "{error}");
    let options = options(server, server.port());
    for schema in ["", "Ledger", "a\"b", "pg_catalog"] {
        let bad = PgOptions {
            schema: schema.to_owned(),
            ..options.clone()
        };
        let refused = Postgres::open(&bad);
        assert!(
            matches!(refused, Err(StoreError::BadConfig { .. })),
            "{refused:?}"
        );
    }
    drop(Postgres::open(&options).unwrap());
    server.sql(&format!(
        "UPDATE {}.schema_version SET version = 99",
        options.schema
    ));
    let error = Postgres::open(&options).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NewerSchema {
                found: 99,
                known: 3,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn processes_that_start_together_make_one_schema() {
    let server = postgres();
    let options = options(server, server.port());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| drop(Postgres::open(&options).unwrap()));
        }
    });
}

#[test]
fn a_rotten_group_is_named() {
    let server = postgres();
    let options = options(server, server.port());
    let database = Postgres::open(&options).unwrap();
    let open = || PgJournal::open(&database, 0).unwrap();
    let (mut journal, mut other) = (open(), open());
    append(&mut journal, "first").unwrap();
    append(&mut journal, "second").unwrap();
    server.sql(&format!(
        "UPDATE {}.journal SET frame = set_byte(frame, 32, 7) WHERE first_index = 1",
        options.schema
    ));
    for outcome in [
        begin(&mut other).map(drop),
        journal.replay(0, &mut |_| Ok(())),
    ] {
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, StoreError::CorruptDatabase { .. }),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("index 1") && error.to_string().contains("checksum"),
            "{error}"
        );
    }
    assert_eq!(other.next_index(), 0);
}

#[test]
fn groups_are_kept_for_those_who_follow() {
    let server = postgres();
    let options = PgOptions {
        retain: Duration::from_hours(1),
        ..options(server, server.port())
    };
    let database = Postgres::open(&options).unwrap();
    let open = || PgJournal::open(&database, 0).unwrap();
    let (mut journal, mut other) = (open(), open());
    append(&mut journal, "first").unwrap();
    append(&mut journal, "second").unwrap();
    journal.discard_before(2).unwrap();
    assert_eq!(begin(&mut other).unwrap(), ["first", "second"]);
    other.release();
    // Groups that are old enough go, but none out of the middle.
    server.sql(&format!(
        "UPDATE {}.journal SET created_at = now() - interval '2 hours' WHERE first_index = 1",
        options.schema
    ));
    let mut fresh = open();
    fresh.discard_before(2).unwrap();
    fresh.restart(0);
    assert_eq!(begin(&mut fresh).unwrap(), ["first", "second"]);
}

fn holds(dir: &Path, secret: &[u8]) -> bool {
    dir.read_dir().unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, secret);
        }
        fs::read(&path).is_ok_and(|bytes| bytes.windows(secret.len()).any(|part| part == secret))
    })
}

/// What is promised of the table's files, not of the write-ahead log.
#[test]
fn a_destroyed_key_is_in_no_table() {
    let server = services::Postgres::start();
    let meta = PgMeta::new(&Postgres::open(&options(&server, server.port())).unwrap());
    let secret = |number: u8| [b"wrapped-key-", &[number; 48][..]].concat();
    let rows: Vec<_> = (0..100_u8)
        .map(|number| SubjectKeyRow {
            scope: "ledger".to_owned(),
            subject: format!("p-{number}"),
            key: SubjectKey {
                id: [number; 16],
                wrapped: Some(secret(number)),
            },
        })
        .collect();
    meta.insert_subject_keys(&rows).unwrap();
    let tables = server.dir().join("data/base");
    server.sql("CHECKPOINT");
    assert!(
        holds(&tables, &secret(42)),
        "the test looks in the wrong place"
    );
    assert!(meta.destroy_subject_key(&[42; 16]).unwrap());
    server.sql("CHECKPOINT");
    assert!(!holds(&tables, &secret(42)));
    assert!(holds(&tables, &secret(43)));
}

#[test]
fn an_interleaved_round_is_one_row_a_stream() {
    let server = postgres();
    let options = options(server, server.port());
    let meta = PgMeta::new(&Postgres::open(&options).unwrap());
    let (streams, records) = (64, 6400);
    let update = |from| IndexUpdate {
        from,
        to: from + records,
        streams: (0..streams)
            .map(|number| StreamRow {
                scope: "R".to_owned(),
                stream: format!("rank{number}"),
                next_seq: (from + records) / streams,
                head: Hash::from([0; 32]),
                key: Vec::new(),
                state: Vec::new(),
            })
            .collect(),
        ranges: (from..from + records)
            .map(|index| RangeRow {
                scope: "R".to_owned(),
                stream: format!("rank{}", index % streams),
                first_seq: index / streams,
                count: 1,
                first_index: index,
            })
            .collect(),
        ..IndexUpdate::default()
    };
    meta.apply(&update(0)).unwrap();
    meta.apply(&update(records)).unwrap();
    assert_eq!(
        meta.find("R", "rank63", 199).unwrap(),
        Some(2 * records - 1)
    );
    assert_eq!(meta.spans("R", 0, 10).unwrap().len(), 1);
    let rows = server.sql(&format!("SELECT count(*) FROM {}.ranges", options.schema));
    assert_eq!(rows, "128");
    // Records of a stream that nobody knows are no round.
    let orphan = IndexUpdate {
        streams: Vec::new(),
        ranges: vec![RangeRow {
            scope: "R".to_owned(),
            stream: "unknown".to_owned(),
            first_seq: 0,
            count: 1,
            first_index: 2 * records,
        }],
        ..update(2 * records)
    };
    assert!(meta.apply(&orphan).is_err());
    assert_eq!(meta.indexed_size().unwrap(), 2 * records);
}
