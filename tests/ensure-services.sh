#!/bin/sh
# Makes sure that the servers the tests start themselves are on this machine: found, else installed with apt as root,
# else the one command to type. Nothing is started here.
set -eu

find_redis() { command -v redis-server; }

find_postgres() {
    for bin in "$(dirname "$(command -v initdb || echo /)")" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/bin; do
        [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && echo "$bin" && return
    done
    return 1
}

missing=
find_redis >/dev/null || missing="$missing redis-server"
find_postgres >/dev/null || missing="$missing postgresql"

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing for the tests:$missing" >&2
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq </dev/null >&2
        # shellcheck disable=SC2086  # a list of package names
        apt-get install -y -qq --no-install-recommends $missing </dev/null >&2
    elif command -v apt-get >/dev/null 2>&1; then
        echo "The tests need$missing. Type this once, then try again:" >&2
        echo "    sudo apt-get install -y$missing" >&2
        exit 1
    elif command -v brew >/dev/null 2>&1; then
        echo "The tests need$missing. Type this once, then try again:" >&2
        echo "    brew install redis postgresql@17" >&2
        exit 1
    else
        echo "The tests need$missing: install them with this machine's package manager, then try again." >&2
        exit 1
    fi
fi

echo "redis-server: $(find_redis)"
echo "PostgreSQL:   $(find_postgres)"
