//! The bytes of sealed values at rest: bundles parallel to the entry bundles.
//!
//! Per entry a u16 count, then per opening in field order: u8 length and field, 16-byte id of the
//! subject's key, 12-byte nonce, u32 length and ciphertext. All integers are big-endian. No key and
//! no value is seen here.

/// The id of a subject's key: random, says nothing of the subject.
pub(crate) type KeyId = [u8; 16];

/// An entry without sealed values.
pub(crate) const NONE: [u8; 2] = [0, 0];

/// One sealed value as it lies on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed<'a> {
    pub(crate) field: &'a str,
    pub(crate) key_id: KeyId,
    pub(crate) nonce: [u8; 12],
    pub(crate) ciphertext: &'a [u8],
}

/// Appends the entry made of `values`, which are in field order.
pub(crate) fn write(out: &mut Vec<u8>, values: &[Sealed<'_>]) {
    out.extend_from_slice(&(values.len() as u16).to_be_bytes());
    for value in values {
        out.push(value.field.len() as u8);
        out.extend_from_slice(value.field.as_bytes());
        out.extend_from_slice(&value.key_id);
        out.extend_from_slice(&value.nonce);
        out.extend_from_slice(&(value.ciphertext.len() as u32).to_be_bytes());
        out.extend_from_slice(value.ciphertext);
    }
}

/// Cuts a bundle into its `entries` entries.
///
/// # Errors
/// The bundle is cut off, goes on after its last entry, or is malformed.
pub(crate) fn split(mut bundle: &[u8], entries: usize) -> Result<Vec<&[u8]>, String> {
    let mut cut = Vec::with_capacity(entries);
    for at in 0..entries {
        let whole = bundle;
        let rest = skip(whole).map_err(|e| format!("entry {at} of the bundle: {e}"))?;
        cut.push(&whole[..whole.len() - rest.len()]);
        bundle = rest;
    }
    if bundle.is_empty() {
        Ok(cut)
    } else {
        Err(format!(
            "{} bytes follow the last of {entries} entries",
            bundle.len()
        ))
    }
}

/// The sealed values of one entry.
///
/// # Errors
/// The entry is cut off or goes on after its last value.
pub(crate) fn read(mut entry: &[u8]) -> Result<Vec<Sealed<'_>>, String> {
    let count = u16::from_be_bytes(take(&mut entry)?);
    let mut values = Vec::with_capacity(usize::from(count).min(64));
    for _ in 0..count {
        values.push(next(&mut entry)?);
    }
    if entry.is_empty() {
        Ok(values)
    } else {
        Err("bytes follow the last sealed value".to_owned())
    }
}

fn skip(mut entry: &[u8]) -> Result<&[u8], String> {
    let count = u16::from_be_bytes(take(&mut entry)?);
    for _ in 0..count {
        next(&mut entry)?;
    }
    Ok(entry)
}

fn next<'a>(entry: &mut &'a [u8]) -> Result<Sealed<'a>, String> {
    let [length] = take(entry)?;
    let field = std::str::from_utf8(take_slice(entry, usize::from(length))?)
        .map_err(|_| "a field's name is not UTF-8".to_owned())?;
    let (key_id, nonce) = (take(entry)?, take(entry)?);
    let length = u32::from_be_bytes(take(entry)?);
    Ok(Sealed {
        field,
        key_id,
        nonce,
        ciphertext: take_slice(entry, length as usize)?,
    })
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, rest) = from.split_first_chunk().ok_or_else(cut_off)?;
    *from = rest;
    Ok(*head)
}

fn take_slice<'a>(from: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let (head, rest) = from.split_at_checked(length).ok_or_else(cut_off)?;
    *from = rest;
    Ok(head)
}

fn cut_off() -> String {
    "the sealed values are cut off".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Vec<u8> {
        let mut out = NONE.to_vec();
        let value = |field, ciphertext| Sealed {
            field,
            key_id: [1; 16],
            nonce: [2; 12],
            ciphertext,
        };
        write(&mut out, &[value("prompt", b"abc"), value("response", b"")]);
        write(&mut out, &[]);
        out
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = bundle();
        let entries = split(&bytes, 3).unwrap();
        assert!(read(entries[0]).unwrap().is_empty() && read(entries[2]).unwrap().is_empty());
        let values = read(entries[1]).unwrap();
        assert_eq!(values.len(), 2);
        assert_eq!(
            (values[0].field, values[0].ciphertext),
            ("prompt", b"abc".as_slice())
        );
        assert_eq!((values[1].key_id, values[1].nonce), ([1; 16], [2; 12]));
    }

    #[test]
    fn a_bundle_of_another_length_is_refused() {
        let bytes = bundle();
        assert!(split(&bytes, 2).is_err(), "an entry too many");
        assert!(split(&bytes, 4).is_err(), "an entry too few");
        for end in 0..bytes.len() {
            assert!(split(&bytes[..end], 3).is_err(), "cut off at {end}");
        }
    }
}
