#!/usr/bin/env bash
# Waits for the passwords, then becomes the image's own entry point.
set -euo pipefail
for name in postgres-password database-password metrics-password; do
  until [ -s "/run/secrets/$name" ]; do sleep 1; done
done
exec docker-entrypoint.sh "$@"
