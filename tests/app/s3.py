"""An S3 server of the tests' own on loopback, and gateways as processes that keep their images in it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.services import free_port

BUCKET = "pictures"
START_SECONDS = 30.0


def variables(port: int) -> dict[str, str]:
    """What an operator would set for an S3-compatible server."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "made-up",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def s3() -> Iterator[int]:
    """A fresh server with one empty bucket; yields its port."""
    port = free_port()
    with process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, {}):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(
            "PUT",
            f"/{BUCKET}",
            headers={"authorization": "AWS4-HMAC-SHA256 Credential=a/b/us-east-1/s3/aws4_request"},
        )
        assert connection.getresponse().status == 200
        connection.close()
        yield port


@contextmanager
def served(folder: Path, storage: str, environ: Mapping[str, str]) -> Iterator[int]:
    """`pinhole serve` as a sandbox whose config names this storage; yields its port."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    config = folder / "pinhole.yaml"
    config.write_text(f"storage: {{url: '{storage}'}}\n")
    own = {"PINHOLE_SANDBOX": "true", "PINHOLE_PORT": str(port), "PINHOLE_DATA_DIR": str(folder)}
    command = [str(Path(sys.executable).parent / "pinhole"), "serve"]
    with process(command, port, {**own, "PINHOLE_CONFIG": str(config), **environ}):
        yield port


@contextmanager
def process(command: list[str], port: int, environ: Mapping[str, str]) -> Iterator[None]:
    """A program of the tests' own that listens there, ended with the context."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    silent = subprocess.DEVNULL
    process = subprocess.Popen(command, env={**plain, **environ}, stdout=silent, stderr=silent)  # noqa: S603 - ours
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            assert process.poll() is None, f"{command[-1]} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{command[-1]} did not start"
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
