//! Merkle trees, tiles, notes, checkpoints, cosignatures and proofs.
