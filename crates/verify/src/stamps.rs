//! Timestamps held against the log: of one of its checkpoints, unaltered, by whom the caller trusts.
//! The token itself is [`crate::timestamp`]'s.

use std::fs;
use std::io;

use tlog::{
    Checkpoint, Hash, ReadError, SignedNote, TreeSize, consistency_proof, proof::verify_consistency,
};

use crate::bundle::Stamp;
use crate::report::{Check, Failure, KEPT, Report, Stamped};
use crate::source::{MAX_CHECKPOINT_BYTES, Source};
use crate::tiles::SourceTiles;
use crate::timestamp::{MAX_RESPONSE_BYTES, Token};
use crate::trust::SignedRoot;
use crate::{Options, VerifyError};

/// Where a log keeps them: `<size>.tsr` and `<size>.note`, and the newest size in `latest`.
const PLACE: &str = "timestamps";

/// Checks one timestamp; `path` says where it was found, if not in a bundle.
pub(crate) fn check(
    stamp: &Stamp,
    signed: &SignedRoot,
    options: &Options<'_>,
    path: Option<&str>,
    report: &mut Report,
) {
    let outcome = of_this_log(stamp, signed).and_then(|size| {
        let wrong = |error: crate::timestamp::TimestampError| {
            let expected = format!("a timestamp of the checkpoint of {size} entries");
            (expected, error.to_string())
        };
        let token = Token::open(&stamp.response, &stamp.text).map_err(wrong)?;
        if let Some(roots) = &options.tsa_roots {
            token.trusted_by(roots).map_err(wrong)?;
        }
        Ok(Stamped {
            size,
            before: token.before().to_string(),
            authority: token.authority().to_owned(),
            trusted: options.tsa_roots.is_some(),
        })
    });
    report.timestamps_total += 1;
    match outcome {
        Ok(stamped) => {
            if report.timestamps.len() == KEPT {
                report.timestamps.remove(0);
            }
            report.timestamps.push(stamped);
        }
        Err((expected, found)) => {
            let mut failure = Failure::new(Check::Timestamp, expected, found);
            failure.path = path.map(str::to_owned);
            report.fail(failure);
        }
    }
}

/// The size of the stamped checkpoint, if the log has grown from it; else what was expected and found.
fn of_this_log(stamp: &Stamp, signed: &SignedRoot) -> Result<u64, (String, String)> {
    let expected = || {
        format!(
            "a checkpoint of {}, from which its {} entries have grown",
            signed.origin, signed.size
        )
    };
    let stamped = std::str::from_utf8(&stamp.text)
        .map_err(|e| (expected(), e.to_string()))
        .and_then(|text| Checkpoint::parse(text).map_err(|e| (expected(), e.to_string())))?;
    if stamped.origin != signed.origin {
        return Err((expected(), format!("one of {}", stamped.origin)));
    }
    let proof: Vec<Hash> = stamp.proof.iter().copied().map(Hash::from).collect();
    verify_consistency(
        stamped.size,
        TreeSize(signed.size),
        &stamped.root,
        &signed.hash,
        &proof,
    )
    .map_err(|e| (expected(), e.to_string()))?;
    Ok(stamped.size.get())
}

/// Says what the timestamps leave open.
pub(crate) fn expected(options: &Options<'_>, report: &mut Report) {
    if options.tsa_roots.is_some() {
        if report.timestamps_total == 0 {
            report.leave_unchecked("when it existed: there is no timestamp in it");
        }
        return;
    }
    if let Some(last) = report.timestamps.last() {
        let note = format!(
            "a timestamp is there: {} entries before {}, by who calls himself {:?}. Who made it was \
             not checked, so it counts for nothing: give the authority's root with --tsa-ca",
            last.size, last.before, last.authority
        );
        report.notes.push(note);
    }
}

/// Checks a log's timestamps: all in a directory, the newest of a URL.
pub(crate) fn check_all(
    source: &Source,
    signed: &SignedRoot,
    options: &Options<'_>,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let sizes = match sizes(source) {
        Ok(sizes) => sizes,
        // Some file servers refuse what they do not have; what is asked for and missing is said below.
        Err(error) if source.root().is_none() => {
            report
                .notes
                .push(format!("no timestamp was looked at: {error}"));
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    if source.root().is_none() && !sizes.is_empty() {
        report
            .notes
            .push("timestamps cannot be listed over HTTP: only the newest was looked at".into());
    }
    for size in sizes {
        if size > signed.size {
            report.notes.push(format!(
                "a timestamp of {size} entries, more than the checkpoint has, was not read"
            ));
            continue;
        }
        one(source, size, signed, options, report)?;
    }
    expected(options, report);
    Ok(())
}

fn one(
    source: &Source,
    size: u64,
    signed: &SignedRoot,
    options: &Options<'_>,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let (mut note, mut response) = (Vec::new(), Vec::new());
    let (at_note, at) = (
        format!("{PLACE}/{size}.note"),
        format!("{PLACE}/{size}.tsr"),
    );
    for (path, limit, into) in [
        (&at_note, MAX_CHECKPOINT_BYTES, &mut note),
        (&at, MAX_RESPONSE_BYTES, &mut response),
    ] {
        if !source.read(path, limit, into)? {
            report.timestamps_total += 1;
            report.fail(Failure::new(Check::MissingFile, "a file", "none").path(path));
            return Ok(());
        }
    }
    let text = match SignedNote::parse(&note) {
        Ok(note) => note.text().as_bytes().to_vec(),
        Err(error) => {
            report.timestamps_total += 1;
            let expected = format!("the checkpoint of {size} entries");
            report.fail(Failure::new(Check::Timestamp, expected, error.to_string()).path(at_note));
            return Ok(());
        }
    };
    // Tiles that lie give a proof that fails: nothing has to be believed of them.
    let tiles = SourceTiles(source);
    let proof = match consistency_proof(&tiles, TreeSize(size), TreeSize(signed.size)) {
        Ok(proof) => proof,
        // Missing tiles have been reported where they are missing.
        Err(_) if report.failures_total > 0 => return Ok(()),
        Err(ReadError::Reader { cause, .. }) if source.root().is_none() => return Err(cause),
        Err(error) => {
            let expected = format!("tiles from which {} entries have grown", signed.size);
            report.fail(Failure::new(Check::Timestamp, expected, error.to_string()).path(at));
            return Ok(());
        }
    };
    let stamp = Stamp {
        text,
        response,
        proof: proof.iter().map(|hash| *hash.as_bytes()).collect(),
    };
    check(&stamp, signed, options, Some(&at), report);
    Ok(())
}

/// Which sizes were stamped, ascending.
fn sizes(source: &Source) -> Result<Vec<u64>, VerifyError> {
    let Some(root) = source.root() else {
        let mut latest = Vec::new();
        if !source.read(&format!("{PLACE}/latest"), 32, &mut latest)? {
            return Ok(Vec::new());
        }
        let size = std::str::from_utf8(&latest)
            .ok()
            .and_then(|text| text.trim_end().parse().ok());
        return size
            .map(|size| vec![size])
            .ok_or_else(|| VerifyError::Unavailable {
                what: format!("{PLACE}/latest"),
                why: "it is no number of entries".into(),
            });
    };
    let unavailable = |e: io::Error| VerifyError::Unavailable {
        what: root.join(PLACE).display().to_string(),
        why: e.to_string(),
    };
    let entries = match fs::read_dir(root.join(PLACE)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unavailable(e)),
    };
    let mut sizes = Vec::new();
    for entry in entries {
        let name = entry.map_err(unavailable)?.file_name();
        let size = name.to_str().and_then(|name| name.strip_suffix(".tsr"));
        sizes.extend(size.and_then(|size| size.parse::<u64>().ok()));
    }
    sizes.sort_unstable();
    Ok(sizes)
}
