#!/bin/sh
# Makes sure that nginx and a C compiler are on this machine: found, else installed with apt as root, else the one
# command to type. Nothing is started here.
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin"

missing=
command -v nginx >/dev/null || missing="$missing nginx-light"
command -v gcc >/dev/null || command -v cc >/dev/null || missing="$missing gcc libc6-dev"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing for the benchmark:$missing" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null >&2
    # shellcheck disable=SC2086  # a list of package names
    apt-get install -y -qq --no-install-recommends $missing </dev/null >&2
else
    echo "The benchmark needs$missing. Type this once, then try again:" >&2
    echo "    sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi
