//! The two text encodings of bytes in a record: base64 (RFC 4648 §4, padded, canonical) and lower
//! hex. Not a general codec: every length is fixed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// `N` bytes as base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Exactly `N` bytes from canonical base64 (padded, unused bits zero), else `None`.
pub(crate) fn from_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N.div_ceil(3) * 4 {
        return None;
    }
    // The decoder asks for room for what the padding stands for.
    let mut room = [0_u8; 72];
    let len = STANDARD.decode_slice(text, &mut room).ok()?;
    room.get(..len)?.try_into().ok()
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// 32 bytes from 64 lower-case hexadecimal digits, else `None`.
pub(crate) fn from_hex32(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Implements `Display`, `Debug` and serde as text for a type with `parse(&str) -> Option<Self>`,
/// a `Display` and a name for errors.
macro_rules! text_serde {
    ($type:ty, $expected:expr) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| {
                    serde::de::Error::custom(format_args!("expected {}, found {text:?}", $expected))
                })
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::ids::IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text).ok_or_else(|| crate::ids::IdError::new($expected, text))
            }
        }
    };
}
pub(crate) use text_serde;
