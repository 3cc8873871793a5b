//! A log whose keys were changed: the keys that are known vouch for the new ones, or it is refused.

use tlog::Policy;
use verify::rotation::{self, Path};

use crate::error::ClientError;
use crate::transport::Transport;

/// The way from the policy's keys to those that signed `note`, as the server shows it; `None` where it
/// shows none that holds.
pub(super) fn follow(
    transport: &Transport,
    policy: &Policy,
    note: &str,
) -> Result<Option<Path>, ClientError> {
    let strange = |policy: &Policy| rotation::signed_by_others(policy, note.as_bytes());
    if !strange(policy) {
        return Ok(None);
    }
    let fetch = |number| match transport.text(&format!("/log/rotations/{number}")) {
        Ok(text) => Ok(Some(text.into_bytes())),
        Err(ClientError::Refused(problem)) if problem.status == 404 => Ok(None),
        Err(error) => Err(error),
    };
    let path = rotation::follow(policy, fetch, |policy| !strange(policy))?;
    let reached = path.policies.last().is_some_and(|policy| !strange(policy));
    Ok(reached.then_some(path))
}
