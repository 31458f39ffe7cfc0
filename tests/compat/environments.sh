#!/bin/sh
# Makes the environments of the compatibility suites, each from its own lock file:
#   .cache/compat/openai-1, .cache/compat/openai-2   older major versions of the openai package (bin/python)
#   tests/compat/node/node_modules                   the openai package for Node
#   tests/compat/azurite/node_modules                Azure's own emulator of its blob storage
# A second run does nothing until a lock file changes.
set -eu
cd "$(dirname "$0")/../.."

for name in openai-1 openai-2; do
    lock=tests/compat/$name.lock venv=.cache/compat/$name
    if ! cmp -s "$lock" "$venv/installed.lock"; then
        mkdir -p .cache/compat
        deploy/install.sh "$venv" "$lock"
        cp "$lock" "$venv/installed.lock"
    fi
done

if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
    echo "node and npm are not both on this machine, so the Node suite has no environment." >&2
    echo "    sudo apt-get install -y nodejs npm" >&2
    exit 0
fi
for name in node azurite; do
    (
        cd "tests/compat/$name"
        if ! cmp -s package-lock.json node_modules/installed-lock.json; then
            npm ci --silent --no-audit --no-fund --ignore-scripts </dev/null
            cp package-lock.json node_modules/installed-lock.json
        fi
    )
done
