//! The metrics, held against docs/operations/metrics.md and against what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::services;
use ureq::http::Request;

use crate::support::Server;

/// Type and labels, by the name that is queried.
type Table = BTreeMap<String, (String, BTreeSet<String>)>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the page says.
fn documented() -> Table {
    let page = fs::read_to_string(root().join("../../docs/operations/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = cells[0].trim_end_matches('`').to_owned();
        let labels = cells[2].split(',').map(|label| label.trim().to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (name, (cells[1].to_owned(), labels))
    })
    .collect()
}

/// The name that is queried.
fn queried(family: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{family}_total"),
        "info" => format!("{family}_info"),
        _ => family.to_owned(),
    }
}

/// What a scrape has.
fn scraped(text: &str) -> Table {
    let mut table = Table::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("# TYPE ") {
            let (family, kind) = line.split_once(' ').unwrap();
            table.insert(queried(family, kind), (kind.to_owned(), BTreeSet::new()));
            continue;
        }
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let name = name
            .trim_end_matches("_bucket")
            .trim_end_matches("_sum")
            .trim_end_matches("_count");
        let Some((_, labels)) = table.get_mut(name) else {
            continue;
        };
        let inside = rest.rsplit_once('}').unwrap().0;
        let names = inside.split("\",").filter_map(|pair| pair.split_once('='));
        labels.extend(
            names
                .map(|(label, _)| label.to_owned())
                .filter(|label| label != "le"),
        );
    }
    table
}

/// The names under which the code registers metrics, with their prefix and unit and without what the type adds.
fn registered() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let quoted = |text: &str| text.split('"').nth(1).unwrap().to_owned();
            let prefix = text
                .split_once("Registry::with_prefix(")
                .map(|(_, rest)| quoted(rest));
            let prefix = prefix.unwrap_or_else(|| "rlhf_audit".to_owned());
            for call in text.split("registry.register").skip(1) {
                let unit = call.starts_with("_with_unit(").then(|| {
                    let unit = call.split_once("Unit::").unwrap().1;
                    let unit = unit.split(|c: char| !c.is_ascii_alphanumeric()).next();
                    format!("_{}", unit.unwrap().to_ascii_lowercase())
                });
                names.insert(format!(
                    "{prefix}_{}{}",
                    quoted(call),
                    unit.unwrap_or_default()
                ));
            }
        }
    }
    names
}

#[test]
fn the_page_of_metrics_has_what_the_code_registers_and_nothing_else() {
    let documented: BTreeSet<String> = documented()
        .into_iter()
        .map(|(name, (kind, _))| {
            let family = match kind.as_str() {
                "counter" => name.strip_suffix("_total"),
                "info" => name.strip_suffix("_info"),
                _ => Some(name.as_str()),
            };
            family
                .unwrap_or_else(|| panic!("{name} is no name of a {kind}"))
                .to_owned()
        })
        .collect();
    let registered = registered();
    let undocumented: Vec<_> = registered.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&registered).collect();
    assert!(
        undocumented.is_empty() && gone.is_empty(),
        "docs/operations/metrics.md lacks {undocumented:?} and has {gone:?} too much"
    );
}

#[test]
fn a_scrape_has_the_types_and_labels_of_the_page_and_counts_what_happens() {
    let server = Server::start();
    let mut stream = server.open_run("measured", &server.producer);
    stream.draft();
    server.take(&mut stream);
    server.published();
    let bundle = format!("/v1/runs/{}/bundle", stream.run);
    let bytes = server
        .ask("get", &bundle, Some(&server.reader), None)
        .body
        .len();
    for (token, status) in [
        (None, 401),
        (Some("rat_unknown"), 401),
        (Some(server.producer.as_str()), 403),
    ] {
        assert_eq!(server.ask("get", &bundle, token, None).status, status);
    }
    let text = server.ask("get", "/metrics", None, None).text();
    let documented = documented();
    for (name, (kind, labels)) in scraped(&text) {
        let row = documented
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is not documented"));
        assert_eq!((&kind, &labels), (&row.0, &row.1), "{name}");
    }
    for line in [
        r#"rlhf_audit_authentication_failures_total{reason="unauthenticated"} 1"#,
        r#"rlhf_audit_authentication_failures_total{reason="invalid-token"} 1"#,
        r#"rlhf_audit_authentication_failures_total{reason="forbidden"} 1"#,
        r#"rlhf_audit_records_sequenced_total{kind="run.started"} 1"#,
        r#"rlhf_audit_records_sequenced_total{kind="metric.logged"} 1"#,
        r"rlhf_audit_active_runs 1",
        r#"rlhf_audit_integrity_failures_total{by="request"} 0"#,
        r#"rlhf_audit_integrity_failures_total{by="check"} 0"#,
        r#"rlhf_audit_append_stage_duration_seconds_count{stage="cosigned"} 0"#,
        r"rlhf_audit_accepting 1",
        &format!(r#"rlhf_audit_exported_bytes_total{{what="bundle"}} {bytes}"#),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[test]
fn damage_that_a_reader_meets_is_counted() {
    let server = Server::start();
    let mut stream = server.open_run("damaged", &server.producer);
    for _ in 0..300 {
        stream.draft();
    }
    server.take(&mut stream);
    server.published();
    // A full bundle, which the first 256 records are in.
    let path = server.dir.path().join("log/tile/entries/000");
    fs::write(&path, b"not what was written").unwrap();
    let answer = server.ask("get", "/v1/records/1", Some(&server.reader), None);
    assert_eq!(answer.status, 500, "{}", answer.text());
    let text = server.ask("get", "/metrics", None, None).text();
    assert!(
        text.contains("rlhf_audit_integrity_failures_total{by=\"request\"} 1"),
        "{text}"
    );
}

/// What Prometheus' own tool says of a text in its older format, which is the one it reads.
fn checked(text: &[u8]) -> (bool, String) {
    let mut promtool = Command::new(services::promtool())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn prometheus_has_nothing_to_say_against_them() {
    let server = Server::start();
    let mut stream = server.open_run("measured", &server.producer);
    stream.draft();
    server.take(&mut stream);
    server.published();
    let scrape = |accept: &str| {
        let request = Request::get(format!("{}/metrics", server.url)).header("accept", accept);
        server.run(request.body(()).unwrap())
    };
    let plain = scrape("text/plain;version=0.0.4");
    assert!(plain.header("content-type").starts_with("text/plain"));
    let (good, said) = checked(&plain.body);
    assert!(good && said.is_empty(), "{said}\nof\n{}", plain.text());
    // As Prometheus asks since 2.5, and who asks for nothing.
    for accept in [
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
        "*/*",
    ] {
        let answer = scrape(accept);
        assert!(
            answer
                .header("content-type")
                .starts_with("application/openmetrics-text")
        );
        assert!(answer.text().ends_with("# EOF\n"));
    }
    // The same numbers, and a tool that would have said something.
    let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    // The scrapes before are in both.
    let plain = scrape("text/plain;version=0.0.4");
    assert_eq!(samples(&plain.text()), samples(&scrape("*/*").text()));
    let (good, said) =
        checked(b"# TYPE rlhf_audit_http_requests counter\nrlhf_audit_http_requests 1\n");
    assert!(!good && said.contains("_total"), "{said}");
}
