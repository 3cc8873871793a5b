//! Whether a delivery is from who shares the hook's secret: Label Studio sends the secret itself in a
//! header, Argilla signs (<https://www.standardwebhooks.com>, symmetric signatures `v1`).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use hmac::{Hmac, KeyInit, Mac};
use record::Timestamp;
use sha2::Sha256;

use super::Platform;

/// How old a signature may be, or how far ahead of this server's clock.
const TOLERANCE_MICROS: i64 = 300_000_000;
/// What the secrets of Standard Webhooks may begin with.
const PREFIX: &str = "whsec_";
/// The most signatures looked at: a sender has two while it changes its secret.
const MAX_SIGNATURES: usize = 16;

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether the delivery proves that its sender has the secret.
pub(super) fn holds(
    platform: Platform,
    secret: &[u8],
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> bool {
    match platform {
        Platform::LabelStudio => is_shown(secret, headers),
        Platform::Argilla => is_signed(secret, headers, body, now),
    }
}

/// The key that a secret of Standard Webhooks is; `None` where it is none.
pub(crate) fn key_of(secret: &str) -> Option<Vec<u8>> {
    let text = secret.strip_prefix(PREFIX).unwrap_or(secret);
    BASE64
        .decode(text.trim())
        .ok()
        .filter(|key| !key.is_empty())
}

fn is_shown(secret: &[u8], headers: &HeaderMap) -> bool {
    let shown = headers
        .get(AUTHORIZATION)
        .map(axum::http::HeaderValue::as_bytes);
    let shown = shown.and_then(|value| {
        value
            .strip_prefix(b"Bearer ")
            .or(value.strip_prefix(b"bearer "))
    });
    // Compared by their codes under a key of the secret's own, so that the time it takes says nothing.
    shown.is_some_and(|shown| {
        let code = |of: &[u8]| mac(secret, of).map(|mac| mac.finalize().into_bytes());
        let expected = code(secret);
        expected.is_some_and(|expected| {
            mac(secret, shown).is_some_and(|mac| mac.verify(&expected).is_ok())
        })
    })
}

fn is_signed(secret: &[u8], headers: &HeaderMap, body: &[u8], now: Timestamp) -> bool {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let (Some(id), Some(time), Some(signatures)) = (
        header("webhook-id"),
        header("webhook-timestamp"),
        header("webhook-signature"),
    ) else {
        return false;
    };
    let seconds = time
        .parse::<i64>()
        .ok()
        .and_then(|seconds| seconds.checked_mul(1_000_000));
    let near =
        seconds.is_some_and(|time| now.0.saturating_sub(time).saturating_abs() <= TOLERANCE_MICROS);
    let key = std::str::from_utf8(secret).ok().and_then(key_of);
    let Some(key) = key.filter(|_| near && !id.is_empty()) else {
        return false;
    };
    let signed = |signature: &[u8]| {
        mac(&key, id.as_bytes()).is_some_and(|mut mac| {
            for part in [b".", time.as_bytes(), b".", body] {
                mac.update(part);
            }
            mac.verify_slice(signature).is_ok()
        })
    };
    signatures
        .split(' ')
        .take(MAX_SIGNATURES)
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|signature| general_purpose::STANDARD.decode(signature).ok())
        .any(|signature| signed(&signature))
}

fn mac(key: &[u8], first: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(first);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of the Standard Webhooks specification's own libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn signed(id: &str, time: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", time.parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        headers
    }

    fn accepts(headers: &HeaderMap, body: &[u8], now: i64) -> bool {
        let now = Timestamp(now * 1_000_000);
        holds(Platform::Argilla, SECRET.as_bytes(), headers, body, now)
    }

    #[test]
    fn a_signature_is_of_the_id_the_time_and_the_body() {
        let time = TIME.to_string();
        let good = signed(ID, &time, SIGNATURE);
        assert!(accepts(&good, BODY, TIME));
        assert!(accepts(
            &signed(ID, &time, &format!("v1,AAAA v2,x {SIGNATURE}")),
            BODY,
            TIME
        ));
        // The same secret without its prefix and padding.
        let bare = SECRET.trim_start_matches(PREFIX).trim_end_matches('=');
        let now = Timestamp(TIME * 1_000_000);
        assert!(holds(Platform::Argilla, bare.as_bytes(), &good, BODY, now));

        assert!(!accepts(&good, b"{}", TIME));
        assert!(!accepts(&good, BODY, TIME + 301));
        assert!(!accepts(&good, BODY, TIME - 301));
        assert!(!accepts(&signed("msg_other", &time, SIGNATURE), BODY, TIME));
        assert!(!accepts(
            &signed(ID, &(TIME + 1).to_string(), SIGNATURE),
            BODY,
            TIME
        ));
        assert!(!accepts(&signed(ID, "soon", SIGNATURE), BODY, TIME));
        assert!(!accepts(&signed(ID, &time, "v1,"), BODY, TIME));
        assert!(!accepts(
            &signed(ID, &time, SIGNATURE.trim_start_matches("v1,")),
            BODY,
            TIME
        ));
        assert!(!accepts(&HeaderMap::new(), BODY, TIME));
    }

    #[test]
    fn a_shared_secret_is_the_very_same_bytes() {
        let shows = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            holds(
                Platform::LabelStudio,
                b"hook_x",
                &headers,
                BODY,
                Timestamp(0),
            )
        };
        assert!(shows("Bearer hook_x"));
        for bad in [
            "Bearer hook_",
            "Bearer hook_xy",
            "Bearer ",
            "hook_x",
            "Basic hook_x",
        ] {
            assert!(!shows(bad), "{bad}");
        }
        assert!(!holds(
            Platform::LabelStudio,
            b"hook_x",
            &HeaderMap::new(),
            BODY,
            Timestamp(0)
        ));
    }

    #[test]
    fn a_secret_that_is_no_base64_is_none() {
        assert!(key_of(SECRET).is_some());
        for bad in ["", "whsec_", "whsec_!!!", "not base64 at all"] {
            assert_eq!(key_of(bad), None, "{bad}");
        }
    }
}
