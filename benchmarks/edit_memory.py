"""Peak memory of one edit with four inputs of about 20 MB: a real gateway, real sockets, an upstream that takes all.

    .venv/bin/python benchmarks/edit_memory.py [--images 4] [--side 2600] [--json]

VmHWM is the kernel's high-water mark of resident memory (Linux only); only the gateway is read, before and after.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image

MIB = 2**20
BOUNDARY = "----edit-memory"


class Upstream(BaseHTTPRequestHandler):
    """Reads the body in small pieces, keeps nothing, answers with one small picture."""

    protocol_version = "HTTP/1.1"
    taken: list[int] = []  # noqa: RUF012 - one run, one list

    def do_POST(self) -> None:
        """The only request it gets."""
        self.taken.append(sum(self._pieces()))
        picture = io.BytesIO()
        Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
        body = json.dumps(
            {"created": 1, "data": [{"b64_json": base64.b64encode(picture.getvalue()).decode()}]}
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silence."""

    def _pieces(self) -> Iterator[int]:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield from self._counted(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            yield from self._counted(int(self.headers["content-length"]))

    def _counted(self, left: int) -> Iterator[int]:
        while left and (piece := self.rfile.read(min(left, 64 << 10))):
            left -= len(piece)
            yield len(piece)


@contextmanager
def upstream() -> Iterator[int]:
    """The accepting server in a thread of this process; yields its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextmanager
def gateway(upstream_port: int, folder: Path) -> Iterator[tuple[int, int]]:
    """`pinhole serve`; yields its port and its process id once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    environ = {
        "PATH": os.environ["PATH"],
        "NO_PROXY": "127.0.0.1",
        "PINHOLE_PORT": str(port),
        "PINHOLE_DATA_DIR": str(folder),
        "OPENAI_API_KEY": "made-up",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
    }
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "pinhole"), "serve"], env=environ, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(20)


def noise(side: int) -> bytes:
    """A PNG of random pixels, which deflate cannot make smaller: about 3 x side x side bytes."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (side, side), secrets.token_bytes(3 * side * side)).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def form(images: list[bytes]) -> Iterator[bytes]:
    """An edit as a multipart body."""
    for name, value in (
        ("model", "gpt-image-1.5"),
        ("prompt", "Put them on one table"),
        ("response_format", "b64_json"),
    ):
        yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for i, image in enumerate(images):
        head = f'Content-Disposition: form-data; name="image[]"; filename="{i}.png"\r\nContent-Type: image/png'
        yield f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode()
        yield image
        yield b"\r\n"
    yield f"--{BOUNDARY}--\r\n".encode()


def memory(pid: int, field: str) -> float:
    """A line of /proc/<pid>/status, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"{field} is not told by this kernel")


def asked(port: int, method: str, path: str, pieces: list[bytes]) -> tuple[int, bytes]:
    """One request and its whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    headers = {
        "content-type": f"multipart/form-data; boundary={BOUNDARY}",
        "content-length": str(sum(map(len, pieces))),
    }
    connection.request(method, path, iter(pieces) if pieces else None, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--side", type=int, default=2600, help="pixels; 2600 makes about 20 MB")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    images = [noise(options.side) for _ in range(options.images)]
    with tempfile.TemporaryDirectory() as folder, upstream() as behind, gateway(behind, Path(folder)) as (port, pid):
        assert asked(port, "GET", "/healthz", [])[0] == 200
        idle = memory(pid, "VmHWM")
        started = time.perf_counter()
        status, body = asked(port, "POST", "/v1/images/edits", list(form(images)))
        seconds = time.perf_counter() - started
        peak, after = memory(pid, "VmHWM"), memory(pid, "VmRSS")
    assert status == 200, body[:500]
    sent = sum(map(len, images)) / MIB
    assert sum(Upstream.taken) / MIB >= sent, "the upstream did not get every image"
    figures = {"sent": sent, "idle": idle, "peak": peak, "growth": peak - idle, "after": after}
    if options.json:
        print(json.dumps({name: round(value, 1) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:8}{value:8.1f} MiB")
    print(f"growth is {(peak - idle) / sent:.2f} times what was sent; the edit took {seconds:.2f} s")


if __name__ == "__main__":
    main()
