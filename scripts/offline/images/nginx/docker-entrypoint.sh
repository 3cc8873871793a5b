#!/bin/sh
# Fills templates from the environment, runs the scripts of /docker-entrypoint.d, then the server.
set -e
for template in /etc/nginx/templates/*.template; do
  [ -e "$template" ] || continue
  names="$(env | sed -nE 's/^([A-Za-z_][A-Za-z0-9_]*)=.*/${\1}/p' | tr '\n' ' ')"
  # shellcheck disable=SC2094 # other directories
  envsubst "$names" <"$template" >"/etc/nginx/conf.d/$(basename "$template" .template)"
done
for script in /docker-entrypoint.d/*.sh; do
  [ ! -x "$script" ] || "$script"
done
exec "$@"
