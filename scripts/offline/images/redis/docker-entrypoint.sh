#!/bin/sh
# Options alone are the server's, and the server does not run as root.
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then set -- redis-server "$@"; fi
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
  chown redis: .
  exec gosu redis "$0" "$@"
fi
# Debian's server would listen on the loopback address alone; published images listen to all.
if [ "$1" = redis-server ] && [ $# = 1 ]; then set -- redis-server --protected-mode no --bind '* -::*'; fi
exec "$@"
