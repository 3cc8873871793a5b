#!/usr/bin/env bash
# Builds the binary twice, from two copies of the committed source in different places with nothing in common but the
# toolchain and the downloaded crates, and compares: exit 0 the same bytes, 1 not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

command -v cargo-auditable >/dev/null || cargo install --locked --quiet cargo-auditable@0.7.7
place="$(mktemp -d "${TMPDIR:-/var/tmp}/reproducible.XXXXXX")"
trap 'rm -rf "$place"' EXIT
for copy in one "another/and deeper"; do
  mkdir -p "$place/$copy"
  git archive HEAD | tar -x -C "$place/$copy"
  (cd "$place/$copy" && CARGO_TARGET_DIR="$place/$copy/target" scripts/image/build-binary.sh)
  mv "$place/$copy/target/release/rlhf-audit" "$place/${copy%%/*}.binary"
  rm -rf "$place/$copy/target"
done
sha256sum "$place"/*.binary | sed "s#$place/##"
cmp "$place/one.binary" "$place/another.binary"
