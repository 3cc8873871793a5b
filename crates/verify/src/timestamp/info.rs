//! `TimeStampResp` and `TSTInfo` of RFC 3161, section 2.4.2.

use der::Tag;
use der::asn1::ObjectIdentifier;
use record::Timestamp;

use super::TimestampError;
use super::tlv::{self, Members, context};

/// The token in an answer, if it was granted.
pub(super) fn granted(response: &[u8]) -> Result<&[u8], TimestampError> {
    let response = tlv::only(response, Tag::Sequence, "a TimeStampResp")?;
    let mut members = Members::new(response.value)?;
    let status = members.take(Tag::Sequence, "a status")?;
    let mut status = Members::new(status.value)?;
    let code = tlv::small(status.take(Tag::Integer, "a status")?)?;
    // granted, grantedWithMods
    if code > 1 {
        let mut text = String::new();
        if let Some(lines) = status.take_if(Tag::Sequence)? {
            let mut lines = Members::new(lines.value)?;
            while let Some(line) = lines.take_if(Tag::Utf8String)? {
                text.push_str(&String::from_utf8_lossy(line.value));
            }
        }
        text.retain(|c| !c.is_control());
        return Err(TimestampError::Refused { status: code, text });
    }
    let token = members.take(Tag::Sequence, "a token")?;
    if members.any()?.is_some() {
        return Err(TimestampError::Malformed("nothing after the token"));
    }
    Ok(token.whole)
}

/// What the authority signs.
pub(super) struct Info<'a> {
    pub(super) algorithm: ObjectIdentifier,
    pub(super) imprint: &'a [u8],
    pub(super) time: Timestamp,
    /// `time` and the accuracy.
    pub(super) before: Timestamp,
    pub(super) nonce: Option<&'a [u8]>,
}

impl<'a> Info<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, TimestampError> {
        let info = tlv::only(bytes, Tag::Sequence, "a TSTInfo")?;
        let mut members = Members::new(info.value)?;
        if tlv::small(members.take(Tag::Integer, "TSTInfo version 1")?)? != 1 {
            return Err(TimestampError::Malformed("TSTInfo version 1"));
        }
        members.take(Tag::ObjectIdentifier, "a policy")?;
        let imprint = members.take(Tag::Sequence, "a message imprint")?;
        let mut imprint = Members::new(imprint.value)?;
        let algorithm = tlv::algorithm(imprint.take(Tag::Sequence, "a hash algorithm")?)?;
        let imprint = imprint.take(Tag::OctetString, "a hash")?.value;
        members.take(Tag::Integer, "a serial number")?;
        let time = members.take(Tag::GeneralizedTime, "a time")?.value;
        let time = generalized_time(time).ok_or(TimestampError::Malformed("a time in UTC"))?;
        let accuracy = match members.take_if(Tag::Sequence)? {
            Some(accuracy) => micros(accuracy.value)?,
            None => 0,
        };
        members.take_if(Tag::Boolean)?;
        let nonce = members.take_if(Tag::Integer)?.map(|nonce| nonce.value);
        members.take_if(context(0, true))?;
        if let Some(extensions) = members.take_if(context(1, true))? {
            critical(extensions.value)?;
        }
        if members.any()?.is_some() {
            return Err(TimestampError::Malformed("the end of TSTInfo"));
        }
        let before = time.0.saturating_add(accuracy).min(Timestamp::MAX.0);
        Ok(Self {
            algorithm,
            imprint,
            time,
            before: Timestamp(before),
            nonce,
        })
    }
}

/// `Accuracy`, in microseconds.
fn micros(bytes: &[u8]) -> Result<i64, TimestampError> {
    let mut members = Members::new(bytes)?;
    let mut total: u64 = 0;
    for (tag, scale) in [
        (Tag::Integer, 1_000_000),
        (context(0, false), 1_000),
        (context(1, false), 1),
    ] {
        let Some(part) = members.take_if(tag)? else {
            continue;
        };
        if part.value.len() > 6 {
            return Err(TimestampError::Malformed("an accuracy"));
        }
        let part = part
            .value
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        total = total.saturating_add(part.saturating_mul(scale));
    }
    i64::try_from(total).map_err(|_| TimestampError::Malformed("an accuracy"))
}

/// No extension that one would have to understand.
fn critical(extensions: &[u8]) -> Result<(), TimestampError> {
    let mut extensions = Members::new(extensions)?;
    while let Some(extension) = extensions.any()? {
        let mut extension = Members::new(extension.value)?;
        extension.take(Tag::ObjectIdentifier, "an extension")?;
        if extension
            .take_if(Tag::Boolean)?
            .is_some_and(|critical| critical.value != [0])
        {
            return Err(TimestampError::Malformed("no critical extension"));
        }
    }
    Ok(())
}

/// `YYYYMMDDhhmmss[.f…]Z`: unlike in certificates, fractions of a second are allowed.
fn generalized_time(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 14 || !digits(whole) || fraction.is_empty() || !digits(fraction) {
        return None;
    }
    let fraction: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let part = |from: usize, to: usize| &whole[from..to];
    Timestamp::parse(&format!(
        "{}-{}-{}T{}:{}:{}.{fraction}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_and_without_fractions() {
        let time = |text: &str| generalized_time(text.as_bytes()).map(|time| time.to_string());
        assert_eq!(
            time("20261124035729Z").as_deref(),
            Some("2026-11-24T03:57:29.000000Z")
        );
        assert_eq!(
            time("19990609001326.34352Z").as_deref(),
            Some("1999-06-09T00:13:26.343520Z")
        );
        for wrong in [
            "20261124035729",
            "20261324035729Z",
            "20261124035729.Z",
            "2026112403572Z",
            "20261124035729+01",
        ] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn accuracies() {
        assert_eq!(
            micros(&[2, 1, 1, 0x80, 2, 1, 0xf4, 0x81, 1, 100]),
            Ok(1_500_100)
        );
        assert_eq!(micros(&[0x80, 1, 7]), Ok(7_000));
        assert_eq!(micros(&[]), Ok(0));
    }
}
