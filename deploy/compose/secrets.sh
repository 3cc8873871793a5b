#!/usr/bin/env bash
# Makes the secrets that are not there yet, and hands each service those that it needs.
#
#   secrets.sh make          what compose and Swarm run at each start
#   secrets.sh show NAME     docker-compose run --rm secrets show admin-token
#
# A file of the same name in /given (the directory SECRETS_DIR, else deploy/secrets) is used instead of a random value.
# /secrets keeps them all; /for/SERVICE is what the service mounts. A service whose directory is not mounted gets none.
set -euo pipefail
umask 022

given=/given kept=/secrets out=/for

fail() { echo "secrets: $1" >&2; exit "$2"; }

# put FILE, from standard input: whole or not at all, and only if it differs
put() {
  local new="$1.new.$$"
  cat >"$new"
  if cmp -s "$new" "$1"; then rm -f "$new"; else mv -f "$new" "$1" && echo "secrets: wrote $1" >&2; fi
}

# Letters and digits alone: they are written into URLs and configuration files.
password() { openssl rand -hex 24; }
token() { printf 'rat_%s' "$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=\n')"; }

# secret NAME MAKER: the given one, else the kept one, else a new one
secret() {
  local name="$1" maker="$2" value
  if [ -e "$given/$name" ]; then
    value="$(cat "$given/$name")" || fail "cannot read the given $name; its owner or mode keeps it from root in a container" 3
    [ -n "$value" ] || fail "the given $name is empty" 2
    case "$name" in
      *-password) [[ "$value" =~ ^[A-Za-z0-9._-]+$ ]] || fail "the given $name may have letters, digits, '.', '_' and '-' alone" 2 ;;
      admin-token) [[ "$value" =~ ^rat_[A-Za-z0-9_-]{43}$ ]] || fail "the given admin-token is not rat_ and 43 characters of base64url" 2 ;;
    esac
  elif [ -s "$kept/$name" ]; then
    value="$(cat "$kept/$name")"
  else
    value="$("$maker")"
  fi
  printf '%s\n' "$value" | put "$kept/$name"
}

# hand SERVICE NAME…
hand() {
  local service="$1" name
  shift
  [ -d "$out/$service" ] || return 0
  for name in "$@"; do
    [ ! -e "$kept/$name" ] || put "$out/$service/$name" <"$kept/$name"
  done
}

certificate() {
  [ -d "$out/proxy" ] || return 0
  if [ -e "$given/tls.crt" ] || [ -e "$given/tls.key" ]; then
    if [ ! -e "$given/tls.crt" ] || [ ! -e "$given/tls.key" ]; then fail "give both tls.crt and tls.key, or neither" 2; fi
    [ "$(openssl x509 -in "$given/tls.crt" -noout -pubkey)" = "$(openssl pkey -in "$given/tls.key" -pubout)" ] ||
      fail "the given tls.key is not the key of tls.crt" 2
    put "$kept/tls.key" <"$given/tls.key"
    put "$kept/tls.crt" <"$given/tls.crt"
  elif ! openssl x509 -in "$kept/tls.crt" -noout -checkend 2592000 >/dev/null 2>&1; then
    local names="" name first="${TLS_NAMES%%,*}"
    for name in ${TLS_NAMES//,/ }; do
      if [[ "$name" =~ ^[0-9.]+$ || "$name" == *:* ]]; then names+=",IP:$name"; else names+=",DNS:$name"; fi
    done
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 397 -subj "/CN=$first" \
      -addext "subjectAltName=${names#,}" -keyout /dev/shm/tls.key -out /dev/shm/tls.crt 2>/dev/null ||
      fail "no certificate could be made for TLS_NAMES='$TLS_NAMES'" 2
    put "$kept/tls.key" </dev/shm/tls.key
    put "$kept/tls.crt" </dev/shm/tls.crt
    echo "secrets: the proxy's certificate is its own; put tls.crt and tls.key into the directory of given secrets for a real one" >&2
  fi
  hand proxy tls.key tls.crt
}

make() {
  local name
  # One at a time: two that made the same secret would hand out different ones. What a killed one left is swept out.
  exec 9>"$kept/.lock"
  flock 9
  rm -f "$kept"/*.new.* "$out"/*/*.new.*
  for name in postgres-password database-password metrics-password redis-password grafana-password; do
    secret "$name" password
  done
  secret admin-token token
  for name in objects.env alert-webhook-token smtp-password; do
    if [ -e "$given/$name" ]; then put "$kept/$name" <"$given/$name"; fi
  done

  if [ -e "$given/database-url" ]; then
    put "$kept/database-url" <"$given/database-url"
  else
    printf 'postgres://rlhf_audit:%s@postgres:5432/rlhf_audit?sslmode=disable\n' "$(cat $kept/database-password)" | put $kept/database-url
  fi
  if [ -e "$given/redis-url" ]; then
    put "$kept/redis-url" <"$given/redis-url"
  else
    printf 'redis://:%s@redis:6379\n' "$(cat $kept/redis-password)" | put $kept/redis-url
  fi
  printf '{"redis://redis:6379":"%s"}\n' "$(cat $kept/redis-password)" | put $kept/redis-passwords.json

  hand app admin-token redis-url objects.env database-url
  hand jobs redis-url objects.env database-url
  hand postgres postgres-password database-password metrics-password
  hand redis redis-password
  hand postgres-exporter metrics-password
  hand redis-exporter redis-passwords.json
  hand alertmanager alert-webhook-token smtp-password
  hand grafana grafana-password
  certificate
}

case "${1:-}" in
  make) make ;;
  show)
    [ -s "$kept/${2:-none}" ] || fail "no secret is called '${2:-}'; there are: $(cd $kept && echo *)" 2
    cat "$kept/$2" ;;
  *) fail "expected make, or show NAME" 2 ;;
esac
