//! Every problem this server answers with: its code, and what to do about it. The documentation
//! page lists them, and each problem document's `type` points there.

/// Code, and what it means for whoever gets it.
pub(crate) const PROBLEMS: &[(&str, &str)] = &[
    (
        "ambiguous-name",
        "Several runs have this name. Use the run's id.",
    ),
    (
        "attachment-mismatch",
        "The bytes have another SHA-256 than the path. Nothing was kept; send the bytes of that name.",
    ),
    (
        "attachment-missing",
        "A record names an attachment that is not here, or another size of one that is. Put it first, then send the record again: nothing of the request was recorded.",
    ),
    (
        "bad-object",
        "A field is missing, unknown or out of range. The detail names it.",
    ),
    (
        "bad-parameter",
        "A query parameter is unknown or out of range.",
    ),
    (
        "bad-payload",
        "A delivery is not what its platform sends, or holds an answer that its question does not allow. The log has an incident of it.",
    ),
    ("bad-path", "A name or number in the path cannot be read."),
    (
        "bad-run",
        "The run has not started, or would start in a way the rules refuse. Its first stream opens with `stream.opened` and `run.started`.",
    ),
    (
        "bad-seal",
        "The seal is not the owner's, or does not list the run's streams as they stand.",
    ),
    (
        "bad-signature",
        "A signature does not verify with the stream's key.",
    ),
    (
        "bad-stream",
        "The stream is not open, or would open in a way the rules refuse. It opens with `stream.opened` at `seq` 0.",
    ),
    (
        "body-stalled",
        "The body stopped arriving. Send the request again.",
    ),
    (
        "body-too-large",
        "The body is over its limit. Send the records in several requests.",
    ),
    ("broken-body", "The body broke off. Send the request again."),
    ("broken-json", "The body is not JSON."),
    (
        "conflict",
        "Other bytes have this (run, stream, seq) already. The attempt is recorded. Resume the stream from its head, or open a new one.",
    ),
    (
        "empty-line",
        "Every line of NDJSON is one record; one was empty.",
    ),
    (
        "forbidden",
        "The token is good, and its role or its run does not allow this.",
    ),
    (
        "foreign-host",
        "A server without authentication answers to local names only.",
    ),
    (
        "hook-exists",
        "A hook has this name. Remove it first, or take another name.",
    ),
    (
        "internal",
        "The server failed. Its log says why, under the request's id.",
    ),
    (
        "invalid-openings",
        "The openings before a record are not canonical JSON of the right shape. Nothing of the request was recorded.",
    ),
    (
        "invalid-record",
        "A line is no record of its kind: a member is missing, unknown or out of range. Nothing of the request was recorded.",
    ),
    (
        "invalid-token",
        "The token is unknown, has expired or was revoked. Ask an admin for a new one.",
    ),
    (
        "job-not-dead",
        "Only a job that is dead can be requeued. The others are done, or will be tried by themselves.",
    ),
    (
        "job-open",
        "A job of this kind about the same is open. Wait until it has ended.",
    ),
    (
        "ledger-closed",
        "This ledger has ended for good. It can be read; what comes now belongs into the one that succeeds it.",
    ),
    (
        "method-not-allowed",
        "The path answers other methods; the header `allow` names them.",
    ),
    (
        "length-required",
        "The token has a quota, so that a request has to say how long it is.",
    ),
    ("no-records", "The request held no record."),
    ("no-such-path", "Nothing is here."),
    (
        "not-approved",
        "A second admin has to approve of this, and has not, or has refused, or it was asked for by another.",
    ),
    (
        "not-canonical",
        "The record is not JSON, or not in the canonical form (RFC 8785) over which its hash is taken. Nothing of the request was recorded.",
    ),
    (
        "not-found",
        "The log has no such run, record, tile, job, token or request; or a run that is not for this token.",
    ),
    (
        "not-published",
        "No checkpoint covers this yet. Come again in a second.",
    ),
    (
        "opening-mismatch",
        "A sealed value's opening is missing, too many, or does not open its commitment.",
    ),
    (
        "overloaded",
        "Too much is waiting. Come again after `Retry-After`.",
    ),
    (
        "quota-exceeded",
        "The token has used up what it may append a day. Come again after `Retry-After`, or ask an admin for a token with more.",
    ),
    (
        "record-too-large",
        "A record is over 65,535 bytes, or a sealed value over 1 MiB. Put what is large into an attachment.",
    ),
    (
        "request-too-large",
        "The records and sealed values of the request are over 12 MiB together. Send them in several requests.",
    ),
    (
        "run-sealed",
        "The run is sealed and takes no more records. What comes late goes to the scope `ledger`, naming the run.",
    ),
    (
        "seq-gap",
        "The stream's next record has another `seq`. Ask for the stream's head.",
    ),
    (
        "several-lines",
        "`application/json` is one record on one line; several are `application/x-ndjson`.",
    ),
    (
        "too-many-proofs",
        "`wait=published` answers for at most 1,000 records at a time.",
    ),
    (
        "too-many-records",
        "A request holds at most 9,999 records. 1,000 is a good size.",
    ),
    (
        "too-many-requests",
        "The token or the address asks more often than it may, or with wrong tokens. Come again after `Retry-After`.",
    ),
    (
        "unauthenticated",
        "This needs a token: `authorization: Bearer rat_…`.",
    ),
    (
        "unavailable",
        "The ledger has stopped or is closing. Come again after `Retry-After`; what was acknowledged is safe.",
    ),
    (
        "unknown-kind",
        "No kind has this name. The kinds are in the record specification.",
    ),
    (
        "unknown-version",
        "The kind has no such version here. The server may be older than the producer.",
    ),
    (
        "unproven-delivery",
        "There is no such hook, or the delivery's secret or signature is not the hook's.",
    ),
    (
        "unsupported-media-type",
        "The content-type is not one this path takes.",
    ),
    (
        "wrong-prev",
        "`prev` is not the leaf hash of the stream's last record. Ask for the stream's head.",
    ),
];
