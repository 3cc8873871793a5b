#!/usr/bin/env bash
# A Docker engine of this checkout's own: its socket, images and containers are apart from any other on the machine.
# For machines without one, and for tests. Needs root, and on Debian or Ubuntu installs the engine itself.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: engine.sh install|start|stop|status|env

  install  install the engine and what makes images without a registry, where that is missing (Debian, Ubuntu; root)
  start    start the engine, and install it first where there is none
  stop     stop it; images and volumes stay
  status   exit 0 when it answers, 3 when it does not
  env      print the variables to set: eval "$(scripts/offline/engine.sh env)"

ENGINE_DIR (default: target/engine in the checkout) is where everything of it lies.
USAGE
}

here="$(cd "$(dirname "$0")" && pwd)"
dir="${ENGINE_DIR:-$(cd "$here/../.." && pwd)/target/engine}"
export DOCKER_HOST="unix://$dir/docker.sock"

# A newer client without its buildx plugin cannot build; the one that came with the engine can.
client() { if [ -x /usr/bin/docker ]; then echo /usr/bin/docker; else command -v docker; fi; }

answers() { local docker; docker="$(client)" && "$docker" version --format '{{.Server.Version}}' >/dev/null 2>&1; }

install_engine() {
  command -v dockerd >/dev/null && command -v debootstrap >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "engine.sh: there is no dockerd; install Docker (https://docs.docker.com/engine/install/)" >&2
    exit 3
  fi
  # The package would start an engine by itself, beside ours.
  local guard=/usr/sbin/policy-rc.d made=
  if [ ! -e "$guard" ]; then printf '#!/bin/sh\nexit 101\n' >"$guard"; chmod 755 "$guard"; made=1; fi
  apt-get -o DPkg::Lock::Timeout=300 update -qq
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
    docker.io iptables debootstrap ca-certificates || { [ -z "$made" ] || rm -f "$guard"; exit 3; }
  [ -z "$made" ] || rm -f "$guard"
}

start() {
  answers && return
  if [ "$(id -u)" != 0 ]; then
    echo "engine.sh: an engine is started by root; or name one that runs in DOCKER_HOST" >&2
    exit 3
  fi
  install_engine
  mkdir -p "$dir"
  setsid nohup dockerd --host "$DOCKER_HOST" --data-root "$dir/data" --exec-root "$dir/exec" \
    --pidfile "$dir/docker.pid" >"$dir/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 120); do
    answers && return
    sleep 0.5
  done
  echo "engine.sh: dockerd does not answer after 60 s; the end of $dir/dockerd.log:" >&2
  tail -n 5 "$dir/dockerd.log" >&2
  exit 3
}

stop() {
  if [ -e "$dir/docker.pid" ]; then
    local pid; pid="$(cat "$dir/docker.pid")"
    if kill "$pid" 2>/dev/null; then
      for _ in $(seq 60); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
      done
      if kill -0 "$pid" 2>/dev/null; then
        echo "engine.sh: dockerd (process $pid) does not end" >&2
        exit 3
      fi
    fi
  fi
  # It leaves the network namespace of `--network host` mounted, and then the checkout cannot be deleted.
  if mountpoint -q "$dir/exec/netns/default"; then umount "$dir/exec/netns/default"; fi
}

case "${1-}" in
  install) install_engine ;;
  start) start ;;
  stop) stop ;;
  status) answers || { echo "engine.sh: no engine answers at $DOCKER_HOST; start one with 'engine.sh start'" >&2; exit 3; } ;;
  env) printf 'export DOCKER_HOST=%q DOCKER_BUILDKIT=1 DOCKER=%q\n' "$DOCKER_HOST" "$(client || echo docker)" ;;
  -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
