//! The mathematics and wire formats of a C2SP transparency log.
//!
//! Here are RFC 6962 Merkle trees, tiles and entry bundles, signed notes, checkpoints,
//! cosignatures, trust policies and proofs: with `record`, all the code an auditor has to trust.
//!
//! What is deliberately not here: no files, no network, no clock, no randomness, no threads. Bytes
//! and times come in as arguments, tiles through [`HashReader`], and results go out as values.
//! Nothing panics on what it reads.
//!
//! | module | specification |
//! |---|---|
//! | [`hash`], [`frontier`], [`proof`] | [RFC 6962, section 2.1](https://www.rfc-editor.org/rfc/rfc6962#section-2.1) |
//! | [`tile`] | <https://c2sp.org/tlog-tiles> |
//! | [`note`], [`key`] | <https://c2sp.org/signed-note> |
//! | [`checkpoint`] | <https://c2sp.org/tlog-checkpoint> |
//! | [`cosignature`] | <https://c2sp.org/tlog-cosignature> |
//! | [`policy`] | <https://c2sp.org/tlog-policy> |
//! | [`add_checkpoint`] | <https://c2sp.org/tlog-witness> |
//! | [`tlog_proof`] | <https://c2sp.org/tlog-proof> |
//! | [`multiproof`] | ours: one proof for many leaves |

pub mod add_checkpoint;
pub mod checkpoint;
pub mod cosignature;
mod encoding;
pub mod frontier;
pub mod hash;
pub mod key;
pub mod multiproof;
pub mod note;
pub mod policy;
pub mod proof;
pub mod reader;
mod sha256;
pub mod tile;
pub mod tlog_proof;
mod tree;

pub use add_checkpoint::{AddCheckpoint, AddCheckpointError};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use cosignature::{CosignatureError, Ed25519Cosigner, MlDsa44Signer};
pub use frontier::{Frontier, FrontierError};
pub use hash::{Hash, HashError, empty_root, leaf_hash, leaf_hashes, node_hash, tile_root};
pub use key::{Ed25519Signer, KeyError, KeyId, SignatureType, VerifierKey};
pub use multiproof::MultiproofError;
pub use note::{NoteError, NoteSignature, SignedNote};
pub use policy::{Policy, PolicyError, VerifiedCheckpoint};
pub use proof::ProofError;
pub use reader::{HashReader, MemoryTree, ReadError, consistency_proof, inclusion_proof, root};
pub use sha256::sha256;
pub use tile::{EntryBundle, HashTile, TileError, TileId, TileLevel};
pub use tlog_proof::{TlogProof, TlogProofError};
pub use tree::{LeafIndex, TreeSize};
