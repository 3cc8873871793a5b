//! Checkpoints held against the policy: the one the log has now, and one that was kept.

use tlog::{Checkpoint, Hash, Policy, VerifiedCheckpoint};

use crate::report::{Check, Failure, Report, Signed};

/// A checkpoint whose signatures are good.
pub(crate) struct SignedRoot {
    pub(crate) origin: String,
    pub(crate) size: u64,
    pub(crate) hash: Hash,
}

impl From<Checkpoint> for SignedRoot {
    fn from(checkpoint: Checkpoint) -> Self {
        Self {
            origin: checkpoint.origin,
            size: checkpoint.size.get(),
            hash: checkpoint.root,
        }
    }
}

/// Checks a checkpoint note and notes who signed it; a failure, if it is not as the policy asks.
pub(crate) fn checkpoint(policy: &Policy, note: &[u8], report: &mut Report) -> Option<SignedRoot> {
    match policy.check(note) {
        Ok(verified) => Some(accept(verified, note, report)),
        Err(error) => {
            report.fail(
                Failure::new(
                    Check::Checkpoint,
                    "a checkpoint that satisfies the policy",
                    error.to_string(),
                )
                .path("checkpoint"),
            );
            None
        }
    }
}

/// Notes what an accepted checkpoint says and who signed it.
pub(crate) fn accept(verified: VerifiedCheckpoint, note: &[u8], report: &mut Report) -> SignedRoot {
    let origin = verified.checkpoint.origin.clone();
    for signature in verified
        .log_signatures
        .iter()
        .chain(&verified.witness_signatures)
    {
        let key = &signature.key;
        let name = format!("{} ({})", key.name(), key.signature_type());
        // The log's own second key cosigns under the log's name: that makes it no witness.
        let signers = if key.name() == origin {
            &mut report.trust.log_keys
        } else {
            &mut report.trust.witnesses
        };
        if !signers.contains(&name) {
            signers.push(name);
        }
    }
    if !verified.checkpoint.extensions.is_empty() {
        report
            .notes
            .push("the checkpoint has extension lines, which nobody vouches for".to_owned());
    }
    let root = SignedRoot::from(verified.checkpoint);
    report.checkpoint = Some(Signed {
        origin: root.origin.clone(),
        size: root.size,
        root: root.hash.to_string(),
        note: note.to_vec(),
    });
    root
}

/// The size of a checkpoint, if the log signed it; no witness needs to have.
pub(crate) fn size(policy: &Policy, note: &[u8]) -> Option<u64> {
    policy
        .check_log(note)
        .ok()
        .map(|verified| verified.checkpoint.size.get())
}

/// Checks a checkpoint that was kept, as far as that can be done before the log is read.
pub(crate) fn since(
    policy: &Policy,
    note: &[u8],
    now: &SignedRoot,
    report: &mut Report,
) -> Option<SignedRoot> {
    let fail = |expected: String, found: String| Failure::new(Check::Since, expected, found);
    let since = match policy.check(note) {
        Ok(verified) => SignedRoot::from(verified.checkpoint),
        Err(error) => {
            report.fail(fail(
                "an earlier checkpoint that satisfies the policy".into(),
                error.to_string(),
            ));
            return None;
        }
    };
    if since.origin != now.origin {
        report.fail(fail(
            format!("an earlier checkpoint of {}", now.origin),
            format!("one of {}", since.origin),
        ));
        return None;
    }
    if since.size > now.size {
        report.fail(fail(
            format!(
                "at least the {} entries of the earlier checkpoint",
                since.size
            ),
            format!(
                "{}: entries were removed, or an older checkpoint was put back",
                now.size
            ),
        ));
        return None;
    }
    Some(since)
}

/// Holds the root recomputed at the earlier size against what was signed then.
pub(crate) fn hold_since(since: &SignedRoot, computed: Option<Hash>, report: &mut Report) {
    if computed == Some(since.hash) {
        report.trust.since = Some(since.size);
        return;
    }
    report.fail(Failure::new(
        Check::Since,
        format!(
            "root {} at {} entries, as it was signed earlier",
            since.hash, since.size
        ),
        match computed {
            Some(root) => format!("{root}: entries before {} were changed since", since.size),
            None => "no root: entries that it needs are missing".to_owned(),
        },
    ));
}
