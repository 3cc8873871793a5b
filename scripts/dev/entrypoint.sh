#!/usr/bin/env bash
# What the development container runs: `all` (the server, built anew on a change, and JupyterLab), `server`, `jupyter`, or
# any command.
set -euo pipefail

# Hooks of the checkout that is mounted, where it is one.
hooks() {
  git config --global --get-all safe.directory 2>/dev/null | grep -qx /workspace || git config --global --add safe.directory /workspace
  [ -w .git/hooks ] || return 0
  pre-commit install --install-hooks >/dev/null 2>&1 || echo "entrypoint.sh: the hooks of .pre-commit-config.yaml are not installed; see pre-commit install" >&2
}

# Jupyter prints an address with a token, unless JUPYTER_TOKEN gives one.
jupyter_lab() { jupyter lab --ip 0.0.0.0 --port 8888 --no-browser --allow-root --notebook-dir "$PWD" "$@"; }

case "${1-all}" in
  all)
    hooks
    jupyter_lab &
    notebooks=$!
    "$(dirname "$0")/watch.sh" &
    server=$!
    asked=
    trap asked=1 TERM INT
    # Whichever ends first ends the container; being asked to end is no failure.
    code=0
    wait -n "$notebooks" "$server" || code=$?
    [ -z "$asked" ] || code=0
    kill "$notebooks" "$server" 2>/dev/null || true
    wait "$notebooks" "$server" 2>/dev/null || true
    exit "$code" ;;
  server) hooks; shift; exec "$(dirname "$0")/watch.sh" "$@" ;;
  jupyter) shift; jupyter_lab "$@" ;;
  *) exec "$@" ;;
esac
