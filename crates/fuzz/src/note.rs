//! Signed notes, their signature lines, checkpoints, and what a policy makes of them.

use tlog::{Checkpoint, NoteSignature, SignedNote};

use crate::example::{POLICY_OF, SIGNED};

/// A note, a signature line or a checkpoint's text. A policy accepts nothing but what was signed.
pub fn note(data: &[u8]) {
    if let Ok(note) = SignedNote::parse(data) {
        assert_eq!(
            note.to_string().as_bytes(),
            data,
            "a note is written as read"
        );
        for line in note.signatures() {
            let again = NoteSignature::parse(&line.to_string());
            assert_eq!(again.as_ref(), Ok(line), "a line of its own");
        }
    }
    for verified in [POLICY_OF.check(data), POLICY_OF.check_log(data)]
        .into_iter()
        .flatten()
    {
        assert_eq!(verified.checkpoint, *SIGNED, "accepted, and never signed");
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(line) = NoteSignature::parse(text) {
        assert_eq!(line.to_string(), text, "a line is written as read");
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(
            checkpoint.to_string(),
            text,
            "a checkpoint is written as read"
        );
    }
}
