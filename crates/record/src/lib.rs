//! What is logged: kinds, canonical bytes, commitments, stream chains, schemas.
