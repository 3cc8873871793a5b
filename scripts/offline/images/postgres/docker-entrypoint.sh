#!/usr/bin/env bash
# Makes the cluster at the first start, from the variables that the published image has, and runs the server.
set -euo pipefail

value() { # variable: itself, or what the file holds that its _FILE names
  local file="$1_FILE"
  if [ -n "${!file-}" ]; then cat "${!file}"; else printf '%s' "${!1-}"; fi
}

if [ "${1-}" != postgres ] && [ "${1#-}" = "${1-}" ]; then exec "$@"; fi
[ "${1#-}" = "$1" ] || set -- postgres "$@"

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"
  chown postgres: "$PGDATA" /var/run/postgresql
  chmod 700 "$PGDATA"
  exec gosu postgres "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  user="$(value POSTGRES_USER)" password="$(value POSTGRES_PASSWORD)" database="$(value POSTGRES_DB)"
  user="${user:-postgres}"
  if [ -z "$password" ] && [ "${POSTGRES_HOST_AUTH_METHOD-}" != trust ]; then
    echo "POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE is needed for a new database" >&2
    exit 1
  fi
  # shellcheck disable=SC2086 # several arguments, as the published image has it
  initdb --username="$user" --pwfile=<(printf '%s\n' "${password:-none}") --auth-local=trust \
    --auth-host="${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" ${POSTGRES_INITDB_ARGS-}
  printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
  if [ "${database:-$user}" != postgres ]; then createdb --username="$user" "${database:-$user}"; fi
  for file in /docker-entrypoint-initdb.d/*; do
    # shellcheck disable=SC1090 # whatever is mounted
    case "$file" in
      *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
      *.sql) psql -v ON_ERROR_STOP=1 --username="$user" --dbname="${database:-$user}" -f "$file" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@"
