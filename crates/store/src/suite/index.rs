//! The contract of [`IndexStore`].

use std::collections::BTreeMap;

use tlog::Hash;

use crate::{
    IndexRow, IndexStore, IndexUpdate, KindRow, RangeRow, RunRow, Span, StoreError, StreamRow,
};

/// Runs all of it on stores that `new` makes.
pub fn index<P, S: IndexStore>(new: impl Fn() -> (P, S)) {
    let (_place, store) = new();
    finds_every_record(&store);
    let (_place, store) = new();
    merges_neighbours(&store);
    let (_place, store) = new();
    applies_a_round_once(&store);
    let (_place, store) = new();
    knows_kinds(&store);
    let (_place, store) = new();
    knows_runs(&store);
    let (_place, store) = new();
    clears(&store);
    let (_place, store) = new();
    shows_its_rows(&store);
}

fn shows_its_rows(store: &impl IndexStore) {
    let kind = |scope: &str, kind: &str, bundle| KindRow {
        scope: scope.to_owned(),
        kind: kind.to_owned(),
        bundle,
    };
    let update = IndexUpdate {
        from: 0,
        to: 5,
        streams: vec![
            stream("r", "b", 2),
            stream("ledger", "Z", 1),
            stream("r", "a", 2),
        ],
        ranges: vec![
            range("r", "a", 0, 1, 0),
            range("r", "a", 1, 1, 3),
            range("r", "b", 0, 2, 1),
            range("ledger", "Z", 0, 1, 4),
        ],
        kinds: vec![kind("r", "y", 0), kind("r", "x", 0), kind("ledger", "x", 0)],
        runs: vec![run("r2", "n", 3), run("r1", "n", 0)],
    };
    store.apply(&update).unwrap();
    let more = IndexUpdate {
        from: 5,
        to: 6,
        streams: vec![stream("r", "a", 3)],
        ranges: vec![range("r", "a", 2, 1, 5)],
        ..IndexUpdate::default()
    };
    store.apply(&more).unwrap();
    let mut seen = Vec::new();
    store
        .index_rows(&mut |row| {
            seen.push(row);
            Ok(())
        })
        .unwrap();
    let expected: Vec<IndexRow> = [
        stream("ledger", "Z", 1),
        stream("r", "a", 3),
        stream("r", "b", 2),
    ]
    .map(IndexRow::Stream)
    .into_iter()
    .chain(
        [
            range("ledger", "Z", 0, 1, 4),
            range("r", "a", 0, 1, 0),
            range("r", "a", 1, 1, 3),
            range("r", "a", 2, 1, 5),
            range("r", "b", 0, 2, 1),
        ]
        .map(IndexRow::Range),
    )
    .chain([kind("ledger", "x", 0), kind("r", "x", 0), kind("r", "y", 0)].map(IndexRow::Kind))
    .chain([run("r1", "n", 0), run("r2", "n", 3)].map(IndexRow::Run))
    .collect();
    assert_eq!(seen, expected);
    let stop = store.index_rows(&mut |_| {
        Err(StoreError::Injected {
            what: "stop".to_owned(),
        })
    });
    assert!(matches!(stop, Err(StoreError::Injected { .. })));
}

fn stream(scope: &str, stream: &str, next_seq: u64) -> StreamRow {
    let head = Hash::from([next_seq as u8; 32]);
    let (key, state) = (vec![7; 32], next_seq.to_be_bytes().to_vec());
    StreamRow {
        scope: scope.to_owned(),
        stream: stream.to_owned(),
        next_seq,
        head,
        key,
        state,
    }
}

fn range(scope: &str, stream: &str, first_seq: u64, count: u64, first_index: u64) -> RangeRow {
    RangeRow {
        scope: scope.to_owned(),
        stream: stream.to_owned(),
        first_seq,
        count,
        first_index,
    }
}

fn run(id: &str, name: &str, started_index: u64) -> RunRow {
    RunRow {
        run: id.to_owned(),
        name: name.to_owned(),
        experiment: Some("e".to_owned()),
        model: None,
        owner_key: vec![1; 32],
        principal: format!("token of {id}"),
        started_index,
        started_at: -5,
        sealed_index: None,
        status: None,
        records: 2,
        state: vec![3, 4],
    }
}

fn span(first_index: u64, count: u64) -> Span {
    Span { first_index, count }
}

/// All spans, paged by `limit`.
fn all_spans(store: &impl IndexStore, scope: &str, limit: usize) -> Vec<Span> {
    let (mut found, mut from) = (Vec::<Span>::new(), 0);
    loop {
        let page = store.spans(scope, from, limit).unwrap();
        assert!(page.len() <= limit);
        let Some(last) = page.last() else {
            return found;
        };
        from = last.first_index + last.count;
        found.extend(page);
    }
}

/// Streams of several scopes, interleaved at random, in rounds of all sizes: each record is where it was put.
fn finds_every_record(store: &impl IndexStore) {
    const STREAMS: [(&str, &str); 5] = [
        ("ledger", "server"),
        ("R1", "rank0"),
        ("R1", "rank1"),
        ("R2", "rank0"),
        ("R2", "import"),
    ];
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut truth: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    let mut size = 0;
    for round in [1, 4000, 10, 3, 700, 1, 2, 9000, 50, 50] {
        let mut update = IndexUpdate {
            from: size,
            to: size + round,
            ..IndexUpdate::default()
        };
        while size < update.to {
            let (scope, name) = STREAMS[random(5) as usize];
            let indices = truth.entry((scope, name)).or_default();
            let count = (1 + random(4)).min(update.to - size);
            update
                .ranges
                .push(range(scope, name, indices.len() as u64, count, size));
            indices.extend(size..size + count);
            size += count;
        }
        let grown = truth
            .iter()
            .map(|((scope, name), indices)| stream(scope, name, indices.len() as u64));
        update.streams = grown.collect();
        store.apply(&update).unwrap();
        assert_eq!(store.indexed_size().unwrap(), size);
    }
    for ((scope, name), indices) in &truth {
        for (seq, index) in indices.iter().enumerate() {
            assert_eq!(
                store.find(scope, name, seq as u64).unwrap(),
                Some(*index),
                "{scope} {name} {seq}"
            );
        }
        assert_eq!(store.find(scope, name, indices.len() as u64).unwrap(), None);
        assert_eq!(store.find(scope, name, u64::MAX).unwrap(), None);
        let row = store.stream(scope, name).unwrap();
        assert_eq!(row, Some(stream(scope, name, indices.len() as u64)));
    }
    assert_eq!(store.find("R1", "import", 0).unwrap(), None);
    assert_eq!(store.stream("R1", "import").unwrap(), None);
    let names: Vec<_> = store
        .streams("R2")
        .unwrap()
        .into_iter()
        .map(|row| row.stream)
        .collect();
    assert_eq!(names, ["import", "rank0"]);
    for scope in ["ledger", "R1", "R2"] {
        let mut indices: Vec<_> = truth
            .iter()
            .filter(|((of, _), _)| *of == scope)
            .flat_map(|(_, indices)| indices)
            .copied()
            .collect();
        indices.sort_unstable();
        for limit in [1, 7, 100_000] {
            let found = all_spans(store, scope, limit);
            let found: Vec<_> = found
                .iter()
                .flat_map(|span| span.first_index..span.first_index + span.count)
                .collect();
            assert!(found == indices, "{scope}, pages of {limit}");
        }
    }
}

fn merges_neighbours(store: &impl IndexStore) {
    let update = |from, to, ranges| IndexUpdate {
        from,
        to,
        ranges,
        ..IndexUpdate::default()
    };
    let first = update(
        0,
        4,
        vec![range("R", "a", 0, 2, 0), range("R", "a", 2, 2, 2)],
    );
    store
        .apply(&IndexUpdate {
            streams: vec![stream("R", "a", 4), stream("R", "b", 0)],
            ..first
        })
        .unwrap();
    store
        .apply(&update(4, 10, vec![range("R", "a", 4, 6, 4)]))
        .unwrap();
    assert_eq!(store.spans("R", 0, 10).unwrap(), [span(0, 10)]);
    // From the middle of a span; another scope's records in between; then two streams side by side.
    store.apply(&update(12, 12, vec![])).unwrap_err();
    store.apply(&update(10, 12, vec![])).unwrap();
    store
        .apply(&update(
            12,
            20,
            vec![range("R", "b", 0, 4, 12), range("R", "a", 10, 4, 16)],
        ))
        .unwrap();
    assert_eq!(store.spans("R", 3, 10).unwrap(), [span(3, 7), span(12, 8)]);
    assert_eq!(store.spans("R", 11, 10).unwrap(), [span(12, 8)]);
    assert_eq!(store.spans("R", 0, 1).unwrap(), [span(0, 10)]);
    assert_eq!(store.spans("R", 20, 1).unwrap(), []);
    assert_eq!(store.spans("S", 0, 1).unwrap(), []);
    assert_eq!(store.find("R", "a", 11).unwrap(), Some(17));
    assert_eq!(store.find("R", "b", 3).unwrap(), Some(15));
}

fn applies_a_round_once(store: &impl IndexStore) {
    assert_eq!(store.indexed_size().unwrap(), 0);
    let streams = vec![stream("R", "a", 3)];
    let update = IndexUpdate {
        to: 3,
        streams,
        ranges: vec![range("R", "a", 0, 3, 0)],
        ..IndexUpdate::default()
    };
    store.apply(&update).unwrap();
    let again = store.apply(&update);
    assert!(
        matches!(
            again,
            Err(StoreError::IndexMoved {
                expected: 0,
                found: 3
            })
        ),
        "{again:?}"
    );
    // Refused in the middle: nothing of it is kept.
    let bad = IndexUpdate {
        from: 3,
        to: 5,
        streams: vec![stream("R", "a", 5), stream("R", "b", u64::MAX)],
        ..update
    };
    assert!(store.apply(&bad).is_err());
    assert_eq!(store.indexed_size().unwrap(), 3);
    assert_eq!(store.streams("R").unwrap(), [stream("R", "a", 3)]);
}

fn knows_kinds(store: &impl IndexStore) {
    let kind = |scope: &str, kind: &str, bundle| KindRow {
        scope: scope.to_owned(),
        kind: kind.to_owned(),
        bundle,
    };
    let kinds = vec![
        kind("R1", "reward.scored", 4),
        kind("R1", "reward.scored", 0),
        kind("R2", "reward.scored", 0),
        kind("R1", "run.started", 0),
        kind("R1", "reward.scored", 4),
    ];
    store
        .apply(&IndexUpdate {
            to: 1,
            kinds,
            ..IndexUpdate::default()
        })
        .unwrap();
    let kinds = vec![
        kind("R1", "reward.scored", 4),
        kind("R2", "reward.scored", 9),
    ];
    store
        .apply(&IndexUpdate {
            from: 1,
            to: 2,
            kinds,
            ..IndexUpdate::default()
        })
        .unwrap();
    let of_kinds = |scope, kinds: &[&str], from, limit| {
        let found = store.bundles_with_kinds(scope, kinds, from, limit);
        found.unwrap()
    };
    let bundles = |scope, kind, from, limit| of_kinds(scope, &[kind], from, limit);
    assert_eq!(bundles(Some("R1"), "reward.scored", 0, 10), [0, 4]);
    assert_eq!(bundles(Some("R1"), "reward.scored", 1, 10), [4]);
    assert_eq!(bundles(Some("R1"), "reward.scored", 0, 1), [0]);
    assert_eq!(bundles(Some("R2"), "run.started", 0, 10), [0; 0]);
    assert_eq!(bundles(None, "reward.scored", 0, 10), [0, 4, 9]);
    assert_eq!(bundles(None, "reward.scored", 0, 2), [0, 4]);
    assert_eq!(bundles(None, "reward", 0, 10), [0; 0]);
    assert_eq!(bundles(Some("R3"), "reward.scored", 0, 10), [0; 0]);
    let both = ["run.started", "reward.scored", "no.such"];
    assert_eq!(of_kinds(Some("R1"), &both, 0, 10), [0, 4]);
    assert_eq!(of_kinds(None, &both, 0, 10), [0, 4, 9]);
    assert_eq!(of_kinds(None, &both, 1, 1), [4]);
    assert_eq!(of_kinds(None, &[], 0, 10), [0; 0]);
}

fn knows_runs(store: &impl IndexStore) {
    let rows = [
        run("01A", "same", 0),
        run("01C", "same", 9),
        run("01B", "other", 5),
    ];
    store
        .apply(&IndexUpdate {
            to: 10,
            runs: rows.to_vec(),
            ..IndexUpdate::default()
        })
        .unwrap();
    assert_eq!(store.run("01B").unwrap().as_ref(), Some(&rows[2]));
    assert_eq!(store.run("01").unwrap(), None);
    assert_eq!(
        store.runs_named("same").unwrap(),
        [rows[1].clone(), rows[0].clone()]
    );
    assert_eq!(store.runs_named("sam").unwrap(), []);
    assert_eq!(
        store.list_runs(None, 2).unwrap(),
        [rows[0].clone(), rows[2].clone()]
    );
    assert_eq!(store.list_runs(Some("01B"), 2).unwrap(), [rows[1].clone()]);
    let sealed = RunRow {
        sealed_index: Some(20),
        status: Some("completed".to_owned()),
        records: 11,
        experiment: None,
        principal: "somebody else".to_owned(),
        ..rows[0].clone()
    };
    store
        .apply(&IndexUpdate {
            from: 10,
            to: 21,
            runs: vec![sealed.clone()],
            ..IndexUpdate::default()
        })
        .unwrap();
    let expected = RunRow {
        principal: rows[0].principal.clone(),
        ..sealed
    };
    assert_eq!(store.run("01A").unwrap(), Some(expected));
}

fn clears(store: &impl IndexStore) {
    let update = IndexUpdate {
        from: 0,
        to: 3,
        streams: vec![stream("R", "a", 3)],
        ranges: vec![range("R", "a", 0, 3, 0)],
        kinds: vec![KindRow {
            scope: "R".to_owned(),
            kind: "run.started".to_owned(),
            bundle: 0,
        }],
        runs: vec![run("R", "name", 1)],
    };
    for _ in 0..2 {
        store.apply(&update).unwrap();
        assert_eq!(store.find("R", "a", 2).unwrap(), Some(2));
        store.clear_index().unwrap();
        assert_eq!(store.indexed_size().unwrap(), 0);
        assert_eq!(store.find("R", "a", 2).unwrap(), None);
        assert!(
            store.streams("R").unwrap().is_empty() && store.list_runs(None, 9).unwrap().is_empty()
        );
        assert!(
            store
                .bundles_with_kinds(None, &["run.started"], 0, 9)
                .unwrap()
                .is_empty()
        );
    }
    // The log does not say who started the run, so that outlives the index.
    let rebuilt = RunRow {
        principal: String::new(),
        ..run("R", "name", 1)
    };
    store
        .apply(&IndexUpdate {
            runs: vec![rebuilt],
            ..update
        })
        .unwrap();
    assert_eq!(store.run("R").unwrap().unwrap().principal, "token of R");
}
