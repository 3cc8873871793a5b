#!/usr/bin/env bash
# Makes images under the names that the Dockerfiles and compose files ask for, from Debian's packages and this machine's
# Rust toolchain, where no container registry can be reached. What is shipped stays as it is.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: stand-ins.sh [--force] [IMAGE…]

Makes each IMAGE, such as postgres:15 or prom/prometheus:v2.53.0; without any, all that the Dockerfiles and compose files
of this checkout name. An image that is there already is left alone, unless --force is given. The tag is only a name:
what is in it is Debian's version. DOCKER names the client, DOCKER_HOST the engine (scripts/offline/engine.sh).
Each has the label stand-in=true. grafana/grafana is a page that says that it is not Grafana (stand-in.wiring-only=true).
USAGE
}

here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
docker="${DOCKER:-docker}"
export DOCKER_BUILDKIT=1

kind() { # image: the directory below images/ that makes it
  local name="${1%@*}"
  name="${name%:*}"
  case "${name#docker.io/}" in
    debian) echo debian ;;
    rust) echo rust ;;
    postgres | library/postgres) echo postgres ;;
    redis | library/redis) echo redis ;;
    nginx | library/nginx | nginxinc/nginx-unprivileged) echo nginx ;;
    registry) echo registry ;;
    prom/prometheus) echo prometheus ;;
    prom/alertmanager) echo alertmanager ;;
    prometheuscommunity/postgres-exporter | quay.io/prometheuscommunity/postgres-exporter) echo postgres-exporter ;;
    oliver006/redis_exporter) echo redis-exporter ;;
    grafana/grafana | grafana/grafana-oss) echo grafana ;;
    *) return 1 ;;
  esac
}

named() { # what the files of this checkout start from
  {
    sed -nE 's/^FROM (--platform=[^ ]+ )?([^ $]+).*/\2/p' "$root"/Dockerfile*
    sed -nE 's/^ARG [A-Z_]*IMAGE=(.+)$/\1/p' "$root"/Dockerfile*
    sed -nE 's/^ +image: *"?([^"$ ]+)"?.*/\1/p; s/^ +image: *"?\$\{[A-Z_]+:-([^}]+)\}.*/\1/p' "$root"/docker-compose*.yml
  } 2>/dev/null | sort -u | while read -r image; do if kind "$image" >/dev/null; then echo "$image"; fi; done
}

is_there() { [ -n "$("$docker" image ls -q "$1")" ]; }

toolchain() { # directory: the toolchain of this machine, without its manual
  local sysroot; sysroot="$(rustc --print sysroot)"
  mkdir -p "$1"
  tar -C "$sysroot" --exclude=./share/doc --exclude=./share/man -c . | tar -C "$1" -x
}

make_image() { # image
  local kind context
  kind="$(kind "$1")" || { echo "stand-ins.sh: there is no stand-in for $1" >&2; exit 2; }
  if [ "$kind" = debian ]; then
    DOCKER="$docker" "$here/base-image.sh" debian:bookworm-slim
    [ "$1" = debian:bookworm-slim ] || "$docker" tag debian:bookworm-slim "$1"
    return
  fi
  is_there debian:bookworm-slim || make_image debian:bookworm-slim
  context="$(mktemp -d "${TMPDIR:-/var/tmp}/stand-in.XXXXXX")"
  cp -r "$here/images/$kind/." "$context"
  if [ "$kind" = rust ]; then
    command -v rustc >/dev/null || { echo "stand-ins.sh: the Rust toolchain is missing; see https://rustup.rs" >&2; exit 3; }
    toolchain "$context/toolchain"
    "$here/host-config.sh" "$context/host"
  fi
  local proxies=() name
  for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
    [ -z "${!name-}" ] || proxies+=(--build-arg "$name")
  done
  "$docker" build --quiet "${proxies[@]}" -t "$1" "$context" >/dev/null || { rm -rf "$context"; exit 3; }
  rm -rf "$context"
  echo "$1"
}

force=
images=()
for argument in "$@"; do
  case "$argument" in
    --force) force=1 ;;
    -h | --help) usage; exit ;;
    -*) usage >&2; exit 2 ;;
    *) images+=("$argument") ;;
  esac
done
if [ ${#images[@]} = 0 ]; then mapfile -t images < <(named); fi
[ ${#images[@]} != 0 ] || { echo "stand-ins.sh: no file names an image" >&2; exit 2; }
"$docker" version --format '{{.Server.Version}}' >/dev/null 2>&1 || {
  echo "stand-ins.sh: no engine answers; start one with scripts/offline/engine.sh start, and set what its 'env' prints" >&2
  exit 3
}
for image in "${images[@]}"; do
  if [ -n "$force" ] || ! is_there "$image"; then make_image "$image"; fi
done
