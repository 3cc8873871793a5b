//! A stream's beginning, its signatures, and whose keys sign.

use super::table::{body, object};
use crate::hash::{PublicKey, RecordHash, SignatureBytes};
use crate::ids::{ProducerName, StreamName};
use crate::shape::{COUNT, Form, HASH, Shape, TEXT};

object! {
    /// A stream of the same scope that was abandoned, and how far it got.
    Continues
    required {
        /// Its name.
        stream: StreamName = Shape::Form(Form::Stream),
        /// The seq of its last record.
        seq: u64 = COUNT,
        /// The leaf hash of its last record.
        head: RecordHash = HASH,
    }
    optional {}
}

body! {
    /// A stream begins: always its record 0, and only that.
    StreamOpened
    required {
        /// The Ed25519 public key that signs the stream.
        key: PublicKey = HASH,
        /// Who builds it.
        producer: ProducerName = Shape::Form(Form::Producer),
    }
    optional {
        /// The stream that this one goes on from.
        continues: Continues = Shape::Object(Continues::MEMBERS),
        /// The software and its version.
        software: String = TEXT,
    }
    sealed {}
}

body! {
    /// The producer signs the chain up to the record before this one.
    StreamSigned
    required {
        /// The Ed25519 signature over the text of docs/spec/streams.md.
        signature: SignatureBytes = Shape::Form(Form::Base64x64),
    }
    optional {}
    sealed {}
}

body! {
    /// A producer's key is let in. Written by the server, in the scope `ledger`.
    ProducerEnrolled
    required {
        /// Who let it in: the name of a token or of a person's role, never a person's name.
        by: String = TEXT,
        /// The key.
        key: PublicKey = HASH,
        /// Whose it is.
        producer: ProducerName = Shape::Form(Form::Producer),
    }
    optional {}
    sealed {}
}
