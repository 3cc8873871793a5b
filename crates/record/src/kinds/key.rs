//! Changes of keys.

use ed25519_dalek::{Signer, SigningKey};

use super::Spec;
use super::table::{body, words};
use crate::chain::PendingSignature;
use crate::hash::{PublicKey, Sha256, SignatureBytes};
use crate::ids::ProducerName;
use crate::shape::{Form, HASH, Member, SLUG, Shape};

words! {
    /// What a key is for.
    KeyPurpose {
        /// The server's own stream.
        Operator = "operator",
        /// A producer's streams.
        Producer = "producer",
        /// A run's owner.
        Owner = "owner",
        /// The log's checkpoints: an Ed25519 key and an ML-DSA-44 key, changed together.
        Log = "log",
        /// What wraps the keys of sealed values. It is no public key: `old` and `new` are fingerprints.
        Deployment = "deployment",
    }
}

body! {
    /// A key takes another's place.
    KeyRotated
    required {
        /// The key that serves from now on.
        new: PublicKey = HASH,
        /// The key that no longer does.
        old: PublicKey = HASH,
        /// What it is for.
        purpose: KeyPurpose = KeyPurpose::SHAPE,
    }
    optional {
        /// The SHA-256 of the log's ML-DSA-44 public key from now on.
        new_ml_dsa_44: Sha256 = Shape::Form(Form::Sha256),
        /// The SHA-256 of the log's ML-DSA-44 public key up to now.
        old_ml_dsa_44: Sha256 = Shape::Form(Form::Sha256),
        /// Whose it is.
        producer: ProducerName = Shape::Form(Form::Producer),
        /// Why: `scheduled`, `compromised`, ….
        reason: String = SLUG,
        /// The old key's signature over the text of docs/spec/streams.md.
        signature: SignatureBytes = Shape::Form(Form::Base64x64),
    }
    sealed {}
}

/// `key.rotated` as it was in version 1: information, which no rule looked at.
pub(crate) const KEY_ROTATED_V1: Spec = Spec {
    doc: " An Ed25519 key takes another's place.",
    members: &[
        Member {
            name: "new",
            required: true,
            shape: HASH,
            doc: " The key that signs from now on.",
        },
        Member {
            name: "old",
            required: true,
            shape: HASH,
            doc: " The key that no longer does.",
        },
        Member {
            name: "producer",
            required: false,
            shape: Shape::Form(Form::Producer),
            doc: " Whose it is.",
        },
        Member {
            name: "purpose",
            required: true,
            shape: Shape::OneOf(&["operator", "producer", "owner"]),
            doc: " What it is for.",
        },
        Member {
            name: "reason",
            required: false,
            shape: SLUG,
            doc: " Why: `scheduled`, `compromised`, ….",
        },
    ],
    sealed: &[],
    sealed_members: &[],
};

impl KeyRotated {
    /// The version from which on a rotation is more than information.
    pub const IN_FORCE: u16 = 2;

    /// `old` hands over to `new`, and signs that it does.
    pub fn signed(
        purpose: KeyPurpose,
        producer: Option<ProducerName>,
        old: &SigningKey,
        new: PublicKey,
    ) -> Self {
        let mut body = Self::new(new, PublicKey::from(old), purpose);
        body.producer = producer;
        let signature = old.sign(body.text().as_bytes());
        body.signature = Some(SignatureBytes(signature.to_bytes()));
        body
    }

    /// The old key's signature, to be checked; `None` where there is none.
    pub fn pending(&self) -> Option<PendingSignature> {
        Some(PendingSignature {
            text: self.text(),
            key: self.old,
            signature: self.signature?,
        })
    }

    /// What the old key signs.
    fn text(&self) -> String {
        let producer = self.producer.as_ref().map_or("", ProducerName::as_str);
        format!(
            "rlhf-audit-trail/key-rotation/v1\n{}\n{producer}\n{}\n{}\n",
            self.purpose, self.old, self.new
        )
    }
}
