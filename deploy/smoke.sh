#!/bin/sh
# One picture from a running deployment: asks for it, checks the status and that the bytes are an image.
#
#   deploy/smoke.sh BASE_URL [KEY]          deploy/smoke.sh https://images.example.com sk-team-a
#
# PINHOLE_SMOKE_MODEL names a model; the deployment's default one is asked otherwise. With real providers this costs
# the price of one small picture. Needs curl and python3.
set -eu

[ $# -ge 1 ] || { echo "usage: $0 BASE_URL [KEY]" >&2; exit 2; }
base=${1%/} key=${2:-}
base=${base%/v1}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

body=$(python3 -c '
import json, os
wish = {"prompt": "a paper boat on a pond", "response_format": "b64_json"}
if os.environ.get("PINHOLE_SMOKE_MODEL"):
    wish["model"] = os.environ["PINHOLE_SMOKE_MODEL"]
print(json.dumps(wish))')

set -- --silent --show-error --max-time 320 --output "$answer" --write-out '%{http_code}' \
    --header 'Content-Type: application/json' --data-binary "$body"
# The key goes in through a file descriptor, so that it is not seen in the list of processes.
status=$(printf '%s' "${key:+header = \"Authorization: Bearer $key\"}" | curl --config - "$@" "$base/v1/images/generations") || {
    echo "smoke: no answer from $base" >&2
    exit 1
}
if [ "$status" != 200 ]; then
    echo "smoke: $base answered $status" >&2
    head -c 2000 "$answer" >&2
    echo >&2
    exit 1
fi

python3 - "$answer" <<'CHECK'
import base64, json, sys

with open(sys.argv[1], encoding="utf-8") as file:
    images = json.load(file)["data"]
picture = base64.b64decode(images[0]["b64_json"], validate=True)
kinds = {
    "PNG": picture.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" in picture[-12:],
    "JPEG": picture.startswith(b"\xff\xd8\xff") and picture.endswith(b"\xff\xd9"),
    "WebP": picture[:4] == b"RIFF" and picture[8:12] == b"WEBP",
}
kind = next((name for name, is_it in kinds.items() if is_it), None)
if kind is None:
    sys.exit(f"smoke: {len(picture)} bytes that are no picture, starting {picture[:8]!r}")
print(f"smoke: ok, one {kind} of {len(picture)} bytes")
CHECK
