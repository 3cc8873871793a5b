//! The policy as it is once the changes of the log's keys are followed, and what a report says of them.

use tlog::{Hash, Policy};

use crate::VerifyError;
use crate::report::{Check, Failure, FollowedKeys, Report};
use crate::rotation::{self, Path};
use crate::source::Source;
use crate::trust;

/// The policy that was given, and where the changes of the log's keys lead from it.
pub(crate) struct Keys<'p> {
    given: &'p Policy,
    path: Path,
}

impl<'p> Keys<'p> {
    /// Follows the changes if the note is signed by keys that the policy does not know.
    pub(crate) fn follow(
        given: &'p Policy,
        note: &[u8],
        source: &Source,
        report: &mut Report,
    ) -> Result<Self, VerifyError> {
        let strange = |policy: &Policy| rotation::signed_by_others(policy, note);
        let path = if strange(given) {
            rotation::forwards(given, source, |policy| !strange(policy))?
        } else {
            Path::default()
        };
        if let Some((number, error)) = &path.broken {
            report.fail(
                Failure::new(
                    Check::Rotation,
                    "a change of the log's keys that the policy's keys vouch for",
                    error.to_string(),
                )
                .path(format!("rotations/{number}")),
            );
        }
        report.trust.rotations = path
            .steps
            .iter()
            .map(|step| FollowedKeys {
                index: step.index,
                size: step.size,
                new: step.new.iter().map(ToString::to_string).collect(),
            })
            .collect();
        Ok(Self { given, path })
    }

    /// What the log's checkpoint is to be held against.
    pub(crate) fn policy(&self) -> &Policy {
        self.path.policies.last().unwrap_or(self.given)
    }

    /// What a note that was kept is to be held against: it may be older than the last change, or
    /// than the policy. It stands for its tree alone, which is held against the log.
    pub(crate) fn of_note(&self, note: &[u8], source: &Source) -> Result<Policy, VerifyError> {
        let known = |policy: &&Policy| !rotation::signed_by_others(policy, note);
        let followed = self.path.policies.iter().rev();
        if let Some(policy) = followed.chain([self.given]).find(known) {
            return Ok(policy.clone());
        }
        let before = rotation::backwards(self.given, source)?;
        let found = before.policies.into_iter().find(|policy| known(&policy));
        Ok(found.unwrap_or_else(|| self.policy().clone()))
    }

    /// Sizes at which the tree was signed by old and new keys.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = u64> {
        self.path.steps.iter().map(|step| step.size)
    }

    /// Holds the trees that old and new keys have signed against the log: the record that names the
    /// new keys is then one of this log.
    pub(crate) fn hold(
        &self,
        size: u64,
        root_at: impl Fn(u64) -> Option<Hash>,
        report: &mut Report,
    ) {
        for step in &self.path.steps {
            let computed = root_at(step.size);
            if step.size <= size && computed == Some(step.root) {
                continue;
            }
            report.fail(
                Failure::new(
                    Check::Rotation,
                    format!(
                        "root {} at {} entries, as old and new keys have signed it",
                        step.root, step.size
                    ),
                    match computed {
                        Some(root) => format!("{root}: this is another log of these keys"),
                        None => format!("no such root: the log has {size} entries"),
                    },
                )
                .path(format!("rotations/{}", step.number)),
            );
        }
    }
}

/// The size of a checkpoint that the policy accepts, or that newer keys have signed which its keys vouch
/// for: the log may go on under those while it is checked.
pub(crate) fn size(policy: &Policy, note: &[u8], source: &Source) -> Option<u64> {
    let strange = |policy: &Policy| rotation::signed_by_others(policy, note);
    if !strange(policy) {
        return trust::size(policy, note);
    }
    let path = rotation::forwards(policy, source, |policy| !strange(policy)).ok()?;
    trust::size(path.policies.last()?, note)
}
