#!/usr/bin/env bash
# Builds the program as it was at a git reference, and prints where it is. Without one: at the newest tag before this commit.
set -euo pipefail
cd "$(dirname "$0")/.."

reference="${1:-}"
if [ -z "$reference" ]; then
  # A tag of this very commit is this version, not the one before.
  for tag in $(git tag --merged HEAD --sort=-version:refname); do
    [ "$(git rev-parse "$tag^{commit}")" = "$(git rev-parse HEAD)" ] || { reference="$tag"; break; }
  done
  if [ -z "$reference" ]; then
    echo "previous.sh: there is no earlier release: no tag leads to this commit; name a version with PREVIOUS=<git reference>" >&2
    exit 3
  fi
fi
commit="$(git rev-parse --verify --quiet "$reference^{commit}")" || {
  echo "previous.sh: \`$reference\` is no commit of this repository" >&2
  exit 2
}
place="$PWD/target/previous/$commit"
if [ ! -x "$place/rlhf-audit" ]; then
  mkdir -p "$place"
  tree="$place/tree"
  [ -e "$tree" ] || git worktree add --detach --quiet "$tree" "$commit" >&2
  # One target directory for all: most of what a version depends on is built already.
  CARGO_TARGET_DIR="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
  export CARGO_TARGET_DIR
  (cd "$tree" && "${CARGO:-cargo}" build --locked --workspace --bin rlhf-audit) >&2
  cp "$CARGO_TARGET_DIR/debug/rlhf-audit" "$place/rlhf-audit"
  git worktree remove --force "$tree" >&2
fi
echo "the previous version is $reference ($commit)" >&2
echo "$place/rlhf-audit"
