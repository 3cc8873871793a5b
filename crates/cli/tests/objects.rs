//! A ledger whose objects are in S3 or Azure Blob, through the binary: configuration alone decides.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::process::Output;

use common::{Desk, Server, text};
use serde_json::Value;
use testkit::services::{self, BUCKET};

const EVENT: &[u8] = br#"{"kind":"annotation.preference","body":{"choice":"b"},"sealed":{"response_a":"x","response_b":"y"}}"#;

/// A desk with the variables of an object store.
struct Cloud {
    desk: Desk,
    variables: Vec<(String, String)>,
}

impl Cloud {
    fn run(&self, args: &[&str], input: &[u8]) -> Output {
        use std::io::Write as _;
        use std::process::Stdio;
        let mut command = self.desk.command(args);
        let mut child = command
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn ok(&self, args: &[&str], input: &[u8]) -> String {
        let output = self.run(args, input);
        let said = text(&output.stdout, &output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args, b"")).unwrap()
    }

    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args, b"");
        let said = text(&output.stdout, &output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        said
    }
}

/// Puts an attachment of several parts through a server, and reads it back.
fn attach(cloud: &Cloud, place: &[&str]) -> record::Attachment {
    let server = Server::start_in(&cloud.desk, place, &cloud.variables);
    let client = common::load::client(&server.url);
    let content: Vec<u8> = (0..20_000_000_u32).map(|n| (n / 11) as u8).collect();
    let mut source = std::io::Cursor::new(&content);
    let attachment = client.put_attachment(&mut source).unwrap();
    let mut found = Vec::new();
    client.attachment(&attachment.sha256, &mut found).unwrap();
    assert!(found == content);
    server.stop();
    attachment
}

/// Makes a ledger at `place`, records there, brings it to a directory and verifies it.
fn works(cloud: &Cloud, place: &[&str]) {
    let at = |args: &[&'static str]| -> Vec<&str> { [args, place].concat() };
    cloud.ok(&at(&["init"]), b"");
    cloud.ok(&at(&["run", "start", "--name", "first"]), b"");
    for _ in 0..3 {
        cloud.ok(&at(&["append", "--run", "first"]), EVENT);
    }
    let attachment = attach(cloud, place);
    let event = format!(
        r#"{{"kind":"metric.logged","body":{{"metrics":{{"loss":1}}}},"attachments":{{"a":{{"bytes":{},"sha256":"{}"}}}}}}"#,
        attachment.bytes, attachment.sha256
    );
    cloud.ok(&at(&["append", "--run", "first"]), event.as_bytes());
    let sound: Value = cloud.json(&at(&["fsck", "--json"]));
    assert_eq!(sound["attachments"], 1, "{sound}");
    let back = at(&["migrate", "--json", "--to-data-dir", "back"]);
    let report = cloud.json(&back);
    assert_eq!(report["verified"]["verdict"], "verified", "{report}");
    assert_eq!(report["verified"]["counts"]["opened"], 6, "{report}");
    let counts = &report["verified"]["counts"];
    assert_eq!(counts["attachments_checked"], 1, "{report}");
    assert_eq!(counts["attachment_bytes"], attachment.bytes, "{report}");
    let policy = "back/policy";
    let args = ["verify", "back", "--json", "--policy", policy, "--openings"];
    assert_eq!(cloud.json(&args)["verdict"], "verified");
}

#[test]
fn a_ledger_in_postgres_and_s3() {
    let postgres = services::postgres();
    postgres.sql("CREATE DATABASE with_s3");
    let url = postgres.url();
    let database = format!("{}/with_s3", url.trim_end_matches("/postgres"));
    let server = services::s3();
    let objects = format!("s3://{BUCKET}/{}", server.new_prefix());
    let cloud = Cloud {
        desk: Desk::new(),
        variables: services::s3_options(server.port()),
    };
    works(
        &cloud,
        &["--database-url", &database, "--objects", &objects],
    );
    // Objects that are not where the ledger's are: it is not opened at all.
    let elsewhere = format!("{objects}-elsewhere");
    let start = ["run", "start", "--name", "second"];
    let place = ["--database-url", &database, "--objects", &elsewhere];
    cloud.fails(3, &[&start[..], &place].concat());
}

#[test]
fn an_embedded_ledger_with_its_objects_in_azure() {
    let server = services::azure();
    let objects = format!("az://{BUCKET}/{}", server.new_prefix());
    let cloud = Cloud {
        desk: Desk::new(),
        variables: services::azure_options(server.port()),
    };
    works(&cloud, &["--objects", &objects]);
}

#[test]
fn an_object_store_that_overwrites_gets_no_ledger() {
    let proxy = services::Proxy::start(services::s3().port());
    let named = "if-none-match";
    proxy.plan(
        "if-none-match: *",
        usize::MAX,
        services::Fault::Replace(named, "xx-none-match"),
    );
    let cloud = Cloud {
        desk: Desk::new(),
        variables: services::s3_options(proxy.port()),
    };
    let objects = format!("s3://{BUCKET}/{}", services::s3().new_prefix());
    let said = cloud.fails(3, &["init", "--objects", &objects]);
    assert!(said.contains("If-None-Match"), "{said}");
    assert!(!cloud.desk.path("audit-data/ledger.json").exists());
}
