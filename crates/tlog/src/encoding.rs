//! The encodings all formats here share: standard base64 (RFC 4648, section 4) and decimals.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Standard base64 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Decodes standard base64. Padding must be there, and spare bits must be zero: each value has one
/// spelling.
pub(crate) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Encodes a digest without allocating.
pub(crate) fn digest_to_base64(digest: &[u8; 32]) -> [u8; 44] {
    let mut out = [b'='; 44];
    // 32 bytes always fit into 44 characters, so the error cannot occur.
    let _ = STANDARD.encode_slice(digest, &mut out);
    out
}

/// Decodes a digest without allocating.
pub(crate) fn digest_from_base64(text: &[u8]) -> Option<[u8; 32]> {
    // 44 characters stand for 31, 32 or 33 bytes, depending on the padding.
    let mut out = [0; 33];
    if text.len() != 44 || STANDARD.decode_slice(text, &mut out).ok()? != 32 {
        return None;
    }
    out.first_chunk().copied()
}

/// Parses a decimal as C2SP writes them: ASCII digits only, no sign, no leading zero.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let canonical =
        text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_one_spelling() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("18446744073709551615"), Some(u64::MAX));
        for text in [
            "",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1_0",
            "18446744073709551616",
            "٣",
        ] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(from_base64(b"Zm8="), Some(b"fo".to_vec()));
        for text in ["Zm8", "Zm9=", "Zm8==", "Zm8 =", "Zm_=", "Zm8=\n"] {
            assert_eq!(from_base64(text.as_bytes()), None, "{text:?}");
        }
    }
}
