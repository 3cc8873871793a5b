#!/usr/bin/env bash
# The version, which stands in several files at once: version.sh [show|check|set X.Y.Z]
#   show    print it (from Cargo.toml)
#   check   exit 1 and say where, unless every file has it
#   set     write another one everywhere
set -euo pipefail
cd "${VERSION_ROOT:-$(dirname "${BASH_SOURCE[0]}")/..}"

show() { sed -nE '/^\[workspace\.package\]/,/^\[/ s/^version = "(.*)"/\1/p' Cargo.toml | head -n 1; }

# Files in which our image is named with its version.
deployed() { git ls-files -- 'docker-compose*.yml' deploy charts | grep -vE '^(deploy/tests|charts/.*/charts)/' || true; }

# What every file says: file, a tab, version.
stated() {
  printf 'Cargo.toml\t%s\n' "$(show)"
  awk '/^name = / { name = $3 } /^version = / && name ~ /^"rlhf-audit/ { gsub(/"/, "", $3); print "Cargo.lock\t" $3 }' Cargo.lock | sort -u
  if [ -e docs/openapi.json ]; then
    printf 'docs/openapi.json\t%s\n' "$(sed -nE '/^  "info": \{/,/^  \}/ s/^    "version": "(.*)",?$/\1/p' docs/openapi.json)"
  fi
  local file
  for file in charts/*/Chart.yaml; do
    [ -e "$file" ] || continue
    sed -nE "s#^(version|appVersion): *[\"']?([^\"' ]+)[\"']?.*#$file\t\2#p" "$file"
  done
  deployed | while read -r file; do
    sed -nE "s#.*rlhf-audit-trail:v?([0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.-]*).*#$file\t\1#p; s#^ *newTag: *[\"']?([0-9]+\.[0-9]+\.[0-9]+)[\"']?.*#$file\t\1#p" "$file"
  done
}

check() {
  local version wrong
  version="$(show)"
  wrong="$(stated | awk -F '\t' -v version="$version" '$2 != version')"
  [ -z "$wrong" ] && return
  echo "version.sh: Cargo.toml says $version, and otherwise it is said here:" >&2
  echo "$wrong" >&2
  exit 1
}

put() { # version
  local old escaped file
  old="$(show)"
  escaped="${old//./\\.}"
  [[ "$1" =~ ^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$ ]] || { echo "version.sh: \`$1\` is no version like 1.2.3" >&2; exit 2; }
  sed -i -E "/^\[workspace\.package\]/,/^\[/ s/^version = \"$escaped\"/version = \"$1\"/" Cargo.toml
  awk -v new="$1" '/^name = / { name = $3 } /^version = / && name ~ /^"rlhf-audit/ { $0 = "version = \"" new "\"" } { print }' Cargo.lock >Cargo.lock.new
  mv Cargo.lock.new Cargo.lock
  if [ -e docs/openapi.json ]; then
    sed -i -E "/^  \"info\": \{/,/^  \}/ s/^    \"version\": \"$escaped\"/    \"version\": \"$1\"/" docs/openapi.json
  fi
  for file in charts/*/Chart.yaml; do
    [ -e "$file" ] || continue
    sed -i -E "s#^(version|appVersion): *([\"']?)$escaped([\"']?)#\1: \2$1\3#" "$file"
  done
  deployed | while read -r file; do
    sed -i -E "s#(rlhf-audit-trail:v?)$escaped#\1$1#g; s#^( *newTag: *[\"']?)$escaped#\1$1#" "$file"
  done
  check
}

case "${1-show}" in
  show) show ;;
  check) check ;;
  set) put "${2-}" ;;
  *) echo "usage: version.sh [show|check|set X.Y.Z]" >&2; exit 2 ;;
esac
