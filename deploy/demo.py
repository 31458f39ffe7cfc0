"""Asks every model of a sandbox gateway for one picture and keeps them in a folder: python deploy/demo.py FOLDER."""

import base64
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROMPT = "A paper boat on a quiet pond at dawn"
START_SECONDS = 30
OURS = ("PINHOLE_", "REDIS_URL", "DATABASE_URL")


def main() -> None:
    """Write one file a model. Exits 1 when the gateway does not start or a model gives no picture."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    with tempfile.TemporaryDirectory() as data:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        environ |= {"PINHOLE_SANDBOX": "true", "PINHOLE_PORT": str(port), "PINHOLE_DATA_DIR": data}
        command = [str(Path(sys.executable).with_name("pinhole")), "serve"]
        gateway = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)  # noqa: S603  our own command
        try:
            wait(port)
            failed = [model for model in models(port) if not draw(port, model, folder)]
        finally:
            gateway.terminate()
            gateway.wait(timeout=START_SECONDS)
    if failed:
        sys.exit(f"no picture from {', '.join(failed)}")


def wait(port: int) -> None:
    """Return when the gateway answers."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            if ask(port, "GET", "/healthz")[0] == http.client.OK:
                return
        except ConnectionError:
            time.sleep(0.05)
    sys.exit(f"the gateway did not start in {START_SECONDS} s")


def models(port: int) -> list[str]:
    """The ids that can be called."""
    return [entry["id"] for entry in ask(port, "GET", "/v1/models")[1]["data"]]


def draw(port: int, model: str, folder: Path) -> bool:
    """Ask for one picture and keep it; False, with the gateway's words printed, when there is none."""
    started = time.monotonic()
    wish = {"model": model, "prompt": PROMPT, "response_format": "b64_json"}
    status, answer = ask(port, "POST", "/v1/images/generations", wish)
    if status != http.client.OK:
        print(f"{model:32} {status} {answer}")
        return False
    picture = base64.b64decode(answer["data"][0]["b64_json"])
    suffix = {b"\x89P": "png", b"\xff\xd8": "jpg", b"RI": "webp"}.get(picture[:2], "bin")
    path = folder / f"{re.sub('[^A-Za-z0-9._-]', '-', model)}.{suffix}"
    path.write_bytes(picture)
    print(f"{model:32} {time.monotonic() - started:5.2f} s  {path}")
    return True


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """One request: status and JSON document, or None where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, path, content, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        is_json = response.getheader("content-type", "").startswith("application/json")
        return response.status, json.loads(answer) if is_json else None
    finally:
        connection.close()


if __name__ == "__main__":
    main()
