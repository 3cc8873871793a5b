//! What is posted to a witness.

use tlog::{AddCheckpoint, Checkpoint, SignedNote, proof};

/// A request's body; what it holds goes through what a witness does with it.
pub fn add_checkpoint(data: &[u8]) {
    let Ok(request) = AddCheckpoint::parse(data) else {
        return;
    };
    assert_eq!(request.to_string().as_bytes(), data, "written as read");
    let Ok(note) = SignedNote::parse(request.checkpoint.as_bytes()) else {
        return;
    };
    let Ok(new) = Checkpoint::parse(note.text()) else {
        return;
    };
    let held =
        proof::verify_consistency(request.old, new.size, &new.root, &new.root, &request.proof);
    if held.is_ok() {
        assert_eq!(request.old, new.size, "two sizes with one root");
    }
}
