//! Reading back: pages, single records, runs, bundles, and the log as other tools read it.

use client::{CardFormat, RecordQuery};
use tlog::{EntryBundle, HashTile, TileId};

use crate::support::{Server, code};

#[test]
fn pages_follow_each_other_without_gap_or_overlap() {
    let server = Server::start();
    let mut one = server.open_run("one", &server.producer);
    let mut two = server.open_run("two", &server.producer);
    for _ in 0..25 {
        one.draft();
        two.draft();
        server.take(&mut one);
        server.take(&mut two);
    }
    server.published();
    let reader = server.client(&server.reader);
    for (run, kind) in [
        (Some(one.run.to_string()), None),
        (Some(one.run.to_string()), Some("metric.logged".to_owned())),
        (None, Some("metric.logged".to_owned())),
        (None, None),
    ] {
        let query = |after, limit| RecordQuery {
            run: run.clone(),
            kind: kind.clone(),
            after,
            limit,
        };
        let all = reader.records(&query(None, Some(1_000))).unwrap();
        assert_eq!(all.next, None);
        let mut after = None;
        let mut paged = Vec::new();
        loop {
            let page = reader.records(&query(after, Some(7))).unwrap();
            assert!(page.records.len() <= 7);
            paged.extend(page.records);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let indices = |records: &[client::LoggedRecord]| {
            records
                .iter()
                .map(|record| record.index)
                .collect::<Vec<_>>()
        };
        assert_eq!(indices(&paged), indices(&all.records), "{run:?} {kind:?}");
        assert!(indices(&paged).is_sorted_by(|a, b| a < b));
        for record in &paged {
            let bytes = record.record.get().as_bytes();
            let parsed = record::Record::parse(bytes).unwrap();
            assert_eq!(
                record::RecordHash::from(record::leaf_hash(bytes)),
                record.leaf_hash
            );
            assert!(
                run.as_ref()
                    .is_none_or(|run| parsed.scope().as_str() == run)
            );
            assert!(kind.as_ref().is_none_or(|kind| parsed.kind_name() == kind));
        }
        let metrics = if run.is_some() { 25 } else { 50 };
        if kind.is_some() {
            assert_eq!(paged.len(), metrics);
        }
    }
}

#[test]
fn a_record_is_read_verbatim_by_its_index() {
    let server = Server::start();
    let mut stream = server.open_run("verbatim", &server.producer);
    stream.draft();
    let sent = stream.submissions()[0].record.clone();
    let answer = server.post_lines(&stream.lines(), Some(&server.producer));
    let index = answer.json()["records"][0]["index"].as_u64().unwrap();
    server.published();
    let record = server.client(&server.reader).record(index).unwrap();
    assert_eq!(record.record.get().as_bytes(), sent);
    assert_eq!(record.index, index);
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let server = Server::start();
    server.start_run("twice");
    server.start_run("twice");
    for (path, status, name) in [
        ("/v1/records/999999", 404, "not-found"),
        ("/v1/records/minus-one", 400, "bad-path"),
        ("/v1/records/999999/proof", 404, "not-found"),
        ("/v1/records?limit=0", 400, "bad-parameter"),
        ("/v1/records?limit=1001", 400, "bad-parameter"),
        ("/v1/records?limit=many", 400, "bad-parameter"),
        ("/v1/records?kind=metric.invented", 400, "bad-parameter"),
        ("/v1/records?run=unknown", 400, "bad-parameter"),
        ("/v1/records?unknown=1", 400, "bad-parameter"),
        ("/v1/runs/nobody", 404, "not-found"),
        ("/v1/runs/twice", 409, "ambiguous-name"),
        ("/v1/runs/nobody/streams", 404, "not-found"),
        ("/v1/runs/nobody/bundle", 404, "not-found"),
        ("/v1/runs/nobody/card", 404, "not-found"),
        ("/log/tile/0/999", 404, "not-found"),
        ("/log/tile/entries/999", 404, "not-found"),
        ("/log/tile/0/../../keys/log.ed25519", 404, "not-found"),
        (
            "/log/tile/0/..%2f..%2f..%2fkeys%2flog.ed25519",
            404,
            "not-found",
        ),
        ("/log/tile/0/000.p/256", 404, "not-found"),
        ("/v1/elsewhere", 404, "no-such-path"),
    ] {
        let answer = server.ask("get", path, Some(&server.admin), None);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        // A client may resolve dots itself, and then asks for something else.
        if !path.contains("/../") {
            assert_eq!(code(&answer), name, "{path}: {}", answer.text());
        }
    }
    let answer = server.ask("delete", "/v1/tokens/nobody", Some(&server.admin), None);
    assert_eq!((answer.status, code(&answer).as_str()), (404, "not-found"));
}

#[test]
fn runs_are_listed_a_page_at_a_time() {
    let server = Server::start();
    let started: Vec<_> = (0..7)
        .map(|n| server.start_run(&format!("run {n}")).run)
        .collect();
    let reader = server.client(&server.reader);
    let mut after = None;
    let mut listed = Vec::new();
    loop {
        let page = reader.runs(after.as_deref(), 3).unwrap();
        assert!(page.runs.len() <= 3);
        listed.extend(page.runs.into_iter().map(|run| run.run));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, started);
    assert_eq!(reader.run("run 3").unwrap().run, started[3]);
    assert_eq!(reader.run("run 3").unwrap().status, "open");
}

/// What a tool nobody here wrote does: checkpoint, tiles and bundles over plain HTTP, and the root
/// computed from them.
#[test]
fn the_log_can_be_read_and_recomputed_from_outside() {
    let server = Server::start();
    let mut stream = server.open_run("tiles", &server.producer);
    for _ in 0..300 {
        stream.draft();
    }
    server.take(&mut stream);
    let size = server.published();
    assert!(size > 300);
    let note = server.client(&server.reader).checkpoint().unwrap();
    let text = note.split_inclusive("\n\n").next().unwrap();
    let checkpoint = tlog::Checkpoint::parse(text.strip_suffix('\n').unwrap()).unwrap();
    assert_eq!(checkpoint.size.get(), size);
    let total = checkpoint.size.get();
    let mut leaves = Vec::new();
    for index in 0..total.div_ceil(256) {
        let id = TileId::entries(index, checkpoint.size).unwrap();
        let path = format!("/log/{}", id.path());
        let answer = server.ask("get", &path, Some(&server.reader), None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(
            answer.header("cache-control"),
            "private, max-age=31536000, immutable"
        );
        let width = (total - index * 256).min(256) as u16;
        let entries = EntryBundle::parse(&answer.body, width).unwrap();
        let hashes: Vec<_> = entries.iter().map(|entry| tlog::leaf_hash(entry)).collect();

        let id = TileId::in_tree(tlog::TileLevel::Hashes(0), index, checkpoint.size).unwrap();
        let path = format!("/log/{}", id.path());
        let answer = server.ask("get", &path, None, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(
            answer.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        assert_eq!(
            HashTile::parse(&answer.body, width).unwrap().hashes(),
            hashes
        );
        leaves.extend(hashes);
    }
    assert_eq!(root(&leaves), checkpoint.root);
    let answer = server.ask("get", "/log/checkpoint", None, None);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-cache");
}

/// RFC 6962 §2.1, straight from its text.
fn root(leaves: &[tlog::Hash]) -> tlog::Hash {
    match leaves {
        [one] => *one,
        many => {
            let left = many.len().next_power_of_two() / 2;
            tlog::node_hash(&root(&many[..left]), &root(&many[left..]))
        }
    }
}

#[test]
fn a_bundle_is_downloaded_whole_and_openings_are_for_admins() {
    let server = Server::start();
    let mut stream = server.open_run("bundled", &server.producer);
    let sealed = stream.sealed();
    assert_eq!(
        server.post_lines(&sealed, Some(&server.producer)).status,
        201
    );
    let bundle = |token: &str, openings: bool| {
        let mut bytes = Vec::new();
        let result = server.client(token).bundle("bundled", openings, &mut bytes);
        result.map(|written| {
            assert_eq!(written as usize, bytes.len());
            bytes
        })
    };
    let holds = |bytes: &[u8], what: &str| {
        bytes
            .windows(what.len())
            .any(|window| window == what.as_bytes())
    };
    server.published();
    let plain = bundle(&server.reader, false).unwrap();
    assert!(holds(&plain, "annotation.demonstration"));
    assert!(plain.starts_with(b"rlhf-audit-bundle/v1\n"));
    assert!(
        !holds(&plain, "an answer"),
        "a bundle for readers shows a sealed value"
    );
    assert!(holds(&bundle(&server.admin, true).unwrap(), "an answer"));
    let refused = bundle(&server.reader, true).unwrap_err();
    assert_eq!(refused.problem().unwrap().code, "forbidden");
}

#[test]
fn a_card_is_shown_and_issued() {
    let server = Server::start();
    let mut stream = server.open_run("carded", &server.producer);
    stream.draft();
    server.take(&mut stream);
    let reader = server.client(&server.reader);
    server.published();
    let markdown = reader.card("carded", CardFormat::Markdown).unwrap();
    assert!(markdown.starts_with("---\n"), "{markdown}");
    let html = reader.card("carded", CardFormat::Html).unwrap();
    assert!(html.to_lowercase().starts_with("<!doctype html>"), "{html}");
    serde_json::from_str::<serde_json::Value>(&reader.card("carded", CardFormat::Json).unwrap())
        .unwrap();
    let issued = server.client(&server.admin).issue_card("carded").unwrap();
    let index = issued["index"].as_u64().unwrap();
    server.published();
    let recorded = reader.record(index).unwrap();
    for file in issued["files"].as_array().unwrap() {
        let content = file["content"].as_str().unwrap();
        let digest = record::Sha256(tlog::sha256(content.as_bytes())).to_string();
        assert!(
            recorded.record.get().contains(&digest),
            "{} is not recorded",
            file["name"]
        );
    }
    assert!(
        recorded
            .record
            .get()
            .contains(r#""kind":"document.issued""#),
        "{}",
        recorded.record
    );
}
