#!/bin/sh
# Makes a virtual environment and installs a hash-locked file into it; the Makefile and the Dockerfile both run this.
#
#   deploy/install.sh VENV LOCK [editable|wheel]
#
# With a third argument the project itself is installed as well, from the current directory, without another download:
# its build backend is in the lock. PYTHON=/path/to/python chooses the interpreter.
set -eu

[ $# -ge 2 ] || { echo "usage: $0 VENV LOCK [editable|wheel]" >&2; exit 2; }
venv=$1 lock=$2 project=${3:-}

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_VIRTUALENV=0 PIP_USER=0 PIP_NO_INPUT=1

say() { echo "$*" >&2; }

is_between() {  # interpreter, lowest, first one too new
    "$1" -c "import sys; sys.exit(not $2 <= sys.version_info[:2] < $3)" >/dev/null 2>&1
}

# Compiled dependencies have wheels for 3.11 to 3.14; a newer interpreter is used when it is the only one.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_between "$PYTHON" "(3, 11)" "(4, 0)" && echo "$PYTHON" && return
        say "PYTHON=$PYTHON is not a Python of version 3.11 or newer."
        return 1
    fi
    for newest in "(3, 15)" "(4, 0)"; do
        for name in python3 python3.14 python3.13 python3.12 python3.11; do
            is_between "$name" "(3, 11)" "$newest" && command -v "$name" && return
        done
    done
    say "Pinhole needs Python 3.11 or newer; none of python3, python3.11 to python3.14 is one."
    say "Install it, or name it: PYTHON=/path/to/python make run"
    return 1
}

# Debian and Ubuntu ship python3 without ensurepip; then pip comes from virtualenv, uv, the system's pip or apt.
make_venv() {
    python=$1
    if "$python" -c "import ensurepip, venv" >/dev/null 2>&1; then
        "$python" -m venv "$venv" && return
    fi
    if "$python" -m virtualenv --version >/dev/null 2>&1; then
        "$python" -m virtualenv --quiet "$venv" && return
    fi
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --clear --seed --python "$python" "$venv" && return
    fi
    package=$("$python" -c "import sys; print('python%d.%d-venv' % sys.version_info[:2])")
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "This Python has no ensurepip: installing $package."
        if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package"; } </dev/null >&2; then
            "$python" -m venv --clear "$venv" && return
        fi
    fi
    say "This Python cannot make a virtual environment (it has no ensurepip). Type this once, then try again:"
    say "    sudo apt-get install $package"
    return 1
}

if ! is_between "$venv/bin/python" "(3, 11)" "(4, 0)" || ! "$venv/bin/python" -c "import pip" >/dev/null 2>&1; then
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
        say "$venv exists and is not a virtual environment; it is left alone."
        exit 1
    fi
    python=$(find_python)
    rm -rf "$venv"
    make_venv "$python"
fi

# The lock is complete. Without --no-deps an older pip looks for the newest `package[extra]` and finds it has no hash.
say "Installing $lock into $venv ..."
"$venv/bin/python" -m pip install -qq --no-deps --require-hashes -r "$lock"
case $project in
    editable) "$venv/bin/python" -m pip install -qq --no-deps --no-build-isolation --editable . ;;
    wheel) "$venv/bin/python" -m pip install -qq --no-deps --no-build-isolation . ;;
esac
