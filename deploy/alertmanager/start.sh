#!/bin/sh
# Starts Alertmanager with the receivers that the environment names:
#   ALERT_WEBHOOK_URL          where alerts are posted (Alertmanager's webhook format)
#   ALERT_WEBHOOK_TOKEN_FILE   a file with the bearer token that goes with them; optional
#   ALERT_MAIL_TO              who gets mail; needs ALERT_SMTP_HOST (host:port) and ALERT_MAIL_FROM
#   ALERT_SMTP_USER            with ALERT_SMTP_PASSWORD_FILE, a file with the password; optional
# With --print it writes the configuration and ends. Written for the shell that prom/alertmanager has.
set -eu

template=${ALERT_TEMPLATE:-/etc/alertmanager/alertmanager.yml}
result=${ALERT_CONFIG:-/alertmanager/alertmanager.yml}

fail() { echo "start.sh: $1" >&2; exit 2; }

render() {
  script=
  # What it is set to goes between quotes in YAML, and through sed: neither may end early.
  put() {
    eval "value=\${$1:-}"
    case $value in *['"\|']* | *"
"*) fail "$1 has a character that cannot be used here: one of \" \\ | or a line's end" ;; esac
    value=$(printf '%s' "$value" | sed 's/&/\\&/g')
    if [ -n "$value" ]; then script="$script;s|@$1@|$value|"; else script="$script;/@$1@/d"; fi
  }
  if [ -n "${ALERT_WEBHOOK_URL:-}" ]; then script="$script;s|#webhook ||"; else script="$script;/#webhook /d"; fi
  if [ -n "${ALERT_MAIL_TO:-}" ]; then
    [ -n "${ALERT_SMTP_HOST:-}" ] || fail "ALERT_MAIL_TO needs ALERT_SMTP_HOST, such as smtp.example.org:587"
    [ -n "${ALERT_MAIL_FROM:-}" ] || fail "ALERT_MAIL_TO needs ALERT_MAIL_FROM"
    script="$script;s|#mail ||"
  else
    script="$script;/#mail /d"
  fi
  for name in ALERT_WEBHOOK_URL ALERT_WEBHOOK_TOKEN_FILE ALERT_MAIL_TO ALERT_SMTP_HOST ALERT_MAIL_FROM ALERT_SMTP_USER \
    ALERT_SMTP_PASSWORD_FILE; do
    put "$name"
  done
  sed -e '/^#/d' -e "${script#;}" "$template"
}

if [ "${1:-}" = --print ]; then
  render
  exit
fi
for name in ALERT_WEBHOOK_TOKEN_FILE ALERT_SMTP_PASSWORD_FILE; do
  eval "file=\${$name:-}"
  [ -z "$file" ] || [ -r "$file" ] || fail "$name: cannot read $file"
done
render >"$result"
exec "${ALERTMANAGER:-/bin/alertmanager}" --config.file="$result" --storage.path="${ALERT_STORAGE:-/alertmanager}" "$@"
