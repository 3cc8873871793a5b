//! ASN.1 values one by one, each with the very bytes it was read from: signatures and hashes are over
//! those, never over what was encoded again.

use der::asn1::ObjectIdentifier;
use der::{Decode as _, Header, Reader as _, SliceReader, Tag};

use super::TimestampError;

/// One value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tlv<'a> {
    pub(super) tag: Tag,
    /// The contents.
    pub(super) value: &'a [u8],
    /// Tag, length and contents.
    pub(super) whole: &'a [u8],
}

/// The values in `bytes`, one after another, up to its end.
pub(super) struct Members<'a> {
    reader: SliceReader<'a>,
    next: Option<Tlv<'a>>,
}

impl<'a> Members<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, TimestampError> {
        let reader = SliceReader::new(bytes).map_err(|_| TimestampError::Malformed("DER"))?;
        let mut members = Self { reader, next: None };
        members.advance()?;
        Ok(members)
    }

    fn advance(&mut self) -> Result<Option<Tlv<'a>>, TimestampError> {
        let read = |reader: &mut SliceReader<'a>| -> der::Result<Option<Tlv<'a>>> {
            if reader.is_finished() {
                return Ok(None);
            }
            let whole = reader.tlv_bytes()?;
            let mut inner = SliceReader::new(whole)?;
            let header = Header::decode(&mut inner)?;
            let value = inner.read_slice(header.length())?;
            Ok(Some(Tlv {
                tag: header.tag(),
                value,
                whole,
            }))
        };
        let next = read(&mut self.reader).map_err(|_| TimestampError::Malformed("DER"))?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// The next value, which must have this tag.
    pub(super) fn take(&mut self, tag: Tag, what: &'static str) -> Result<Tlv<'a>, TimestampError> {
        self.take_if(tag)?.ok_or(TimestampError::Malformed(what))
    }

    /// The next value, if it has this tag.
    pub(super) fn take_if(&mut self, tag: Tag) -> Result<Option<Tlv<'a>>, TimestampError> {
        if self.next.is_some_and(|next| next.tag == tag) {
            self.advance()
        } else {
            Ok(None)
        }
    }

    /// The next value, whatever it is.
    pub(super) fn any(&mut self) -> Result<Option<Tlv<'a>>, TimestampError> {
        self.advance()
    }
}

/// The tag `[number]`, constructed or not.
pub(super) const fn context(number: u32, constructed: bool) -> Tag {
    Tag::ContextSpecific {
        number: der::TagNumber(number),
        constructed,
    }
}

/// One value that takes up all of `bytes`.
pub(super) fn only<'a>(
    bytes: &'a [u8],
    tag: Tag,
    what: &'static str,
) -> Result<Tlv<'a>, TimestampError> {
    let mut members = Members::new(bytes)?;
    let tlv = members.take(tag, what)?;
    if members.any()?.is_some() {
        return Err(TimestampError::Malformed(what));
    }
    Ok(tlv)
}

/// An object identifier.
pub(super) fn oid(tlv: Tlv<'_>) -> Result<ObjectIdentifier, TimestampError> {
    ObjectIdentifier::from_der(tlv.whole)
        .map_err(|_| TimestampError::Malformed("an object identifier"))
}

/// The algorithm of an `AlgorithmIdentifier`, parameters aside.
pub(super) fn algorithm(tlv: Tlv<'_>) -> Result<ObjectIdentifier, TimestampError> {
    oid(Members::new(tlv.value)?.take(Tag::ObjectIdentifier, "an algorithm")?)
}

/// A small unsigned integer.
pub(super) fn small(tlv: Tlv<'_>) -> Result<u64, TimestampError> {
    u64::from_der(tlv.whole).map_err(|_| TimestampError::Malformed("a small integer"))
}
