//! Hooks by the command line, and the examples of platforms that deliver to them.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{ADMIN, Desk, Server, entries, text};
use serde_json::{Value, json};

/// In base64, as Argilla makes them.
const SECRET: &str = "c2VjcmV0IG9mIGEgd2ViaG9vayBvZiBBcmdpbGxh";

/// Runs a file of `examples/` against a hook.
fn example(python: &Path, name: &str, url: &str, secret: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let output = Command::new(python)
        .arg(file.join(name))
        .env("HOOK_URL", url)
        .env("HOOK_SECRET", secret)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = text(&output.stdout, &output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

/// How many records of each kind the run in this experiment has.
fn kinds(desk: &Desk, experiment: &str) -> BTreeMap<String, u64> {
    let records: Vec<Value> = entries(&desk.path("audit-data/log"))
        .iter()
        .map(|entry| serde_json::from_slice(entry).unwrap())
        .collect();
    let begun = records
        .iter()
        .find(|record| record["body"]["experiment"] == experiment);
    let run = &begun.unwrap()["run"];
    let mut kinds = BTreeMap::new();
    for record in records.iter().filter(|record| record["run"] == *run) {
        let kind = record["kind"].as_str().unwrap();
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

#[test]
fn hooks_are_added_listed_and_removed_in_a_directory() {
    let desk = Desk::with_ledger();
    let add = [
        "hook",
        "add",
        "studio",
        "--platform",
        "label-studio",
        "--experiment",
        "feedback",
    ];
    let output = desk.run(&add);
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "/v1/hooks/studio");
    let secret = lines[1]
        .strip_prefix("Authorization: Bearer hook_")
        .unwrap();
    assert_eq!(secret.len(), 43);

    let listed = desk.ok(&["hook", "list"]);
    assert!(
        listed.contains("studio") && listed.contains("experiment feedback"),
        "{listed}"
    );
    assert!(!listed.contains(secret));
    assert_eq!(
        desk.json(&["hook", "list"])["hooks"][0]["platform"],
        "label-studio"
    );
    // Nowhere in the directory either.
    let grep = Command::new("grep")
        .args(["-rl", secret])
        .arg(desk.path("audit-data"))
        .output()
        .unwrap();
    assert_eq!(text(&grep.stdout, &grep.stderr), "");

    assert!(desk.fails(2, &add).contains("hook-exists"));
    desk.ok(&["hook", "remove", "studio"]);
    assert_eq!(desk.json(&["hook", "list"])["hooks"], json!([]));
    assert!(
        desk.fails(2, &["hook", "remove", "studio"])
            .contains("not-found")
    );
}

#[test]
fn what_cannot_be_a_hook_is_refused() {
    let desk = Desk::with_ledger();
    fs::write(desk.path("short"), "short\n").unwrap();
    for (args, says) in [
        (
            &["studio", "--platform", "prodigy", "--experiment", "e"][..],
            "label-studio",
        ),
        (&["studio", "--platform", "label-studio"], "run"),
        (
            &["studio", "--platform", "label-studio", "--run", "nobody"],
            "nobody",
        ),
        (
            &["a/b", "--platform", "label-studio", "--experiment", "e"],
            "a-z",
        ),
        (
            &["a", "--platform", "argilla", "--experiment", "e"],
            "secret",
        ),
        (
            &[
                "a",
                "--platform",
                "label-studio",
                "--experiment",
                "e",
                "--secret-file",
                "short",
            ],
            "16",
        ),
    ] {
        let args = [&["hook", "add"], args].concat();
        let said = desk.fails(2, &args);
        assert!(said.contains(says), "{args:?}: {said}");
    }
    desk.fails(
        3,
        &[
            "hook",
            "add",
            "a",
            "--platform",
            "argilla",
            "--experiment",
            "e",
            "--secret-file",
            "absent",
        ],
    );
}

#[test]
fn label_studio_delivers_as_the_example_does() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let at = ["--server", &server.url, "--token", ADMIN];
    let add = ["hook", "add", "studio", "--platform", "label-studio"];
    let hook = desk.json(&[&add[..], &["--experiment", "feedback"], &at].concat());
    let url = hook["url"].as_str().unwrap();
    assert_eq!(url, format!("{}/v1/hooks/studio", server.url));
    let secret = hook["secret"].as_str().unwrap();
    let said = example(Path::new("python3"), "label_studio_webhook.py", url, secret);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert!(lines[0].starts_with("ANNOTATION_CREATED"), "{said}");
    // The run that the hook has started is the server's, and ends when somebody says so.
    desk.ok(&[&["run", "seal", "studio"][..], &at].concat());
    let shown = desk.json(&[&["run", "show", "studio"][..], &at].concat());
    assert_eq!(shown["run"]["status"], "completed");
    server.stop();
    let kinds = kinds(&desk, "feedback");
    let count = |kind: &str| kinds.get(kind).copied().unwrap_or(0);
    assert_eq!(
        (
            count("annotation.preference"),
            count("annotation.rating"),
            count("annotation.superseded"),
            count("annotation.withdrawn")
        ),
        (2, 2, 2, 2),
        "{kinds:?}"
    );
    let log: Vec<u8> = entries(&desk.path("audit-data/log")).concat();
    let log = String::from_utf8(log).unwrap();
    for personal in ["4711", "Mont Blanc", secret] {
        assert!(!log.contains(personal), "{personal}");
    }
    desk.verified();
}

#[test]
fn argilla_delivers_as_the_example_does() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let at = ["--server", &server.url, "--token", ADMIN];
    fs::write(desk.path("secret"), format!("{SECRET}\n")).unwrap();
    let add = ["hook", "add", "argilla", "--platform", "argilla"];
    let with = ["--experiment", "feedback", "--secret-file", "secret"];
    let hook = desk.json(&[&add[..], &with, &at].concat());
    assert_eq!(hook["secret"], Value::Null);
    let python = testkit::services::python("standardwebhooks");
    let url = hook["url"].as_str().unwrap();
    let said = example(&python, "argilla_webhook.py", url, SECRET);
    assert_eq!(said.lines().count(), 4, "{said}");
    server.stop();
    let kinds = kinds(&desk, "feedback");
    let count = |kind: &str| kinds.get(kind).copied().unwrap_or(0);
    assert_eq!(
        (
            count("annotation.superseded"),
            count("annotation.withdrawn")
        ),
        (2, 2),
        "{kinds:?}"
    );
    desk.verified();
}
