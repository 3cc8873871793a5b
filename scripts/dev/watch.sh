#!/usr/bin/env bash
# Builds the server and serves; on a change of a source it builds anew and, where that went well, starts the new one.
# Arguments are `rlhf-audit serve`'s. DEV_RUNNER (default: cargo build) says how it is built.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v entr >/dev/null || { echo "watch.sh: entr is missing; install it (apt-get install entr)" >&2; exit 3; }
target="${CARGO_TARGET_DIR:-target}"

if [ "${1-}" = --once ]; then # entr runs this, and ends it on a change
  shift
  ${DEV_RUNNER:-cargo build --locked -p rlhf-audit} || { echo "watch.sh: it does not build; waiting for a change" >&2; exit 1; }
  exec "$target/debug/rlhf-audit" serve "$@"
fi

watcher=
# entr ends the server in order, and then itself.
trap 'if [ -n "$watcher" ]; then kill "$watcher" 2>/dev/null && wait "$watcher" || true; fi; exit 0' TERM INT
while true; do
  # With -d entr ends when a file is new, and is given the new list.
  find crates Cargo.toml Cargo.lock -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.lock' -o -path '*/templates/*' \
    -o -path '*/docs/*' \) | entr -n -d -r "$PWD/scripts/dev/watch.sh" --once "$@" &
  watcher=$!
  wait "$watcher" && exit 0
  code=$?
  # 2: a directory changed. Anything else is entr's own trouble.
  [ "$code" = 2 ] || exit "$code"
done
