//! What a key may look like.

use crate::error::{Result, StoreError};

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 512;

/// Checks a key: path segments of letters, digits, `.`, `-`, `_` and `=`, joined by single slashes, none of them starting
/// with a dot. So no key leaves its root, names a hidden file, or means different things to a file system and to S3.
///
/// # Errors
/// [`BadKey`](StoreError::BadKey) with what is wrong.
pub fn check_key(key: &str) -> Result<()> {
    let bad = |reason| {
        Err(StoreError::BadKey {
            key: key.chars().take(80).collect(),
            reason,
        })
    };
    if key.len() > MAX_KEY_BYTES {
        return bad("it is longer than 512 bytes");
    }
    for segment in key.split('/') {
        if segment.is_empty() {
            return bad("it is empty, absolute, or has an empty path segment");
        }
        if segment.starts_with('.') {
            return bad("a path segment starts with a dot");
        }
        if segment.len() > 255 {
            return bad("a path segment is longer than 255 bytes");
        }
        if !segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'='))
        {
            return bad("only letters, digits, `.`, `-`, `_`, `=` and `/` are allowed");
        }
    }
    Ok(())
}
