#!/usr/bin/env bash
# Makes debian:bookworm-slim from a Debian mirror, where the registry cannot be reached: a minimal debootstrap without
# documentation and translations, as the published image is. Needs root.
set -euo pipefail

image="${1:-debian:bookworm-slim}"
case "$image" in
  debian:bookworm-slim | debian:bookworm) ;;
  *) echo "usage: base-image.sh [debian:bookworm-slim]" >&2; exit 2 ;;
esac
here="$(cd "$(dirname "$0")" && pwd)"
docker="${DOCKER:-docker}"

# The mirror that this machine installs from, else Debian's.
mirror() {
  local found
  found="$(sed -nE 's/^URIs: *(https?:[^ ]*debian\/?)( .*)?$/\1/p; s/^deb (\[[^]]*\] )?(https?:[^ ]*debian\/?) .*/\2/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v security | head -n 1)" || true
  echo "${DEBIAN_MIRROR:-${found:-http://deb.debian.org/debian}}"
}

command -v debootstrap >/dev/null || { echo "base-image.sh: debootstrap is missing; install it (apt-get install debootstrap)" >&2; exit 3; }
[ "$(id -u)" = 0 ] || { echo "base-image.sh: debootstrap needs root" >&2; exit 3; }

root="$(mktemp -d "${TMPDIR:-/var/tmp}/base-image.XXXXXX")"
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase bookworm "$root" "$(mirror)" >"$root.log" 2>&1 || {
  tail -n 5 "$root.log" >&2
  echo "base-image.sh: debootstrap failed; all of it is in $root.log" >&2
  exit 3
}
rm -f "$root.log"
mirror="$(mirror)"
cat >"$root/etc/apt/sources.list" <<LIST
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb ${DEBIAN_SECURITY_MIRROR:-${mirror%/}-security} bookworm-security main
LIST
# As in the published image: nothing that only people read, nothing that apt can fetch again, no service started.
cat >"$root/etc/dpkg/dpkg.cfg.d/docker" <<'CFG'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/groff/*
path-exclude /usr/share/lintian/*
CFG
printf 'APT::Install-Recommends "false";\n' >"$root/etc/apt/apt.conf.d/docker-no-recommends"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
find "$root/usr/share/doc" -mindepth 2 ! -name copyright \( -type f -o -type l \) -delete
rm -rf "$root"/usr/share/{man,info,locale,groff,lintian}/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb \
  "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt/*
# How this machine reaches registries; in what is shipped none of it stays but authorities that the engine's builds trust.
"$here/host-config.sh" "$root/opt/host-config"
cp -r "$root/opt/host-config/etc/apt/." "$root/etc/apt/"
rm -rf "$root/opt"/host-config
tar -C "$root" --one-file-system -c . |
  "$docker" import --change 'CMD ["bash"]' --change 'LABEL stand-in=true' - "$image" >/dev/null
echo "$image"
