//! Tokens of OpenSSL's time-stamping authority: taken as they are, refused for each thing that can be
//! wrong with them, and accepted by OpenSSL's verifier where we accept them.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use std::fs;
use std::sync::LazyLock;

use testkit::tsa::{GOOD, Tsa};
use verify::timestamp::{TimestampError, Token, TsaRoots, query};

const TEXT: &[u8] = b"example.com/log\n20\nqINS1GRFhWHwdkUeqLEoP4yEMkTBBzxBkGwGQlVlVcs=\n";
const NONCE: [u8; 16] = [0x80, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

static TSA: LazyLock<Tsa> = LazyLock::new(Tsa::new);

fn roots(tsa: &Tsa) -> TsaRoots {
    TsaRoots::from_pem(&fs::read(tsa.path("ca.pem")).unwrap()).unwrap()
}

fn reply() -> Vec<u8> {
    TSA.reply(&query(TEXT, NONCE), "rsa")
}

#[test]
fn a_token_of_openssl_is_taken_and_openssl_takes_it_too() {
    let reply = reply();
    let token = Token::open(&reply, TEXT).unwrap();
    token.answers(NONCE).unwrap();
    token.trusted_by(&roots(&TSA)).unwrap();
    assert_eq!(token.authority(), "Test TSA rsa");
    assert_eq!(
        token.before().0 - token.time().0,
        1_000_000,
        "accuracy=secs:1"
    );

    fs::write(TSA.path("taken.tsr"), &reply).unwrap();
    fs::write(TSA.path("taken.txt"), TEXT).unwrap();
    fs::write(TSA.path("taken.tsq"), query(TEXT, NONCE)).unwrap();
    for against in [["-data", "taken.txt"], ["-queryfile", "taken.tsq"]] {
        let mut args = vec!["ts", "-verify", "-in", "taken.tsr", "-CAfile", "ca.pem"];
        args.extend(against);
        TSA.openssl(&args);
    }
}

#[test]
fn nonces_with_leading_zeros_and_high_bits() {
    for nonce in [[0; 16], [0xff; 16], {
        let mut nonce = [0; 16];
        nonce[15] = 1;
        nonce
    }] {
        let reply = TSA.reply(&query(TEXT, nonce), "rsa");
        Token::open(&reply, TEXT).unwrap().answers(nonce).unwrap();
    }
}

#[test]
fn every_algorithm_that_is_said_to_be_supported() {
    let curve = |name: &'static str| ["-newkey", "ec", "-pkeyopt", name];
    TSA.issue("p256", &curve("ec_paramgen_curve:P-256"), GOOD, None);
    TSA.issue("p384", &curve("ec_paramgen_curve:P-384"), GOOD, None);
    TSA.issue("rsa4096", &["-newkey", "rsa:4096"], GOOD, None);
    for signer in ["p256", "p384", "rsa4096"] {
        let reply = TSA.reply(&query(TEXT, NONCE), signer);
        let token = Token::open(&reply, TEXT).unwrap();
        token.trusted_by(&roots(&TSA)).unwrap();
        assert_eq!(token.authority(), format!("Test TSA {signer}"));
    }
    TSA.issue("weak", &["-newkey", "rsa:1024"], GOOD, None);
    let reply = TSA.reply(&query(TEXT, NONCE), "weak");
    assert!(Token::open(&reply, TEXT).is_err(), "RSA of 1,024 bits");
}

#[test]
fn another_nonce_another_text_and_no_token_are_refused() {
    let reply = reply();
    let token = Token::open(&reply, TEXT).unwrap();
    assert!(matches!(
        token.answers([7; 16]),
        Err(TimestampError::Nonce { .. })
    ));
    let other = Token::open(&reply, b"another text\n").unwrap_err();
    assert!(matches!(other, TimestampError::Imprint { .. }), "{other}");
    for nothing in [&b""[..], b"<html>", &[0x30, 0], &reply[..reply.len() - 1]] {
        assert!(Token::open(nothing, TEXT).is_err());
    }
    // A request that an authority will not answer: SHA-256 with 31 bytes.
    let mut request = query(TEXT, NONCE);
    let at = request.windows(2).position(|w| w == [4, 32]).unwrap();
    request[at + 1] = 31;
    request.remove(at + 2);
    for length in [1, at - 16] {
        request[length] -= 1;
    }
    let refused = Token::open(&TSA.reply(&request, "rsa"), TEXT).unwrap_err();
    assert!(
        matches!(refused, TimestampError::Refused { status: 2, .. }),
        "{refused}"
    );
}

#[test]
fn another_authority_is_not_trusted() {
    let other = Tsa::new();
    let reply = other.reply(&query(TEXT, NONCE), "rsa");
    let token = Token::open(&reply, TEXT).unwrap();
    let error = token.trusted_by(&roots(&TSA)).unwrap_err();
    assert!(
        error.to_string().contains("no trusted root issued it"),
        "{error}"
    );
    token.trusted_by(&roots(&other)).unwrap();
}

#[test]
fn a_certificate_not_valid_at_the_stated_time_is_not_trusted() {
    for (name, from, to) in [
        ("expired", "20200101000000Z", "20210101000000Z"),
        ("early", "20900101000000Z", "20910101000000Z"),
    ] {
        TSA.issue(name, &["-newkey", "rsa:2048"], GOOD, Some((from, to)));
        let reply = TSA.reply(&query(TEXT, NONCE), name);
        let error = Token::open(&reply, TEXT)
            .unwrap()
            .trusted_by(&roots(&TSA))
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("outside a certificate's validity"),
            "{error}"
        );
    }
}

#[test]
fn a_certificate_for_anything_else_is_not_trusted() {
    let reply = reply();
    for (name, extensions, found) in [
        (
            "no-eku",
            "keyUsage=digitalSignature",
            "no extended key usage",
        ),
        (
            "not-critical",
            "extendedKeyUsage=timeStamping",
            "not marked critical",
        ),
        (
            "two",
            "extendedKeyUsage=critical,timeStamping,codeSigning",
            "other purposes",
        ),
        (
            "code",
            "extendedKeyUsage=critical,codeSigning",
            "other purposes",
        ),
        (
            "encrypts",
            "extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,keyEncipherment",
            "may not sign",
        ),
    ] {
        TSA.issue(name, &["-newkey", "rsa:2048"], extensions, None);
        // OpenSSL's authority refuses to sign with these, so its content is signed by hand.
        let forged = TSA.sign_again(&reply, name).unwrap();
        let token = Token::open(&forged, TEXT).unwrap();
        let error = token.trusted_by(&roots(&TSA)).unwrap_err();
        assert!(
            matches!(error, TimestampError::Usage { .. }),
            "{name}: {error}"
        );
        assert!(error.to_string().contains(found), "{name}: {error}");
    }
    // The same by hand with a good certificate is taken: it was the certificate.
    let again = TSA.sign_again(&reply, "rsa").unwrap();
    Token::open(&again, TEXT)
        .unwrap()
        .trusted_by(&roots(&TSA))
        .unwrap();
}

#[test]
fn a_token_altered_in_any_byte_is_refused_or_says_the_same() {
    let reply = reply();
    let whole = Token::open(&reply, TEXT).unwrap();
    let roots = roots(&TSA);
    let mut unnoticed = Vec::new();
    for at in 0..reply.len() {
        let mut altered = reply.clone();
        altered[at] ^= 1;
        let taken = Token::open(&altered, TEXT)
            .and_then(|token| token.trusted_by(&roots).map(|()| token))
            .and_then(|token| token.answers(NONCE).map(|()| token));
        if let Ok(token) = taken {
            assert_eq!(token.time(), whole.time(), "byte {at}");
            assert_eq!(token.before(), whole.before(), "byte {at}");
            assert_eq!(token.authority(), whole.authority(), "byte {at}");
            unnoticed.push(at);
        }
    }
    // Nobody signs the outermost frame: status 0 or 1, versions, the set of digest algorithms.
    let (frame, signed) = (unnoticed.len(), reply.len());
    assert!(
        frame < signed / 20,
        "{frame} of {signed} bytes: {unnoticed:?}"
    );
}

#[test]
fn roots_that_are_none() {
    for pem in [
        &b""[..],
        b"not PEM",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(matches!(
            TsaRoots::from_pem(pem),
            Err(TimestampError::Roots { .. })
        ));
    }
}
