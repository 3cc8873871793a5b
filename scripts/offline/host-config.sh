#!/usr/bin/env bash
# Copies into a directory what this machine knows of package registries and certificate authorities, so that what is
# built in a container finds the same ones: host-config.sh DIR. Only stand-ins get it, never an image that is shipped.
set -euo pipefail

[ $# = 1 ] || { echo "usage: host-config.sh DIR" >&2; exit 2; }
out="$1"
mkdir -p "$out"

copy() { # file or directory, name: where there is one
  [ ! -e "$1" ] || { mkdir -p "$(dirname "$out/$2")" && cp -rL "$1" "$out/$2"; }
}

# Authorities that were added on this machine, and the bundle of all.
copy /usr/local/share/ca-certificates usr/local/share/ca-certificates
copy /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ca-certificates.crt
# apt: proxies, mirrors and the keys of mirrors, but not what else this machine installs from.
mkdir -p "$out/etc/apt/apt.conf.d"
grep -rhE '^[[:space:]]*Acquire::' /etc/apt/apt.conf.d /etc/apt/apt.conf 2>/dev/null >"$out/etc/apt/apt.conf.d/90host" || true
# pip, npm, cargo.
copy /etc/pip.conf etc/pip.conf
for file in "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf" "$HOME/.pip/pip.conf"; do copy "$file" etc/pip.conf; done
for file in /etc/npmrc "$HOME/.npmrc"; do copy "$file" usr/etc/npmrc; done
for file in config config.toml; do copy "${CARGO_HOME:-$HOME/.cargo}/$file" "usr/local/cargo/$file"; done
