#!/bin/sh
# Takes out of a Debian root file system what a server never needs and whoever breaks in would like: the package manager,
# Perl, tools for users and disks. The list of what is left stays for scanners. Runs inside an image's build, as root.
set -eu

[ "$(cat /proc/1/comm)" = slim.sh ] || [ -n "${IN_IMAGE_BUILD-}" ] || {
  echo "slim.sh: this removes packages from the system it runs on; it is for the build of an image (IN_IMAGE_BUILD=1)" >&2
  exit 2
}
for package in adduser apt debconf debian-archive-keyring e2fsprogs fdisk gpgv libapt-pkg6.0 libext2fs2 libss2 logsave mount \
  perl-base sysvinit-utils tzdata init-system-helpers libdebconfclient0 passwd login util-linux util-linux-extra; do
  dpkg-query -W "$package" >/dev/null 2>&1 || continue
  # Their removal scripts are for systems that go on being changed.
  rm -f "/var/lib/dpkg/info/$package".prerm "/var/lib/dpkg/info/$package".postrm "/var/lib/dpkg/info/$package:"*.prerm \
    "/var/lib/dpkg/info/$package:"*.postrm
  dpkg --purge --force-depends --force-remove-essential --force-remove-protected "$package" >/dev/null 2>&1 ||
    { echo "slim.sh: $package cannot be removed" >&2; exit 1; }
done
# Nothing that is left gives another user's rights.
find /usr /opt /srv -xdev -type f -perm /6000 -exec chmod ug-s {} +
rm -rf /var/cache/* /var/lib/apt /var/log/* /etc/apt /usr/share/doc /usr/share/bash-completion /usr/share/common-licenses /tmp/*
