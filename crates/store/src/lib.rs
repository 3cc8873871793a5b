//! Where it is kept: the journal, the index, tiles and keys.
