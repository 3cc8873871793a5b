#!/bin/sh
# Builds the binary in release mode so that the same source gives the same bytes, wherever it lies, with the list of its
# dependencies inside (cargo-auditable): build-binary.sh [--dependencies]
# With --dependencies it builds what the workspace depends on, from empty sources, and forgets the workspace's own part.
set -eu

command -v cargo-auditable >/dev/null || {
  echo "build-binary.sh: cargo-auditable is missing; install it: cargo install --locked cargo-auditable@0.7.7" >&2
  exit 3
}
cargo_home="${CARGO_HOME:-$HOME/.cargo}"
sysroot="$(rustc --print sysroot)"
commit="$(rustc -vV | sed -n 's/^commit-hash: //p')"
# No path of the machine that builds stays in the binary, neither in Rust's nor in C's part.
unset RUSTFLAGS
between="$(printf '\037')"
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=$PWD=/build$between--remap-path-prefix=$cargo_home=/cargo$between--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rustc/$commit"
export CC_SHELL_ESCAPED_FLAGS=1
export CFLAGS="'-ffile-prefix-map=$PWD=/build' '-ffile-prefix-map=$cargo_home=/cargo'"
export CARGO_INCREMENTAL=0 SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-0}"

cargo auditable build --release --locked -p rlhf-audit

if [ "${1-}" = --dependencies ]; then
  "$(dirname "$0")/forget-own.sh" "${CARGO_TARGET_DIR:-target}/release"
fi
