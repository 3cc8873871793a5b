//! Files of lines that grow, are renamed, cut and written anew.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use import::follow::{FollowError, Follower, MAX_LINE_BYTES, Position};

struct Log {
    dir: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("run.jsonl")
    }

    fn add(&self, text: &str) {
        append(&self.path(), text);
    }
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn lines(follower: &mut Follower, all: bool) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(line) = follower.next(all).unwrap() {
        let text = line
            .bytes
            .map_or("too long".into(), |bytes| String::from_utf8(bytes).unwrap());
        found.push(format!(
            "{}{} {text}",
            line.number,
            if line.open { "!" } else { "" }
        ));
    }
    found
}

/// Everything that is there now, and where that ends.
fn read(follower: &mut Follower) -> (Vec<String>, Position) {
    let mut found = Vec::new();
    loop {
        follower.look().unwrap();
        let some = lines(follower, false);
        let done = some.is_empty();
        found.extend(some);
        let behind = follower.position().clone();
        let marked = follower.mark(&behind).unwrap();
        if done {
            return (found, marked);
        }
    }
}

#[test]
fn a_line_is_there_once_it_has_its_end() {
    let log = Log::new();
    let mut follower = Follower::new(log.path(), None);
    assert!(!follower.look().unwrap());
    log.add("one\ntw");
    assert_eq!(read(&mut follower).0, ["1 one"]);
    log.add("o\n\nthr");
    let (found, position) = read(&mut follower);
    assert_eq!(found, ["2 two", "3 "]);
    // Another process goes on there.
    let mut follower = Follower::new(log.path(), Some(position));
    log.add("ee\nfour");
    assert_eq!(read(&mut follower).0, ["4 three"]);
    assert_eq!(lines(&mut follower, true), ["5! four"]);
}

#[test]
fn a_line_may_be_long_and_not_too_long() {
    let file = Log::new();
    let long = "x".repeat(MAX_LINE_BYTES);
    file.add(&format!("{long}\n{long}y\nshort\n"));
    let mut follower = Follower::new(file.path(), None);
    follower.look().unwrap();
    assert_eq!(
        follower.next(false).unwrap().unwrap().bytes.unwrap().len(),
        MAX_LINE_BYTES
    );
    assert_eq!(follower.next(false).unwrap().unwrap().bytes, None);
    assert_eq!(lines(&mut follower, false), ["3 short"]);
    assert_eq!(follower.position().offset, follower.bytes());
}

#[test]
fn what_was_read_has_to_stay() {
    let log = Log::new();
    log.add("one\ntwo\nthree\n");
    let mut follower = Follower::new(log.path(), None);
    let (_, position) = read(&mut follower);
    // Cut off, as whoever opens it for writing does.
    fs::write(log.path(), "one\n").unwrap();
    for mut follower in [follower, Follower::new(log.path(), Some(position.clone()))] {
        let error = follower.look().unwrap_err();
        assert!(
            matches!(
                error,
                FollowError::Truncated {
                    bytes: 4,
                    offset: 14,
                    lines: 3,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.is_change());
    }
    // Cut off and grown again beyond where it was.
    fs::write(log.path(), "one\ntwo\nThree\nfour\n").unwrap();
    let error = Follower::new(log.path(), Some(position.clone()))
        .look()
        .unwrap_err();
    assert!(
        matches!(error, FollowError::Rewritten { lines: 3, .. }),
        "{error}"
    );
    // A copy will do, another file not.
    let copy = log.dir.path().join("copy");
    fs::write(&copy, "one\ntwo\nthree\nfour\n").unwrap();
    fs::rename(&copy, log.path()).unwrap();
    let mut follower = Follower::new(log.path(), Some(position.clone()));
    assert_eq!(read(&mut follower).0, ["4 four"]);
    fs::write(&copy, "another\nfile of more bytes\n").unwrap();
    fs::rename(&copy, log.path()).unwrap();
    let error = Follower::new(log.path(), Some(position))
        .look()
        .unwrap_err();
    // Which of them depends on whether the system gives it the number of a file that is gone.
    let gone = matches!(
        error,
        FollowError::Gone { lines: 3, .. } | FollowError::Rewritten { lines: 3, .. }
    );
    assert!(gone, "{error}");
}

/// Renames the log, and says that it was written so many seconds before 2020.
fn rotate(log: &Log, to: &str, seconds: u64) {
    let older = log.dir.path().join(to);
    fs::rename(log.path(), &older).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_577_836_800 - seconds);
    File::options()
        .append(true)
        .open(&older)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

#[test]
fn a_log_that_is_renamed_is_read_to_its_end_first() {
    let log = Log::new();
    log.add("one\ntwo\n");
    let mut follower = Follower::new(log.path(), None);
    let (_, position) = read(&mut follower);
    log.add("three\nhal");
    rotate(&log, "run.jsonl.2", 20);
    log.add("second\n");
    rotate(&log, "run.jsonl.1", 10);
    // Not one of them.
    append(&log.dir.path().join("run.jsonl.bak"), "no\n");
    log.add("third\n");
    let expected = ["3 three", "4! hal", "1 second", "1 third"];
    assert_eq!(read(&mut follower).0, expected);
    let mut follower = Follower::new(log.path(), Some(position));
    assert_eq!(read(&mut follower).0, expected);
}
