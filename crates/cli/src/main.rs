//! The `rlhf-audit` command.

fn main() {}
