#!/usr/bin/env bash
# Waits for the password, then becomes Redis. The configuration is read from standard input, so that the password is
# neither among the arguments nor in the environment.
set -euo pipefail
until [ -s /run/secrets/redis-password ]; do sleep 1; done
exec redis-server - <<CONFIGURATION
bind * -::*
requirepass $(cat /run/secrets/redis-password)
save ""
appendonly no
maxmemory 128mb
maxmemory-policy noeviction
CONFIGURATION
