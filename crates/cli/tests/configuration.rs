//! What a command's options are: file, environment, command line, in that order, and what is wrong with them.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::Output;
use std::time::{Duration, Instant};

use common::logged::{Logged, send};
use common::{ADMIN, Desk, eventually, text};
use serde_json::Value;

/// What the file has beside options.
const TABLES: [&str; 7] = [
    "backup", "export", "mail", "patience", "schedule", "watch", "webhook",
];
const SECRET: &str = "rat_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

fn run(desk: &Desk, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = desk.command(args);
    command.envs(variables.iter().copied()).output().unwrap()
}

/// What `config show` says of a key: its value, and where it is from.
fn shown(output: &Output, key: &str) -> (Value, String) {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", text(&output.stdout, &output.stderr)));
    let rows = report["values"].as_array().unwrap();
    let row = rows.iter().find(|row| row["key"] == key);
    let row = row.unwrap_or_else(|| panic!("{key} in {report}"));
    (
        row["value"].clone(),
        row["from"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn the_later_of_default_file_environment_and_flag_wins() {
    let desk = Desk::new();
    let show = ["config", "show", "--json", "serve"];
    assert_eq!(
        shown(&run(&desk, &show, &[]), "port"),
        (8000.to_string().into(), "default".into())
    );

    fs::write(
        desk.path("rlhf-audit.toml"),
        "port = 9001\nrequire-quorum = true\n",
    )
    .unwrap();
    let output = run(&desk, &show, &[]);
    assert_eq!(
        shown(&output, "port"),
        ("9001".into(), "file rlhf-audit.toml".into())
    );
    assert_eq!(shown(&output, "require-quorum").0, "true");
    assert_eq!(shown(&output, "host").1, "default");

    let environment = [("PORT", "9002"), ("RLHF_AUDIT_REQUIRE_QUORUM", "false")];
    let output = run(&desk, &show, &environment);
    assert_eq!(
        shown(&output, "port"),
        ("9002".into(), "environment PORT".into())
    );
    assert_eq!(shown(&output, "require-quorum").0, "false");

    let flagged = [&show[..], &["--port", "9003"]].concat();
    let output = run(&desk, &flagged, &environment);
    assert_eq!(
        shown(&output, "port"),
        ("9003".into(), "flag --port".into())
    );

    // A file that is named comes in the place of the one that lies about.
    fs::write(desk.path("other.toml"), "port = 9004\n").unwrap();
    let named = [("RLHF_AUDIT_CONFIG", "other.toml")];
    assert_eq!(shown(&run(&desk, &show, &named), "port").0, "9004");
    let named = ["--config", "other.toml", "config", "show", "--json"];
    assert_eq!(shown(&run(&desk, &named, &[]), "port").0, "9004");
}

#[test]
fn what_is_wrong_is_said_at_once_and_nothing_is_done() {
    let desk = Desk::new();
    let file = "prot = 1\nport = \"many\"\nwitness-interval = 0.5\nhost = \"nowhere\"\n\
                admin-token = \"x\"\nadmin-token-file = \"y\"\nrequire-quorum = 1\n";
    fs::write(desk.path("rlhf-audit.toml"), file).unwrap();
    let said = desk.fails(2, &["config", "check"]);
    for part in [
        "no option is called `prot`; did you mean `port`?",
        "`port` is a string, expected an integer",
        "`admin-token` and `admin-token-file` are both there",
        "`require-quorum` is an integer, expected true or false",
        "'nowhere' for `host`",
    ] {
        assert!(said.contains(part), "{part}\nin\n{said}");
    }
    assert!(!said.contains("witness-interval"), "{said}");
    // Every command but the auditor's refuses to start on it.
    let said = desk.fails(2, &["init"]);
    assert!(
        said.contains("did you mean `port`?") && said.contains("config check"),
        "{said}"
    );
    assert!(!desk.path("audit-data").exists());
    fs::remove_file(desk.path("rlhf-audit.toml")).unwrap();
    desk.ok(&["init"]);
    fs::write(desk.path("rlhf-audit.toml"), "not toml at all: rat_secret").unwrap();
    let said = desk.fails(2, &["config", "check"]);
    assert!(
        said.contains("line 1") && !said.contains("rat_secret"),
        "{said}"
    );
    let verdict = desk.run(&["verify", "audit-data", "--policy", "audit-data/policy"]);
    let said = text(&verdict.stdout, &verdict.stderr);
    assert!(said.contains("nothing to check"), "{said}");

    fs::remove_file(desk.path("rlhf-audit.toml")).unwrap();
    let report = run(&desk, &["config", "check", "--json"], &[("PORT", "eighty")]);
    assert_eq!(report.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["valid"], false);
    assert!(
        report["faults"][0].as_str().unwrap().starts_with("PORT: "),
        "{report}"
    );
    let report = run(
        &desk,
        &["config", "check"],
        &[("RLHF_AUDIT_OBJECT", "s3://x/y")],
    );
    let said = text(&report.stdout, &report.stderr);
    assert!(
        report.status.success() && said.contains("did you mean RLHF_AUDIT_OBJECTS?"),
        "{said}"
    );
    let absent = desk.fails(2, &["config", "check", "--config", "absent.toml"]);
    assert!(absent.contains("cannot be read"), "{absent}");
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let desk = Desk::new();
    fs::write(desk.path("token"), format!("{SECRET}\n")).unwrap();
    fs::write(desk.path("rlhf-audit.toml"), "token-file = \"token\"\n").unwrap();
    let show = [
        "config",
        "show",
        "--json",
        "monitor",
        "http://127.0.0.1:1/log",
    ];
    let output = run(&desk, &show, &[]);
    assert_eq!(
        shown(&output, "token"),
        (Value::Null, "file rlhf-audit.toml".into())
    );
    fs::remove_file(desk.path("rlhf-audit.toml")).unwrap();
    let output = run(&desk, &show, &[("RLHF_AUDIT_TOKEN_FILE", "token")]);
    assert_eq!(
        shown(&output, "token").1,
        "environment RLHF_AUDIT_TOKEN_FILE"
    );
    let both = [
        ("RLHF_AUDIT_TOKEN_FILE", "token"),
        ("RLHF_AUDIT_TOKEN", SECRET),
    ];
    let output = run(&desk, &show, &both);
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}",
        text(&output.stdout, &output.stderr)
    );
    let output = run(&desk, &show, &[("RLHF_AUDIT_TOKEN_FILE", "absent")]);
    assert!(text(&output.stdout, &output.stderr).contains("cannot read absent"));

    fs::write(
        desk.path("rlhf-audit.toml"),
        format!("token = \"{SECRET}\"\n"),
    )
    .unwrap();
    for args in [
        &show[..],
        &["config", "show"],
        &["config", "check"],
        &["doctor"],
        &["doctor", "--json"],
        &["monitor", "--help"],
        &["serve", "--help"],
        &["token", "list", "--port"],
    ] {
        let output = run(&desk, args, &[("RLHF_AUDIT_ADMIN_TOKEN", ADMIN)]);
        let said = text(&output.stdout, &output.stderr);
        assert!(
            !said.contains(SECRET) && !said.contains(ADMIN),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn a_server_obeys_its_file_and_takes_a_new_token_and_level_on_sighup() {
    let desk = Desk::new();
    fs::write(desk.path("admin"), ADMIN).unwrap();
    let file = "port = 0\ndata-dir = \"ledger\"\nadmin-token-file = \"admin\"\n";
    fs::write(desk.path("rlhf-audit.toml"), file).unwrap();
    let mut server = Logged::start(&desk, &[], &[]);
    assert!(desk.path("ledger/ledger.json").exists());
    let bearer = format!("Bearer {SECRET}");
    let tokens = format!("{}/v1/tokens", server.url);
    let ask = || send(&tokens, "GET", &[("authorization", &bearer)], "").0;
    assert_eq!(ask(), 401);
    assert!(!server.log().contains("answered"), "{}", server.log());

    // What is wrong by now changes nothing.
    fs::write(desk.path("admin"), SECRET).unwrap();
    fs::write(
        desk.path("rlhf-audit.toml"),
        "port = 0\nlog-levle = \"debug\"\n",
    )
    .unwrap();
    server.signal("HUP");
    eventually("it is said", || {
        server.log().contains("did you mean `log-level`?")
    });
    assert_eq!(ask(), 401);

    fs::write(
        desk.path("rlhf-audit.toml"),
        format!("{file}log-level = \"info,server=debug\"\n"),
    )
    .unwrap();
    server.signal("HUP");
    eventually("it is read", || {
        server.log().contains("the configuration was read again")
    });
    assert_eq!(ask(), 200);
    eventually("more is logged", || server.log().contains("\"answered\""));
    assert!(server.stop().success());
    assert!(!server.log().contains(SECRET), "{}", server.log());
}

#[test]
fn a_server_that_is_told_to_stop_waits_for_a_request_no_longer_than_it_should() {
    let desk = Desk::new();
    let variables = [
        ("RLHF_AUDIT_SHUTDOWN_GRACE", "1s"),
        ("RLHF_AUDIT_ADMIN_TOKEN", ADMIN),
    ];
    let mut server = Logged::start(&desk, &["--port", "0"], &variables);
    let mut open = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    let head = "POST /v1/runs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n";
    write!(
        open,
        "{head}authorization: Bearer {ADMIN}\r\ncontent-length: 100\r\n\r\n"
    )
    .unwrap();
    let mut go_on = [0; 12];
    std::io::Read::read_exact(&mut open, &mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100");
    let began = Instant::now();
    assert!(server.stop().success(), "{}", server.log());
    // Well below the 15 seconds for which a body may stall.
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(
        server.log().contains("some requests did not finish"),
        "{}",
        server.log()
    );
}

#[test]
fn every_key_of_the_schema_is_explained_and_taken() {
    let desk = Desk::new();
    let schema: Value = serde_json::from_str(&desk.ok(&["config", "schema"])).unwrap();
    let mut file = String::new();
    for (name, key) in schema["properties"].as_object().unwrap() {
        assert!(!key["description"].as_str().unwrap().is_empty(), "{name}");
        if TABLES.contains(&name.as_str()) {
            continue;
        }
        assert!(!key["x-variable"].as_str().unwrap().is_empty(), "{name}");
        // Every default is a value that the file may have.
        if !key["default"].is_null() {
            writeln!(file, "{name} = {}", key["default"]).unwrap();
        }
    }
    fs::write(desk.path("rlhf-audit.toml"), file).unwrap();
    desk.ok(&["config", "check"]);
}

/// Tables of everything that the file may have.
const EVERYTHING: &str = r#"
port = 0
[[schedule]]
name = "cards"
kind = "model-cards"
every = "1h"
[[schedule]]
name = "integrity"
off = true
[[webhook]]
name = "ops"
url = "https://hooks.example/T0KEN"
secret-file = "webhook"
events = ["job.dead"]
[[mail]]
name = "oncall"
host = "smtp.example.org"
tls = "starttls"
user = "audit"
password-file = "password"
from = "audit@example.org"
to = ["oncall@example.org", "more@example.org"]
[patience]
checkpoint = "90s"
[watch]
off = ["run-stalled"]
[watch.kl]
h = 30
warm-up = 9
"#;

#[test]
fn schedules_targets_and_thresholds_are_parts_of_the_one_file() {
    let desk = Desk::new();
    fs::write(
        desk.path("webhook"),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
    )
    .unwrap();
    fs::write(desk.path("password"), "hunter2hunter2\n").unwrap();
    fs::write(desk.path("rlhf-audit.toml"), EVERYTHING).unwrap();
    desk.ok(&["config", "check"]);
    let show = ["config", "show", "--json", "serve"];
    let output = run(&desk, &show, &[]);
    let file = "file rlhf-audit.toml";
    for (key, value, from) in [
        ("schedule.cards.every", "1h", file),
        ("schedule.integrity.off", "true", file),
        ("schedule.integrity-whole.cron", "17 3 * * *", "default"),
        ("webhook.ops.secret-file", "webhook", file),
        (
            "mail.oncall.to",
            "oncall@example.org,more@example.org",
            file,
        ),
        ("patience.checkpoint", "90s", file),
        ("patience.cosignature", "15m", "default"),
        ("watch.kl.warm-up", "9", file),
        ("watch.stall.updates", "10", "default"),
        ("watch.off", "run-stalled", file),
    ] {
        assert_eq!(
            shown(&output, key),
            (value.into(), from.to_owned()),
            "{key}"
        );
    }
    assert_eq!(shown(&output, "webhook.ops.url").0, Value::Null);
    for args in [
        &show[..],
        &["config", "show"],
        &["config", "check"],
        &["doctor"],
    ] {
        let said = run(&desk, args, &[]);
        let said = text(&said.stdout, &said.stderr);
        for secret in ["T0KEN", "hunter2", "MfKQ9r8"] {
            assert!(!said.contains(secret), "{args:?}: {said}");
        }
    }

    // Everything that is wrong is said, with the nearest name; no value is.
    let wrong = "[[schedul]]\nname = \"x\"\n[[webhook]]\nname = \"ops\"\nurl = \"https://h\"\n\
                 secret = \"hush\"\nsecret-file = \"s\"\n[watch.kl]\nalhpa = 1\n";
    fs::write(desk.path("rlhf-audit.toml"), wrong).unwrap();
    let said = desk.fails(2, &["config", "check"]);
    for part in [
        "no option is called `schedul`; did you mean `schedule`?",
        "nothing is called `webhook[0].secret`",
        "`watch.kl.alhpa`; did you mean `alpha`?",
    ] {
        assert!(said.contains(part), "{part}\nin\n{said}");
    }
    assert!(!said.contains("hush"), "{said}");
    let said = desk.fails(2, &["serve", "--port", "0"]);
    assert!(said.contains("did you mean `alpha`?"), "{said}");

    // A file that is named and not there is said before anything listens.
    fs::remove_file(desk.path("webhook")).unwrap();
    fs::write(desk.path("rlhf-audit.toml"), EVERYTHING).unwrap();
    for args in [&["config", "check"][..], &["doctor"], &["serve"]] {
        let said = desk.run(args);
        let said = text(&said.stdout, &said.stderr);
        assert!(said.contains("cannot read webhook"), "{args:?}: {said}");
    }
}

#[test]
fn what_was_a_file_of_its_own_says_where_it_is_now() {
    let desk = Desk::new();
    for (flag, key, place) in [
        ("--jobs-config", "jobs-config", "[[webhook]]"),
        ("--watch-settings", "watch-settings", "[watch]"),
    ] {
        let said = desk.fails(2, &["serve", flag, "x"]);
        assert!(said.contains(place), "{said}");
        fs::write(desk.path("rlhf-audit.toml"), format!("{key} = \"x\"\n")).unwrap();
        let said = desk.fails(2, &["serve"]);
        assert!(said.contains(place), "{said}");
        fs::remove_file(desk.path("rlhf-audit.toml")).unwrap();
        let variable = format!("RLHF_AUDIT_{}", key.to_uppercase().replace('-', "_"));
        let output = run(&desk, &["serve"], &[(&variable, "x")]);
        let said = text(&output.stdout, &output.stderr);
        assert!(
            output.status.code() == Some(2) && said.contains(place),
            "{said}"
        );
    }
}

#[test]
fn a_server_follows_new_schedules_on_sighup() {
    let desk = Desk::new();
    let file = "port = 0\nadmin-token-file = \"admin\"\n";
    fs::write(desk.path("admin"), ADMIN).unwrap();
    let quiet = ["integrity", "integrity-whole", "watch"]
        .map(|name| format!("[[schedule]]\nname = \"{name}\"\noff = true\n"))
        .concat();
    fs::write(desk.path("rlhf-audit.toml"), format!("{file}{quiet}")).unwrap();
    let mut server = Logged::start(&desk, &[], &[("RLHF_AUDIT_NO_SCHEDULER", "false")]);
    let bearer = format!("Bearer {ADMIN}");
    let jobs = format!("{}/v1/jobs", server.url);
    let kinds = || send(&jobs, "GET", &[("authorization", &bearer)], "").1;
    assert!(!kinds().contains("model-cards"), "{}", kinds());

    // A target without its secret changes nothing.
    let cards = "[[schedule]]\nname = \"cards\"\nkind = \"model-cards\"\nevery = \"1s\"\n";
    let lame = "[[webhook]]\nname = \"ops\"\nurl = \"http://h\"\nsecret-file = \"absent\"\n";
    fs::write(
        desk.path("rlhf-audit.toml"),
        format!("{file}{quiet}{cards}{lame}"),
    )
    .unwrap();
    server.signal("HUP");
    eventually("it is said", || {
        server.log().contains("stay as they were") && server.log().contains("cannot read absent")
    });
    assert!(!kinds().contains("model-cards"), "{}", kinds());

    fs::write(
        desk.path("rlhf-audit.toml"),
        format!("{file}{quiet}{cards}"),
    )
    .unwrap();
    server.signal("HUP");
    eventually("the new schedule is followed", || {
        kinds().contains("model-cards")
    });
    assert!(server.stop().success());
}
