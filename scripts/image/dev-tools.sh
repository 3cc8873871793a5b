#!/bin/sh
# Installs into a development image, as root, what people want at hand; what Python there is comes in an environment of
# its own, /opt/python, which is first in the path.
set -eu

apt-get update
apt-get install -y --no-install-recommends bash-completion ca-certificates curl entr git htop jq less make openssh-client \
  procps python3 python3-venv sqlite3 postgresql-client redis-tools tree vim
rm -rf /var/lib/apt/lists/*
python3 -m venv /opt/python
/opt/python/bin/pip install --no-cache-dir --disable-pip-version-check -r "$(dirname "$0")/dev-requirements.txt"
