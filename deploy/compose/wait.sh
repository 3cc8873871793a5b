#!/usr/bin/env bash
# wait.sh database|ledger COMMAND…: waits for what the command needs, then becomes it.
#
# An engine that starts everything at once (Swarm, compose without conditions) needs no order then, and a process that
# is restarted while its database is away does not end again and again.
set -euo pipefail

say() { printf '{"timestamp":"%(%Y-%m-%dT%H:%M:%SZ)T","level":"INFO","target":"wait","message":"%s"}\n' -1 "$1" >&2; }

stop() { exit 0; }
trap stop TERM INT

# once a second, and in the background so that a signal is heard meanwhile
rest() { sleep 1 & wait $!; }

for_file() {
  [ -s "$1" ] && return
  say "waiting for the file $1"
  until [ -s "$1" ]; do rest; done
}

# Once `doctor database` says what is wanted: that the database answers, or that it holds the ledger. What it says
# instead is said every half minute, with its advice.
for_database() {
  local wanted="$1" said rounds=0
  until said="$(rlhf-audit doctor database 2>&1)" && [[ "$said" == *"$wanted"* ]]; do
    if [ $((rounds % 30)) = 0 ]; then
      said="${said//\\/\\\\}" said="${said//\"/\\\"}"
      read -ra words <<<"${said//[[:cntrl:]]/ }"
      say "waiting for a database that $wanted; it says: ${words[*]}"
    fi
    rounds=$((rounds + 1))
    rest
  done
}

needed="$1"
shift
case "$needed" in
  database) wanted="answers in" ;;
  ledger) wanted="holds a ledger" ;;
  *) echo "wait.sh: '$needed' is not waited for; expected database or ledger" >&2; exit 2 ;;
esac

for variable in ${!RLHF_AUDIT_@}; do
  case "$variable" in *_FILE) for_file "${!variable}" ;; esac
done

# Credentials of an object store have no variable that ends in _FILE.
if [ -s /run/secrets/objects.env ]; then
  set -a
  # shellcheck source=/dev/null
  . /run/secrets/objects.env
  set +a
fi

for_database "$wanted"
exec "$@"
