//! One request to one witness, and what its answer means.

use std::io::Read as _;

use ledger::{Ledger, Published};
use tlog::{AddCheckpoint, NoteSignature, SignedNote, TreeSize};

use super::witness::Witness;

/// The most bytes of an answer that are read: some signature lines, or a size.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// What came of a question.
pub(super) enum Asked {
    /// Lines by the witness's keys, which hold.
    Cosigned(Vec<NoteSignature>),
    /// The witness has a later checkpoint of this log than the one it was asked about.
    Ahead,
}

/// Asks for cosignatures of a published checkpoint; why there are none, in words.
pub(super) fn cosignatures(
    witness: &Witness,
    ledger: &Ledger,
    latest: &Published,
) -> Result<Asked, String> {
    let size = latest.checkpoint.size.0;
    let mut old = witness.knows().unwrap_or(0);
    // The first conflict says what the witness has; a second, that somebody else was faster.
    for _ in 0..3 {
        if old > size {
            return ahead(ledger, old);
        }
        let proof = ledger
            .consistency_proof(old, size)
            .map_err(|e| format!("no consistency proof could be made: {e}"))?;
        let request = AddCheckpoint {
            old: TreeSize(old),
            proof,
            checkpoint: String::from_utf8_lossy(&latest.note).into_owned(),
        };
        let (status, body) = post(witness, &request.to_string())?;
        match status {
            200 => return verified(witness, latest, &body).map(Asked::Cosigned),
            409 => {
                old = size_of(&body)
                    .ok_or("it answered 409 without the size of the checkpoint that it has")?;
                witness.learn(old);
            }
            422 => {
                return Err(format!(
                    "it refuses this log as inconsistent with the {old} records that it has cosigned: {}; \
                     if this log was restored from a backup, records are missing; else it was forked",
                    first_line(&body)
                ));
            }
            404 => return Err(format!("it does not watch this log: {}", first_line(&body))),
            status => return Err(format!("it answered {status}: {}", first_line(&body))),
        }
    }
    Err("it was asked by others in between, again and again".to_owned())
}

/// The witness has cosigned more than it was asked about. That is well if the log has grown since.
fn ahead(ledger: &Ledger, old: u64) -> Result<Asked, String> {
    let size = ledger.latest_size().map_err(|e| e.to_string())?;
    if old <= size {
        return Ok(Asked::Ahead);
    }
    Err(format!(
        "it has cosigned {old} records of this log, which has {size}: this log was rolled back, or \
         restored from an older backup"
    ))
}

fn post(witness: &Witness, body: &str) -> Result<(u16, String), String> {
    let url = format!("{}/add-checkpoint", witness.url());
    let response = witness
        .agent()
        .post(&url)
        .header("content-type", "text/plain; charset=utf-8")
        .send(body)
        .map_err(|e| format!("it did not answer: {e}"))?;
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    response
        .into_body()
        .into_reader()
        .take(MAX_ANSWER_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("its answer broke off: {e}"))?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// The lines by keys that the policy knows, each checked; others are ignored.
fn verified(
    witness: &Witness,
    latest: &Published,
    body: &str,
) -> Result<Vec<NoteSignature>, String> {
    let text = latest.checkpoint.to_string();
    let mut good = Vec::new();
    for line in body.lines() {
        let line = NoteSignature::parse(line).map_err(|e| format!("its answer: {e}"))?;
        let Some(key) = witness.keys().iter().find(|key| line.is_by(key)) else {
            continue;
        };
        let alone = SignedNote::new(text.clone(), vec![line.clone()])
            .and_then(|note| note.verify_by(key))
            .map_err(|e| format!("its answer: {e}"))?;
        if alone.is_some_and(|signature| signature.timestamp.unwrap_or(0) > 0) {
            good.push(line);
        }
    }
    if good.is_empty() {
        return Err("its answer has no cosignature by a key of the policy".to_owned());
    }
    Ok(good)
}

/// A size as tlog-witness writes it.
fn size_of(body: &str) -> Option<u64> {
    let digits = body.strip_suffix('\n')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let canonical = digits == "0" || !digits.starts_with('0');
    (plain && canonical).then(|| digits.parse().ok())?
}

/// What a witness says may be anything: one line of it, without control characters.
fn first_line(body: &str) -> String {
    let line = body.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_one_spelling() {
        assert_eq!(size_of("0\n"), Some(0));
        assert_eq!(size_of("20852163\n"), Some(20_852_163));
        for bad in [
            "",
            "\n",
            "7",
            "07\n",
            "+7\n",
            "7\n\n",
            "18446744073709551616\n",
        ] {
            assert_eq!(size_of(bad), None, "{bad:?}");
        }
        assert_eq!(first_line("no\x1b[2J way\nmore"), "no[2J way");
    }
}
