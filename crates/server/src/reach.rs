//! What a caller may read of what there is, once its role has let it in: an auditor's reach, a producer's own runs.

use ledger::{Ledger, LedgerError, Principal, RunInfo};
use record::RunId;
use record::kinds::ReadPart;

use crate::problem::Problem;
use crate::words::either;

/// The run of this id or name, if the caller is told that there is one. To others it is as if there were none.
///
/// A producer that asks by an id, which nobody guesses, is told where another's run stands: it then learns that it may not
/// append there, and does not wait for it to be started.
///
/// # Errors
/// As [`Ledger::find_run`].
pub(crate) fn find_run(
    ledger: &Ledger,
    principal: &Principal,
    name: &str,
) -> Result<RunInfo, Problem> {
    let missing = || LedgerError::NotFound {
        what: "run",
        seen: name.to_owned(),
    };
    let run = match ledger.find_run(name) {
        Err(LedgerError::Ambiguous { name, ids }) => {
            let runs = ids
                .iter()
                .filter_map(|id| RunId::parse(id))
                .map(|id| ledger.run(id));
            let mut known = runs.collect::<Result<Vec<_>, _>>()?;
            known.retain(|run| principal.knows_of(run));
            match known.pop() {
                Some(run) if known.is_empty() => run,
                Some(run) => {
                    let ids = known.iter().chain([&run]).map(|run| run.id.to_string());
                    let ids = ids.collect();
                    return Err(LedgerError::Ambiguous { name, ids }.into());
                }
                None => return Err(missing().into()),
            }
        }
        found => found?,
    };
    let by_id = principal.role.may_append() && run.id.as_str() == name;
    if principal.knows_of(&run) || by_id {
        Ok(run)
    } else {
        Err(missing().into())
    }
}

/// Whether the caller may read one of these parts of a run; with `None`, of all runs. Says which it is.
///
/// # Errors
/// 403, saying what would be needed.
pub(crate) fn permit(
    principal: &Principal,
    parts: &[ReadPart],
    run: Option<RunId>,
) -> Result<ReadPart, Problem> {
    let permitted = parts.iter().find(|part| principal.may_read(**part, run));
    permitted.copied().ok_or_else(|| {
        let parts: Vec<_> = parts.iter().map(|part| part.as_str()).collect();
        let whose = match run {
            Some(run) => format!("of run {run}"),
            None => "of all runs; name one that it may read, or download its bundle".to_owned(),
        };
        Problem::forbidden(format!("this token is not for {} {whose}", either(&parts)))
    })
}
