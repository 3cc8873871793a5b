//! `SignedData` of RFC 5652, section 5, as RFC 3161 uses it: one content, one signer, whose certificate
//! is named in the signed attributes (RFC 2634, RFC 5816).

use der::Tag;
use der::asn1::ObjectIdentifier;
use ring::digest;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_cert::der::Encode as _;
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use super::tlv::{self, Members, Tlv, context};
use super::{TimestampError, algorithm, certificate, hash};

const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
const SIGNING_CERTIFICATE: &str = "1.2.840.113549.1.9.16.2.12";
const SIGNING_CERTIFICATE_V2: &str = "1.2.840.113549.1.9.16.2.47";

/// A token's parts.
pub(super) struct Signed<'a> {
    /// The `TSTInfo`.
    pub(super) content: &'a [u8],
    /// Certificates that came with it.
    pub(super) certificates: Vec<&'a [u8]>,
    signer: Tlv<'a>,
    digest: ObjectIdentifier,
    attributes: Tlv<'a>,
    algorithm: ObjectIdentifier,
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, TimestampError> {
        let token = tlv::only(token, Tag::Sequence, "a ContentInfo")?;
        let mut members = Members::new(token.value)?;
        expect(&mut members, SIGNED_DATA, "signed data")?;
        let data = members.take(context(0, true), "signed data")?;
        let data = tlv::only(data.value, Tag::Sequence, "signed data")?;

        let mut members = Members::new(data.value)?;
        members.take(Tag::Integer, "a version")?;
        members.take(Tag::Set, "digest algorithms")?;
        let content = members.take(Tag::Sequence, "a content")?;
        let mut content = Members::new(content.value)?;
        expect(&mut content, TST_INFO, "a TSTInfo")?;
        let content = content.take(context(0, true), "a TSTInfo")?;
        let content = tlv::only(content.value, Tag::OctetString, "a TSTInfo")?.value;
        let mut certificates = Vec::new();
        if let Some(set) = members.take_if(context(0, true))? {
            let mut set = Members::new(set.value)?;
            while let Some(certificate) = set.any()? {
                if certificate.tag == Tag::Sequence {
                    certificates.push(certificate.whole);
                }
            }
        }
        members.take_if(context(1, true))?;
        let signers = members.take(Tag::Set, "a signer")?;
        let signer = tlv::only(signers.value, Tag::Sequence, "exactly one signer")?;
        if members.any()?.is_some() {
            return Err(TimestampError::Malformed("the end of the signed data"));
        }

        let mut members = Members::new(signer.value)?;
        members.take(Tag::Integer, "a version")?;
        let signer = match members.take_if(Tag::Sequence)? {
            Some(issuer_and_serial) => issuer_and_serial,
            None => members.take(context(0, false), "who signed")?,
        };
        let digest = tlv::algorithm(members.take(Tag::Sequence, "a digest algorithm")?)?;
        let attributes = members.take(context(0, true), "signed attributes")?;
        let algorithm = tlv::algorithm(members.take(Tag::Sequence, "a signature algorithm")?)?;
        let signature = members.take(Tag::OctetString, "a signature")?.value;
        Ok(Self {
            content,
            certificates,
            signer,
            digest,
            attributes,
            algorithm,
            signature,
        })
    }

    /// The certificate that the signer is named by.
    pub(super) fn signer(&self) -> Result<&'a [u8], TimestampError> {
        for der in &self.certificates {
            let certificate = certificate(der)?;
            let tbs = certificate.tbs_certificate();
            let is_it = if self.signer.tag == Tag::Sequence {
                let name = [tbs.issuer().to_der(), tbs.serial_number().to_der()];
                let name = name.map(Result::unwrap_or_default).concat();
                name == self.signer.value
            } else {
                matches!(tbs.get_extension::<SubjectKeyIdentifier>(),
                    Ok(Some((_, id))) if id.0.as_bytes() == self.signer.value)
            };
            if is_it {
                return Ok(der);
            }
        }
        Err(TimestampError::Malformed("the signer's certificate"))
    }

    /// Holds content, attributes and signature against each other and `certificate`.
    pub(super) fn check(&self, certificate: &[u8]) -> Result<(), TimestampError> {
        let digest_of =
            hash(self.digest).ok_or_else(|| TimestampError::Algorithm(self.digest.to_string()))?;
        let content_type = self.attribute(CONTENT_TYPE)?;
        let content_type = tlv::only(content_type.value, Tag::ObjectIdentifier, "a content type")?;
        if tlv::oid(content_type)?.to_string() != TST_INFO {
            return Err(TimestampError::Altered(
                "its signed attributes are of another content",
            ));
        }
        let message = self.attribute(MESSAGE_DIGEST)?;
        let message = tlv::only(message.value, Tag::OctetString, "a digest")?.value;
        if digest::digest(digest_of, self.content).as_ref() != message {
            return Err(TimestampError::Altered(
                "its content is not what was signed",
            ));
        }
        self.bound_to(certificate)?;

        // RFC 5652, section 5.4: signed is the set itself, not its place in the structure.
        let mut attributes = self.attributes.whole.to_vec();
        attributes[0] = 0x31;
        let key = CertificateDer::from(certificate);
        let key = EndEntityCert::try_from(&key)
            .map_err(|_| TimestampError::Malformed("an X.509 certificate"))?;
        let candidates = algorithm::signature(self.algorithm, self.digest);
        let mut other_key = true;
        for candidate in candidates {
            match key.verify_signature(candidate, &attributes, self.signature) {
                Ok(()) => return Ok(()),
                Err(webpki::Error::InvalidSignatureForPublicKey) => other_key = false,
                Err(_) => {}
            }
        }
        Err(if other_key {
            TimestampError::Algorithm(format!("{} with {}", self.algorithm, self.digest))
        } else {
            TimestampError::Altered("its signature is not that of the certificate's key")
        })
    }

    /// The signed attributes name the certificate, so that no other for the same key can stand in.
    fn bound_to(&self, certificate: &[u8]) -> Result<(), TimestampError> {
        let (attribute, v2) = match self.attribute(SIGNING_CERTIFICATE_V2) {
            Ok(attribute) => (attribute, true),
            Err(_) => (self.attribute(SIGNING_CERTIFICATE)?, false),
        };
        let what = "the signing certificate's hash";
        let signing = tlv::only(attribute.value, Tag::Sequence, what)?;
        let ids = Members::new(signing.value)?.take(Tag::Sequence, what)?;
        let id = Members::new(ids.value)?.take(Tag::Sequence, what)?;
        let mut id = Members::new(id.value)?;
        let algorithm = match id.take_if(Tag::Sequence)? {
            Some(algorithm) => {
                let oid = tlv::algorithm(algorithm)?;
                hash(oid).ok_or_else(|| TimestampError::Algorithm(oid.to_string()))?
            }
            None if v2 => &digest::SHA256,
            // A second pre-image is what it would take, and SHA-1 still has none.
            None => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        };
        let named = id.take(Tag::OctetString, what)?.value;
        if digest::digest(algorithm, certificate).as_ref() == named {
            Ok(())
        } else {
            Err(TimestampError::Altered(
                "it was signed under another certificate",
            ))
        }
    }

    /// The set of values of a signed attribute, which must be there once.
    fn attribute(&self, wanted: &str) -> Result<Tlv<'a>, TimestampError> {
        let mut found = None;
        let mut attributes = Members::new(self.attributes.value)?;
        while let Some(attribute) = attributes.any()? {
            let mut attribute = Members::new(attribute.value)?;
            let name = tlv::oid(attribute.take(Tag::ObjectIdentifier, "an attribute")?)?;
            let values = attribute.take(Tag::Set, "an attribute's values")?;
            if name.to_string() == wanted && found.replace(values).is_some() {
                return Err(TimestampError::Malformed("each signed attribute once"));
            }
        }
        found.ok_or(TimestampError::Malformed(
            "the signed attributes content type, digest and signing certificate",
        ))
    }
}

fn expect(members: &mut Members<'_>, oid: &str, what: &'static str) -> Result<(), TimestampError> {
    let found = tlv::oid(members.take(Tag::ObjectIdentifier, what)?)?;
    if found.to_string() == oid {
        Ok(())
    } else {
        Err(TimestampError::Malformed(what))
    }
}
