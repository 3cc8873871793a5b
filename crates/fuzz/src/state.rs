//! What a ledger and a monitor keep for themselves: how far streams and runs have come.

use record::chain::{RunState, StreamState};
use tlog::{Hash, sha256};
use verify::{Follower, Options};

/// A state out of the index, or what a monitor goes on from, without the digest before it.
pub fn state(data: &[u8]) {
    if let Ok(stream) = StreamState::from_bytes(data) {
        assert_eq!(
            stream.to_bytes(),
            data,
            "a stream's state is written as read"
        );
        let _ = stream.end();
    }
    if let Ok(run) = RunState::from_bytes(data) {
        assert_eq!(run.to_bytes(), data, "a run's state is written as read");
    }
    if data.starts_with(b"{") {
        followed(data);
    }
}

fn followed(json: &[u8]) {
    let digest = Hash::new(sha256(json)).to_string();
    let whole = [digest.as_bytes(), b"\n", json].concat();
    let options = Options::default();
    let Some(follower) = Follower::restore(&options, &whole) else {
        return;
    };
    let saved = follower.save().expect("nothing was wrong");
    let again = Follower::restore(&options, &saved).expect("what was just saved");
    assert_eq!(again.size(), follower.size());
    assert_eq!(
        format!("{:?}", again.counts()),
        format!("{:?}", follower.counts())
    );
}
