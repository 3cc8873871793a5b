//! Where the ledger is kept: whether it is there, and whether what it is kept in answers.

use std::time::{Duration, Instant};

use tlog::Policy;

use super::{Finding, Patient};

/// A database that takes longer makes every append wait.
const SLOW: Duration = Duration::from_millis(50);

/// The log in the directory: its checkpoint, held against its policy.
pub(super) fn ledger(patient: &Patient) -> Vec<Finding> {
    let dir = &patient.location.data_dir;
    let (Ok(policy), Ok(note)) = (
        std::fs::read(dir.join("policy")),
        std::fs::read(dir.join("log/checkpoint")),
    ) else {
        return vec![Finding::ok(format!(
            "no published log in {}: it is kept elsewhere, or not made yet (rlhf-audit init)",
            dir.display()
        ))];
    };
    let checked = Policy::parse(&policy)
        .map_err(|error| error.to_string())
        .and_then(|policy| policy.check_log(&note).map_err(|error| error.to_string()));
    match checked {
        Ok(verified) => vec![Finding::ok(format!(
            "{} published records, signed as the policy says (rlhf-audit verify checks them)",
            verified.checkpoint.size
        ))],
        Err(error) => vec![Finding::failed(
            format!("{}: {error}", dir.join("log/checkpoint").display()),
            "keep a copy of the directory, then run rlhf-audit verify and rlhf-audit fsck",
        )],
    }
}

pub(super) fn database(patient: &Patient) -> Vec<Finding> {
    if patient.location.database_url.is_none() {
        return vec![Finding::ok(
            "none is configured: journal and index are in the data directory",
        )];
    }
    // The first time connects.
    let connected = Instant::now();
    let there = match patient.location.exists() {
        Ok(there) => there,
        Err(failure) => {
            return vec![Finding::unavailable(
                format!("it does not answer: {failure}"),
                "see that it runs, that this machine reaches it, and that user, password and name in the database URL \
                 are right",
            )];
        }
    };
    let connecting = connected.elapsed();
    let asked = Instant::now();
    if let Err(failure) = patient.location.exists() {
        return vec![Finding::unavailable(
            format!("it answered once, and then not: {failure}"),
            "look after the database or the network to it",
        )];
    }
    let took = asked.elapsed();
    let holds = if there {
        "holds a ledger"
    } else {
        "holds no ledger yet"
    };
    let said = format!(
        "answers in {:.1} ms (the first time in {:.1} ms) and {holds}",
        took.as_secs_f64() * 1e3,
        connecting.as_secs_f64() * 1e3
    );
    if took > SLOW {
        return vec![Finding::warning(
            said,
            "bring servers and database nearer together",
        )];
    }
    vec![Finding::ok(said)]
}

pub(super) fn objects(patient: &Patient) -> Vec<Finding> {
    let Some(url) = &patient.location.objects else {
        return vec![Finding::ok(
            "no object store is configured: objects are in the data directory",
        )];
    };
    let asked = Instant::now();
    match patient.location.location().ask_objects() {
        Ok(()) => vec![Finding::ok(format!(
            "{url} answers in {:.1} ms",
            asked.elapsed().as_secs_f64() * 1e3
        ))],
        Err(error) => vec![Finding::unavailable(
            format!("{url}: {error}"),
            "see that bucket and credentials are right: AWS_…, GOOGLE_… or AZURE_… as its own tools have them",
        )],
    }
}
