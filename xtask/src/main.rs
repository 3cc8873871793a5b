//! Generates and checks what is generated.

fn main() {}
