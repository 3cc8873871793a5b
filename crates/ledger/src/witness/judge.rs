//! Whether a checkpoint may be cosigned: the rules of tlog-witness in their order, without any I/O.

use tlog::proof::verify_consistency;
use tlog::{
    AddCheckpoint, Checkpoint, CheckpointError, NoteSignature, SignatureType, SignedNote,
    VerifierKey,
};

use super::home::Latest;

/// Why not.
pub(super) enum Refusal {
    Malformed(String),
    UnknownOrigin(String),
    NotSigned(String),
    Conflict(u64),
    Inconsistent(String),
    Failed(String),
}

/// The keys of one log.
#[derive(Default)]
pub(super) struct Known {
    keys: Vec<VerifierKey>,
}

impl Known {
    pub(super) fn learn(&mut self, keys: Vec<&VerifierKey>) {
        for key in keys {
            if !self.keys.contains(key) {
                self.keys.push(key.clone());
            }
        }
    }

    pub(super) fn origin(&self) -> Option<&str> {
        self.keys.first().map(VerifierKey::name)
    }
}

/// A request that could be read: what somebody says that a log says.
pub(super) struct Claim {
    pub(super) request: AddCheckpoint,
    note: SignedNote,
    checkpoint: Result<Checkpoint, CheckpointError>,
    origin: String,
}

/// Reads a request's body.
pub(super) fn read(body: &[u8]) -> Result<Claim, Refusal> {
    let malformed = |error: &dyn std::fmt::Display| Refusal::Malformed(error.to_string());
    let request = AddCheckpoint::parse(body).map_err(|e| malformed(&e))?;
    let note = SignedNote::parse(request.checkpoint.as_bytes()).map_err(|e| malformed(&e))?;
    let checkpoint = match Checkpoint::parse(note.text()) {
        // That is for a log to answer for, once it is known to have said so.
        Err(error) if !matches!(error, CheckpointError::EmptyRoot { .. }) => {
            return Err(malformed(&error));
        }
        checkpoint => checkpoint,
    };
    let origin = note.text().lines().next().unwrap_or_default().to_owned();
    Ok(Claim {
        request,
        note,
        checkpoint,
        origin,
    })
}

impl Claim {
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref().ok()
    }

    /// At least one key of the log has signed, and no signature of one is wrong.
    pub(super) fn signed_by(&self, known: &Known) -> Result<Signed<'_>, Refusal> {
        let mut lines = Vec::new();
        for key in &known.keys {
            // What this type signs cannot be said of a checkpoint that is none.
            let unsayable = key.signature_type() == SignatureType::MlDsa44Cosignature;
            if self.checkpoint.is_err() && unsayable {
                continue;
            }
            match self.note.verify_by(key) {
                Ok(None) => {}
                Ok(Some(_)) => lines.extend(self.note.signatures().iter().filter(|s| s.is_by(key))),
                Err(error) => return Err(Refusal::NotSigned(error.to_string())),
            }
        }
        if lines.is_empty() {
            return Err(Refusal::NotSigned(format!(
                "no key of log {} that this witness knows has signed",
                self.origin
            )));
        }
        Ok(Signed { claim: self, lines })
    }
}

/// What a log has said.
pub(super) struct Signed<'a> {
    claim: &'a Claim,
    lines: Vec<&'a NoteSignature>,
}

/// A checkpoint that may be cosigned.
pub(super) struct Accepted {
    pub(super) checkpoint: Checkpoint,
    /// The note, with the log's signatures alone.
    pub(super) note: String,
}

impl Signed<'_> {
    /// The checkpoint has grown from the one kept.
    pub(super) fn consistent_with(self, kept: Option<&Latest>) -> Result<Accepted, Refusal> {
        let Claim {
            request,
            checkpoint,
            ..
        } = self.claim;
        let inconsistent = |why: String| Err(Refusal::Inconsistent(why));
        let size = checkpoint
            .as_ref()
            .map_or(0, |checkpoint| checkpoint.size.0);
        if request.old.0 > size {
            return Err(Refusal::Malformed(format!(
                "the old size {} is above the checkpoint's, {size}",
                request.old
            )));
        }
        let kept_size = kept.map_or(0, |kept| kept.checkpoint.size.0);
        if request.old.0 != kept_size {
            return Err(Refusal::Conflict(kept_size));
        }
        let checkpoint = match checkpoint {
            Ok(checkpoint) => checkpoint,
            Err(error) => return inconsistent(error.to_string()),
        };
        match kept {
            Some(kept) if kept_size > 0 => {
                let (old, new) = (kept.checkpoint.size, checkpoint.size);
                let roots = (&kept.checkpoint.root, &checkpoint.root);
                if let Err(error) = verify_consistency(old, new, roots.0, roots.1, &request.proof) {
                    return inconsistent(format!(
                        "a tree of {new} records is not shown to have grown from the {old} kept: \
                         {error}"
                    ));
                }
            }
            _ if !request.proof.is_empty() => {
                return inconsistent("a proof from an empty tree must be empty".to_owned());
            }
            _ => {}
        }
        let mut note = format!("{}\n", self.claim.note.text());
        for line in self.lines {
            note.push_str(&line.to_string());
            note.push('\n');
        }
        Ok(Accepted {
            checkpoint: checkpoint.clone(),
            note,
        })
    }
}
