//! Model cards in which every number points at its evidence.
