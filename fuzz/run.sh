#!/usr/bin/env bash
# Fuzzes the targets named, or all of them: FUZZ_SECONDS each, FUZZ_JOBS at a time. What is found on the way is kept in
# fuzz/target; `--keep` afterwards brings what adds coverage into fuzz/corpus, up to MOST_BYTES a target.
set -euo pipefail
cd "$(dirname "$0")"

keep=
[ "${1:-}" = --keep ] && { keep=1; shift; }
# shellcheck disable=SC2046 # the names of targets have no spaces
[ $# -gt 0 ] || set -- $(ls corpus)

# The crates of the workspace, in its versions.
cp ../Cargo.lock Cargo.lock
# No address sanitizer: the workspace forbids unsafe code, and without it targets run twice as fast.
fuzz() { cargo +nightly fuzz "$1" --fuzz-dir . --sanitizer none "${@:2}"; }
fuzz build
# Journals are files; those of the journal's target belong in memory.
[ -w /dev/shm ] && export TMPDIR=/dev/shm

one() { # target
  local new="target/corpus/$1" log="target/$1.log"
  mkdir -p "$new" "artifacts/$1"
  if [ -n "$keep" ]; then
    local kept="target/kept/$1" file bytes
    rm -rf "$kept" && mkdir -p target/kept && cp -r "corpus/$1" "$kept"
    # Edges, not how often they were taken: tenfold fewer files. The one that adds most is written first.
    fuzz run "$1" "$kept" "$new" -- -set_cover_merge=1 -use_counters=0 >"$log" 2>&1
    bytes=$(cat "corpus/$1"/* | wc -c)
    while read -r file; do
      [ ! -e "corpus/$1/$file" ] || continue
      [ $((bytes + $(wc -c <"$kept/$file"))) -le "$MOST_BYTES" ] || continue
      cp "$kept/$file" "corpus/$1/" && bytes=$((bytes + $(wc -c <"$kept/$file")))
    done < <(ls -tr "$kept")
    printf '%-16s %5s files %7s bytes\n' "$1" "$(ls "corpus/$1" | wc -l)" "$bytes"
    return
  fi
  local findings=none
  fuzz run "$1" "$new" "corpus/$1" -- -max_total_time="$FUZZ_SECONDS" -timeout=20 -print_final_stats=1 \
    -artifact_prefix="artifacts/$1/" >"$log" 2>&1 || findings="yes, see fuzz/$log and fuzz/artifacts/$1"
  printf '%-16s %12s executions  findings: %s\n' \
    "$1" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$findings"
  [ "$findings" = none ]
}
export -f one fuzz
# All targets' corpora together stay below a megabyte.
export MOST_BYTES=70000
export keep FUZZ_SECONDS="${FUZZ_SECONDS:-600}"

printf '%s\n' "$@" | xargs -P "${FUZZ_JOBS:-1}" -I{} bash -c 'one {}'
