//! RFC 3161 timestamps: a third party's word that a checkpoint existed at some time.
//!
//! What is stamped is the text of a checkpoint note, up to and including the newline before the empty
//! line: origin, size, root. Signatures are not in it, so that cosignatures added later change nothing.
//!
//! [`query`] asks, [`Token::open`] reads an answer and holds it against the text, and
//! [`Token::trusted_by`] holds who made it against roots the caller trusts. Until then a token is no
//! more than well-formed. Path building, validity and signatures are webpki's and ring's; here are the
//! rules of RFC 3161, RFC 5652 and RFC 5816 around them.
//!
//! Not here: HTTP, a clock, revocation. A certificate must have been valid at the time that the token
//! states: who holds the key of one that expired, or was revoked since, can state any earlier time.

mod algorithm;
mod error;
mod info;
mod signed;
mod tlv;

use der::asn1::{ObjectIdentifier, OctetStringRef, UintRef};
use der::{Encode as _, Sequence};
use record::Timestamp;
use ring::digest;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::{self, ExtendedKeyUsage, KeyUsages};
use x509_cert::spki::AlgorithmIdentifierRef;

pub use error::TimestampError;
use info::Info;
use signed::Signed;

/// The longest answer that is read: a token with a long chain stays far below it.
pub const MAX_RESPONSE_BYTES: usize = 1 << 16;

const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// `TimeStampReq` of RFC 3161, section 2.4.1, as far as it is used.
#[derive(Sequence)]
struct TimeStampReq<'a> {
    version: u8,
    message_imprint: MessageImprint<'a>,
    nonce: UintRef<'a>,
    cert_req: bool,
}

#[derive(Sequence)]
struct MessageImprint<'a> {
    hash_algorithm: AlgorithmIdentifierRef<'a>,
    hashed_message: &'a OctetStringRef,
}

/// The request (DER) for a token over SHA-256 of `text`, certificates included.
///
/// # Panics
///
/// Never: what is encoded has a fixed shape.
pub fn query(text: &[u8], nonce: [u8; 16]) -> Vec<u8> {
    let hash = tlog::sha256(text);
    let encode = || {
        TimeStampReq {
            version: 1,
            message_imprint: MessageImprint {
                hash_algorithm: AlgorithmIdentifierRef {
                    oid: SHA_256,
                    parameters: None,
                },
                hashed_message: OctetStringRef::new(&hash)?,
            },
            nonce: UintRef::new(&nonce)?,
            cert_req: true,
        }
        .to_der()
    };
    encode().expect("a request always encodes")
}

/// Certificates whose word on time is taken.
#[derive(Clone, Debug)]
pub struct TsaRoots(Vec<TrustAnchor<'static>>);

impl TsaRoots {
    /// Reads a PEM file with one or more certificates.
    ///
    /// # Errors
    ///
    /// [`TimestampError::Roots`] if there is none, or one cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TimestampError> {
        let bad = |reason: String| TimestampError::Roots { reason };
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|e| bad(e.to_string()))?;
            let anchor =
                webpki::anchor_from_trusted_cert(&certificate).map_err(|e| bad(e.to_string()))?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err(bad("there is no certificate in it".into()));
        }
        Ok(Self(anchors))
    }
}

/// A token that is well-formed, stamps the text it was held against, and is signed by the key of the
/// certificate in it. Whose certificate that is, only [`Token::trusted_by`] tells.
#[derive(Clone, Debug)]
pub struct Token {
    time: Timestamp,
    before: Timestamp,
    nonce: Option<Vec<u8>>,
    signer: Vec<u8>,
    authority: String,
    certificates: Vec<Vec<u8>>,
}

impl Token {
    /// Reads a `TimeStampResp` (DER) and holds it against the text it must stamp.
    ///
    /// # Errors
    ///
    /// [`TimestampError`]: the authority refused, it is no token, of another text, or altered.
    pub fn open(response: &[u8], text: &[u8]) -> Result<Self, TimestampError> {
        if response.len() > MAX_RESPONSE_BYTES {
            return Err(TimestampError::Malformed("at most 64 KiB"));
        }
        let token = info::granted(response)?;
        let parts = Signed::parse(token)?;
        let info = Info::parse(parts.content)?;
        let expected = tlog::sha256(text);
        if info.algorithm != SHA_256 || info.imprint != expected {
            return Err(TimestampError::Imprint {
                expected: hex(&expected),
                found: hex(info.imprint),
            });
        }
        let signer = parts.signer()?;
        let certificate = certificate(signer)?;
        parts.check(signer)?;
        Ok(Self {
            time: info.time,
            before: info.before,
            nonce: info.nonce.map(<[u8]>::to_vec),
            authority: name(&certificate),
            signer: signer.to_vec(),
            certificates: parts.certificates.iter().map(|der| der.to_vec()).collect(),
        })
    }

    /// The time that the token states (`genTime`).
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// `genTime` and the accuracy that the authority claims for it: the text existed before this.
    pub fn before(&self) -> Timestamp {
        self.before
    }

    /// The subject of the certificate that signed it: a claim, until the token is trusted.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether the token answers the request with this nonce, and is no older token played back.
    ///
    /// # Errors
    ///
    /// [`TimestampError::Nonce`].
    pub fn answers(&self, nonce: [u8; 16]) -> Result<(), TimestampError> {
        let significant = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes[zeros..].to_vec()
        };
        match &self.nonce {
            Some(found) if significant(found) == significant(&nonce) => Ok(()),
            found => Err(TimestampError::Nonce {
                expected: hex(&nonce),
                found: found.as_deref().map_or_else(|| "none".into(), hex),
            }),
        }
    }

    /// Holds the signer against the roots: a chain that was valid at the stated time, and a certificate
    /// that is for time-stamping and nothing else (RFC 3161, section 2.3).
    ///
    /// # Errors
    ///
    /// [`TimestampError::Usage`], [`TimestampError::Chain`].
    pub fn trusted_by(&self, roots: &TsaRoots) -> Result<(), TimestampError> {
        for_time_stamping(&certificate(&self.signer)?)?;
        let chain = |error: webpki::Error| TimestampError::Chain {
            authority: self.authority.clone(),
            time: self.time.to_string(),
            reason: reason(&error),
        };
        let signer = CertificateDer::from(self.signer.as_slice());
        let signer = EndEntityCert::try_from(&signer).map_err(chain)?;
        let others: Vec<_> = self
            .certificates
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let seconds = u64::try_from(self.time.as_micros().div_euclid(1_000_000))
            .map_err(|_| TimestampError::Malformed("a time after 1970"))?;
        signer
            .verify_for_usage(
                algorithm::CERTIFICATES,
                &roots.0,
                &others,
                UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
                KeyUsage::required(TIME_STAMPING.as_bytes()),
                None,
                None,
            )
            .map(drop)
            .map_err(chain)
    }
}

fn certificate(der: &[u8]) -> Result<Certificate, TimestampError> {
    Certificate::from_der(der).map_err(|_| TimestampError::Malformed("an X.509 certificate"))
}

/// The common name, or the whole subject where there is none.
fn name(certificate: &Certificate) -> String {
    let subject = certificate.tbs_certificate().subject();
    match subject.common_name() {
        Ok(Some(name)) => name.value().into_owned(),
        _ => subject.to_string(),
    }
}

fn for_time_stamping(certificate: &Certificate) -> Result<(), TimestampError> {
    let usage = |found: &'static str| {
        Err(TimestampError::Usage {
            authority: name(certificate),
            found,
        })
    };
    let extensions = certificate.tbs_certificate();
    match extensions.get_extension::<ExtendedKeyUsage>() {
        Ok(Some((true, purposes))) if purposes.0 == [TIME_STAMPING] => {}
        Ok(Some((false, purposes))) if purposes.0 == [TIME_STAMPING] => {
            return usage("the purpose, not marked critical");
        }
        Ok(Some(_)) => return usage("other purposes"),
        Ok(None) => return usage("no extended key usage"),
        Err(_) => return usage("an extended key usage that cannot be read"),
    }
    match extensions.get_extension::<pkix::KeyUsage>() {
        Ok(Some((_, key)))
            if !key.0.into_iter().any(|use_| {
                matches!(
                    use_,
                    KeyUsages::DigitalSignature | KeyUsages::NonRepudiation
                )
            }) =>
        {
            usage("a key that may not sign")
        }
        Ok(_) => Ok(()),
        Err(_) => usage("a key usage that cannot be read"),
    }
}

fn reason(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            "no trusted root issued it, nor anything between".into()
        }
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
            format!("outside a certificate's validity: {error}")
        }
        error => error.to_string(),
    }
}

/// SHA-256 and its like by object identifier.
fn hash(algorithm: ObjectIdentifier) -> Option<&'static digest::Algorithm> {
    match algorithm.to_string().as_str() {
        "2.16.840.1.101.3.4.2.1" => Some(&digest::SHA256),
        "2.16.840.1.101.3.4.2.2" => Some(&digest::SHA384),
        "2.16.840.1.101.3.4.2.3" => Some(&digest::SHA512),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
