//! Sealed values held against the commitments in their records.

use record::{CommitmentKey, open};

use crate::meaning::{Meaning, Sealed};
use crate::report::{Check, Failure};
use crate::sealed::{OpenSealed, SealedField, SealedState};
use crate::tree::Leaves;

/// Opens the commitments of one entry bundle, if it has any.
pub(crate) fn check(
    meaning: &mut Meaning,
    bundle: u64,
    first: u64,
    leaves: &Leaves,
    openings: &dyn OpenSealed,
) {
    let sealed = std::mem::take(&mut meaning.sealed);
    if sealed.is_empty() {
        return;
    }
    // To the encryption a value belongs to the leaf it was sealed for: where an entry was changed,
    // that is the one the tile still has.
    let bound: Vec<_> = (0..leaves.width)
        .map_while(|at| leaves.other(at).or_else(|| leaves.best(at)))
        .collect();
    let opened = match openings.open(bundle, &bound) {
        Ok(opened) => opened,
        Err(why) => {
            meaning.failures.push(
                Failure::new(
                    Check::Sealed,
                    format!("sealed values of {} commitments", sealed.len()),
                    why,
                )
                .at(first),
            );
            return;
        }
    };
    for item in &sealed {
        let fields = opened
            .get(usize::from(item.at))
            .map_or(&[][..], Vec::as_slice);
        one(meaning, first, item, fields);
    }
    for (at, fields) in opened.iter().enumerate() {
        for field in fields {
            let known = sealed
                .iter()
                .any(|item| usize::from(item.at) == at && item.field == field.field);
            if !known {
                meaning.failures.push(failure(
                    first + at as u64,
                    "no sealed value without a commitment",
                    format!("one for the field {}", field.field),
                ));
            }
        }
    }
}

fn one(meaning: &mut Meaning, first: u64, item: &Sealed, fields: &[SealedField]) {
    let index = first + u64::from(item.at);
    let field = &item.field;
    let found = match fields.iter().find(|candidate| candidate.field == *field) {
        None => Some("none".to_owned()),
        Some(SealedField {
            state: SealedState::Erased,
            ..
        }) => {
            meaning.erased += 1;
            return;
        }
        Some(SealedField {
            state: SealedState::Broken(why),
            ..
        }) => Some(why.clone()),
        Some(SealedField {
            state: SealedState::Opened { key, value },
            ..
        }) => {
            let good = open(&item.commitment, &CommitmentKey(*key), field, value);
            (!good).then(|| "a value that does not open it".to_owned())
        }
    };
    match found {
        None => meaning.opened += 1,
        Some(found) => meaning.failures.push(failure(
            index,
            format!("a sealed value that opens the commitment to {field}"),
            found,
        )),
    }
}

fn failure(index: u64, expected: impl Into<String>, found: impl Into<String>) -> Failure {
    Failure::new(Check::Sealed, expected, found).at(index)
}

/// Opens the commitments of one entry of a bundle with the openings that stand beside it. One that
/// is left out (erased, or not handed out) stays unopened; one that does not belong is a failure.
pub(crate) fn check_given(meaning: &mut Meaning, index: u64, openings: &[u8]) {
    let sealed = std::mem::take(&mut meaning.sealed);
    let given = match record::parse_bundle_openings(openings) {
        Ok(given) => given,
        Err(error) => {
            meaning.failures.push(failure(
                index,
                "openings in canonical JSON",
                error.to_string(),
            ));
            return;
        }
    };
    for (field, key, value) in given {
        match sealed.iter().find(|item| item.field == field) {
            None => meaning.failures.push(failure(
                index,
                "no opening without a commitment",
                format!("one for the field {field}"),
            )),
            Some(item) if open(&item.commitment, &key, &field, value.as_bytes()) => {
                meaning.opened += 1;
            }
            Some(_) => meaning.failures.push(failure(
                index,
                format!("an opening of the commitment to {field}"),
                "a value that does not open it",
            )),
        }
    }
}
