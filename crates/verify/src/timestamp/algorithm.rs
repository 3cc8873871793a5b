//! Which of ring's algorithms a name in a token stands for. What is not here is refused: RSA below
//! 2,048 bits, SHA-1, curves other than P-256, P-384 and Ed25519.

use der::asn1::ObjectIdentifier;
use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::ring as webpki_ring;

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

/// For signatures on certificates.
pub(super) const CERTIFICATES: &[Algorithm] = webpki::ALL_VERIFICATION_ALGS;

const RSA: &str = "1.2.840.113549.1.1.1";
const RSA_PSS: &str = "1.2.840.113549.1.1.10";
const RSA_SHA_256: &str = "1.2.840.113549.1.1.11";
const RSA_SHA_384: &str = "1.2.840.113549.1.1.12";
const RSA_SHA_512: &str = "1.2.840.113549.1.1.13";
const ECDSA_SHA_256: &str = "1.2.840.10045.4.3.2";
const ECDSA_SHA_384: &str = "1.2.840.10045.4.3.3";
const ED25519: &str = "1.3.101.112";

/// The algorithms that a signer's `signatureAlgorithm` and digest may mean; which, the key says.
pub(super) fn signature(algorithm: ObjectIdentifier, digest: ObjectIdentifier) -> Vec<Algorithm> {
    let sha = match digest.to_string().as_str() {
        "2.16.840.1.101.3.4.2.1" => 256,
        "2.16.840.1.101.3.4.2.2" => 384,
        "2.16.840.1.101.3.4.2.3" => 512,
        _ => return Vec::new(),
    };
    match (algorithm.to_string().as_str(), sha) {
        (RSA, 256) | (RSA_SHA_256, _) => vec![webpki_ring::RSA_PKCS1_2048_8192_SHA256],
        (RSA, 384) | (RSA_SHA_384, _) => vec![webpki_ring::RSA_PKCS1_2048_8192_SHA384],
        (RSA, 512) | (RSA_SHA_512, _) => vec![webpki_ring::RSA_PKCS1_2048_8192_SHA512],
        (RSA_PSS, 256) => vec![webpki_ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        (RSA_PSS, 384) => vec![webpki_ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        (RSA_PSS, 512) => vec![webpki_ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        (ECDSA_SHA_256, _) => vec![
            webpki_ring::ECDSA_P256_SHA256,
            webpki_ring::ECDSA_P384_SHA256,
        ],
        (ECDSA_SHA_384, _) => vec![
            webpki_ring::ECDSA_P256_SHA384,
            webpki_ring::ECDSA_P384_SHA384,
        ],
        (ED25519, _) => vec![webpki_ring::ED25519],
        _ => vec![],
    }
}
