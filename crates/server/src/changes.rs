//! Who may do what, as it changes: in the log (`access.changed`), and a line of the server's own log.

use ledger::{AppendCode, Ledger, LedgerError, Principal, Token, Wanted};
use record::Draft;
use record::kinds::{AccessChange, AccessChanged};

use crate::problem::Problem;

/// What a change of a key is called in place of a role.
const KEY_ROTATION: &str = "key-rotation";

/// Records what became of a token, and waits until that is durable. Its name is left out: it may be a person's.
///
/// # Errors
/// It cannot be recorded; a ledger that was closed for good takes no record, and that is none.
pub(crate) fn record(
    ledger: &Ledger,
    token: &Token,
    change: AccessChange,
    by: &Principal,
    request: Option<String>,
) -> Result<(), Problem> {
    let mut body = AccessChanged::new(change, token.role.name().to_owned());
    body.token = Some(token.id.clone());
    body.by = Some(by.id.clone());
    body.request = request;
    body.expires = token.expires;
    if let Some(reach) = &token.reach {
        body.parts = Some(reach.parts.iter().copied().collect());
        body.runs = reach
            .runs
            .as_ref()
            .map(|runs| runs.iter().copied().collect());
    }
    write(ledger, body)
}

/// Records what became of a request.
///
/// # Errors
/// As [`record`].
pub(crate) fn record_request(
    ledger: &Ledger,
    request: &str,
    wanted: &Wanted,
    change: AccessChange,
    by: &Principal,
) -> Result<(), Problem> {
    let role = match wanted {
        Wanted::AdminToken { .. } => "admin",
        Wanted::KeyRotation { .. } => KEY_ROTATION,
    };
    let mut body = AccessChanged::new(change, role.to_owned());
    body.by = Some(by.id.clone());
    body.request = Some(request.to_owned());
    write(ledger, body)
}

fn write(ledger: &Ledger, body: AccessChanged) -> Result<(), Problem> {
    tracing::info!(
        target: "audit",
        change = body.change.as_str(),
        role = body.role,
        token = body.token,
        request = body.request,
        by = body.by,
        "access changed"
    );
    let ticket = ledger.record_own(Draft::new(body))?;
    match ticket.wait().map_err(LedgerError::from) {
        Err(LedgerError::Append(error)) if error.code == AppendCode::LedgerClosed => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}
