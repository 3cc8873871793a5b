#!/bin/sh
# Copies of this workspace what decides its dependencies, the manifests and the lock file, with empty sources:
# skeleton.sh DIR. What is built from that is cached until a manifest changes.
set -eu

[ $# = 1 ] || { echo "usage: skeleton.sh DIR" >&2; exit 2; }
cd "$(dirname "$0")/../.."
mkdir -p "$1"
find Cargo.toml Cargo.lock benches crates xtask -type f \( -name Cargo.toml -o -name Cargo.lock -o -name '*.rs' \) -print |
  while read -r file; do
    case "$file" in
      *.toml | *.lock)
        mkdir -p "$1/$(dirname "$file")"
        cp "$file" "$1/$file" ;;
      # What manifests name or cargo finds by itself.
      */build.rs | */src/lib.rs | */src/main.rs | */src/bin/*.rs | */benches/*.rs | */tests/*.rs | */examples/*.rs)
        mkdir -p "$1/$(dirname "$file")"
        echo 'fn main() {}' >"$1/$file" ;;
    esac
  done
