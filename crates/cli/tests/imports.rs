//! Published feedback files become records: whole or not at all, once, and onwards from where it stopped.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;
use std::process::Stdio;

use common::{ADMIN, Desk, Server, shared, text};

const HH: &str = concat!(
    r#"{"chosen":"\n\nHuman: Hi\n\nAssistant: Hello!","rejected":"\n\nHuman: Hi\n\nAssistant: What?"}"#,
    "\n",
    r#"{"chosen":"\n\nHuman: 1+1?\n\nAssistant: 2","rejected":"\n\nHuman: 1+1?\n\nAssistant: 3"}"#,
    "\n",
);

fn kinds(desk: &Desk, run: &str) -> std::collections::BTreeMap<String, u64> {
    let report = desk.ok(&["card", run, "--draft", "--json"]);
    let card: serde_json::Value = serde_json::from_str(&report).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    let shown = desk.json(&["run", "show", run]);
    counts.insert(
        "records".to_owned(),
        shown["run"]["records"].as_u64().unwrap(),
    );
    assert!(card.is_object());
    counts
}

#[test]
fn a_file_is_recorded_once_however_often_it_is_imported() {
    let desk = Desk::with_ledger();
    fs::write(desk.path("hh.jsonl"), HH).unwrap();
    let args = [
        "import", "--format", "hh-rlhf", "hh.jsonl", "--run", "feedback",
    ];
    let first = desk.json(&args);
    assert_eq!(
        (first["rows"].as_u64(), first["annotations"].as_u64()),
        (Some(2), Some(2)),
        "{first}"
    );
    let records = kinds(&desk, "feedback");
    let again = desk.json(&args);
    assert_eq!(again["recorded_before"], 2, "{again}");
    assert_eq!(kinds(&desk, "feedback"), records);
    desk.ok(&["verify", "audit-data", "--policy", "audit-data/policy"]);
}

#[test]
fn standard_input_works_like_a_file() {
    let desk = Desk::with_ledger();
    let output = desk.run_with(
        &[
            "import", "--format", "hh-rlhf", "-", "--run", "piped", "--json",
        ],
        HH.as_bytes(),
    );
    assert!(
        output.status.success(),
        "{}",
        text(&output.stdout, &output.stderr)
    );
}

#[test]
fn a_malformed_row_stops_everything_unless_it_may_be_rejected() {
    let desk = Desk::with_ledger();
    fs::write(
        desk.path("bad.jsonl"),
        format!("{HH}{{\"chosen\":7,\"rejected\":\"x\"}}\n"),
    )
    .unwrap();
    let out = desk.fails(
        2,
        &["import", "--format", "hh-rlhf", "bad.jsonl", "--run", "r"],
    );
    assert!(
        out.contains("bad.jsonl:3") && out.contains("chosen"),
        "{out}"
    );
    desk.fails(2, &["run", "show", "r"]);
    let answer = desk.json(&[
        "import",
        "--format",
        "hh-rlhf",
        "bad.jsonl",
        "--run",
        "r",
        "--rejects",
        "rejected.jsonl",
    ]);
    assert_eq!(
        (answer["rows"].as_u64(), answer["rejected"].as_u64()),
        (Some(2), Some(1)),
        "{answer}"
    );
    let rejected: serde_json::Value = serde_json::from_str(
        fs::read_to_string(desk.path("rejected.jsonl"))
            .unwrap()
            .trim(),
    )
    .unwrap();
    assert_eq!(
        (rejected["line"].as_u64(), rejected["field"].as_str()),
        (Some(3), Some("chosen"))
    );
}

#[test]
fn an_import_that_was_killed_goes_on_where_it_stopped() {
    let desk = Desk::with_ledger();
    let rows: Vec<String> = (0..20_000)
        .map(|i| format!(r#"{{"prompt":"question {i}","chosen":"good {i}","rejected":"bad {i}"}}"#))
        .collect();
    fs::write(desk.path("many.jsonl"), rows.join("\n")).unwrap();
    let args = ["import", "--format", "trl", "many.jsonl", "--run", "many"];
    let mut kills = 0;
    for delay_ms in [300, 600, 900] {
        let mut child = desk
            .command(&args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    assert!(
        kills > 0,
        "the import was never interrupted; it needs more rows"
    );
    let answer = desk.json(&args);
    assert_eq!(answer["annotations"], 20_000);
    let report = desk.verified();
    assert_eq!(
        report["counts"]["opened"], 60_000,
        "a row was recorded twice or not at all: {report}"
    );
}

#[test]
fn a_producers_token_is_enough_to_import_and_to_go_on() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let admin = ["--server", &server.url, "--token", ADMIN];
    let create = ["token", "create", "--name", "hook", "--role", "producer"];
    let token = desk.json(&[&create[..], &admin].concat());
    let token = token["token"].as_str().unwrap();
    let rows: Vec<String> = (0..3_000)
        .map(|i| format!(r#"{{"prompt":"q {i}","chosen":"good","rejected":"bad"}}"#))
        .collect();
    fs::write(desk.path("rows.jsonl"), rows.join("\n")).unwrap();
    let file = ["import", "--format", "trl", "rows.jsonl", "--run", "rows"];
    let place = ["--server", &server.url, "--token", token, "--key", "k"];
    let args = [&file[..], &place].concat();
    let first = desk.json(&args);
    assert_eq!(first["recorded_before"], 0, "{first}");
    let again = desk.json(&args);
    assert_eq!(again["recorded_before"], 3_000, "{again}");
    server.kill();
    // Publishes what the server had only acknowledged.
    desk.ok(&["run", "list"]);
    assert_eq!(desk.verified()["counts"]["opened"], 9_000);
}

const INTERFACE: &str = r#"<View>
    <Text name="prompt" value="$prompt"/><Text name="a" value="$a"/><Text name="b" value="$b"/>
    <Pairwise name="better" toName="a,b"/>
</View>"#;

/// One task a line, annotated by one of five people.
fn tasks(count: usize) -> String {
    let task = |i: usize| {
        format!(
            r#"{{"id":{i},"data":{{"prompt":"q {i}","a":"one","b":"two"}},"annotations":[{{"id":{i},"completed_by":{},"updated_at":"2026-11-20T10:00:00Z","result":[{{"from_name":"better","to_name":"better","type":"pairwise","value":{{"selected":"left"}}}}]}}]}}"#,
            i % 5
        )
    };
    (0..count).map(task).collect::<Vec<_>>().join("\n")
}

/// The pseudonyms in the log's entry bundles.
fn pseudonyms(desk: &Desk) -> std::collections::BTreeSet<String> {
    fn walk(directory: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
                continue;
            }
            let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
            let after = text.split(r#""annotator":""#).skip(1);
            found.extend(after.map(|rest| rest[..28].to_owned()));
        }
    }
    let mut found = std::collections::BTreeSet::new();
    walk(&desk.path("audit-data/log/tile/entries"), &mut found);
    found
}

#[test]
fn people_keep_their_pseudonyms_when_an_import_is_interrupted() {
    let desk = Desk::with_ledger();
    fs::write(desk.path("tasks.jsonl"), tasks(10_000)).unwrap();
    fs::write(desk.path("interface.xml"), INTERFACE).unwrap();
    let file = ["import", "--format", "label-studio", "tasks.jsonl"];
    let args = [&file[..], &["--settings", "interface.xml", "--run", "ls"]].concat();
    let began =
        || fs::read_dir(desk.path("state/imports")).is_ok_and(|mut seeds| seeds.next().is_some());
    let mut interrupted = false;
    for delay_ms in [100, 600, 900] {
        let mut child = desk.command(&args);
        let mut child = child
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // However long the machine takes to come so far.
        while !began() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
        }
        child.wait().unwrap();
        interrupted |= began();
    }
    assert!(
        interrupted,
        "the import was never interrupted; it needs more rows"
    );
    let answer = desk.json(&args);
    assert_eq!(answer["annotations"], 10_000);
    assert_eq!(pseudonyms(&desk).len(), 5);
    // Nothing links them to the file any more.
    assert_eq!(fs::read_dir(desk.path("state/imports")).unwrap().count(), 0);
    // Five pseudonyms, and no id in the clear.
    assert_eq!(desk.verified()["counts"]["opened"], 40_000);
}

#[test]
fn an_export_without_its_interface_is_refused_with_what_to_do() {
    let desk = Desk::with_ledger();
    fs::write(desk.path("tasks.jsonl"), tasks(1)).unwrap();
    let args = [
        "import",
        "--format",
        "label-studio",
        "tasks.jsonl",
        "--run",
        "ls",
    ];
    let out = desk.fails(2, &args);
    assert!(
        out.contains("--settings") && out.contains("result[0].from_name"),
        "{out}"
    );
    fs::write(desk.path("interface.xml"), "<View>").unwrap();
    let out = desk.fails(2, &[&args[..], &["--settings", "interface.xml"]].concat());
    assert!(out.contains("interface.xml: field `label_config`"), "{out}");
    let out = desk.fails(3, &[&args[..], &["--settings", "missing.xml"]].concat());
    assert!(out.contains("cannot read missing.xml"), "{out}");
}

#[test]
fn the_fine_grained_file_becomes_what_the_people_said() {
    let Some(path) = shared("fine-grained-rlhf/dev_feedback.json.gz") else {
        return;
    };
    let desk = Desk::with_ledger();
    let answer = desk.json(&[
        "import",
        "--format",
        "fine-grained-rlhf",
        path.to_str().unwrap(),
        "--run",
        "qa",
    ]);
    assert_eq!(answer["rows"], 500);
    assert_eq!(answer["annotations"], 3_000 + 500 + 1_373 + 842);
    desk.ok(&["run", "seal", "qa"]);
    desk.ok(&["bundle", "qa", "-o", "qa.rlhf-bundle"]);
    let report = desk.json(&["verify", "qa.rlhf-bundle", "--policy", "audit-data/policy"]);
    assert_eq!(report["verdict"], "verified", "{report}");
}
