//! The lock between processes. In a file of its own: a child inherits the locks of other tests' threads until it execs.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use store::{DataDir, StoreError};
use tempfile::tempdir;

/// Not a test: what the next test runs in a process of its own, and kills.
#[test]
fn hold_until_killed() {
    let Ok(path) = std::env::var("STORE_TEST_HOLD") else {
        return;
    };
    let _dir = DataDir::open(Path::new(&path)).unwrap();
    println!("\nheld");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().lines().next();
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_dead_process_holds_nothing() {
    let place = tempdir().unwrap();
    let dir = DataDir::create(place.path()).unwrap();
    dir.write("ledger.json", b"{}", 0o644).unwrap();
    drop(dir);
    let mut holder = Command::new(std::env::current_exe().unwrap());
    holder
        .args(["--exact", "hold_until_killed", "--nocapture"])
        .env("STORE_TEST_HOLD", place.path());
    let mut holder = Killed(
        holder
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let lines = BufReader::new(holder.0.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "held"));
    match DataDir::open(place.path()) {
        Err(StoreError::Locked { pid, .. }) => assert_eq!(pid, Some(holder.0.id())),
        other => panic!("two processes have it: {other:?}"),
    }
    drop(holder);
    DataDir::open(place.path()).unwrap();
}
