"""Peak memory under many large answers: a real gateway process, real sockets, an upstream that answers all at once.

    .venv/bin/python benchmarks/memory.py [--answers 64] [--mib 8] [--bytes 256MiB] [--pause 3] [--form url] [--json]

The ceiling is what the gateway holds when idle, `capacity.bytes`, and 100 MiB. Every image is compared by its digest.
VmHWM is the kernel's high-water mark of resident memory (Linux only), set back after the warm-up.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import io
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

MIB = 2**20
SLACK_MIB = 100
PIECE = 64 * 1024


@dataclass
class Upstream:
    """Holds every answer until `wanted` requests are there, then sends them all."""

    body: bytes
    wanted: int = 1
    asked: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        while head := await _head(reader):
            await reader.readexactly(int(re.search(rb"content-length: (\d+)", head.lower())[1]))  # type: ignore[index]  # the gateway sends it
            self.asked += 1
            if self.asked >= self.wanted:
                self.gate.set()
            await self.gate.wait()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(self.body)
            )
            writer.write(self.body)
            await writer.drain()

    def next(self, wanted: int, body: bytes) -> None:
        """Begin a new round."""
        self.wanted, self.asked, self.body = wanted, 0, body
        self.gate.clear()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


@contextmanager
def upstream(body: bytes) -> Iterator[tuple[int, Upstream]]:
    """The upstream in a thread of this process; yields its port."""
    loop, made = asyncio.new_event_loop(), Upstream(body)
    server = loop.run_until_complete(asyncio.start_server(made.serve, "127.0.0.1", 0, backlog=512))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1], made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


@contextmanager
def gateway(upstream_port: int, folder: Path, budget: str) -> Iterator[tuple[int, int]]:
    """`pinhole serve`; yields its port and its process id once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    config = folder / "pinhole.yaml"
    config.write_text(f"capacity: {{bytes: {budget}}}\n")
    environ = {
        "PATH": os.environ["PATH"],
        "NO_PROXY": "127.0.0.1",
        "PINHOLE_PORT": str(port),
        "PINHOLE_DATA_DIR": str(folder),
        "PINHOLE_CONFIG": str(config),
        "OPENAI_API_KEY": "made-up",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
    }
    program = str(Path(sys.executable).parent / "pinhole")
    process = subprocess.Popen([program, "serve"], env=environ, stderr=subprocess.DEVNULL)
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


def noise(mib: float) -> bytes:
    """A PNG of random pixels, which deflate cannot make smaller."""
    side = int((mib * MIB / 3) ** 0.5)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (side, side), secrets.token_bytes(3 * side * side)).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def answer(image: bytes) -> bytes:
    """OpenAI's body around an image."""
    return json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(image).decode()}]}).encode()


def memory(pid: int, name: str) -> float:
    """A line of /proc/<pid>/status, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"{name} is not told by this kernel")


async def one(port: int, number: int, form: str, pause: float) -> tuple[int, str]:
    """One request; its status, and the digest of its image. A pause comes after the first piece of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=PIECE)
    wish = {"model": "gpt-image-1.5", "prompt": f"picture {number}", "response_format": form}
    body = json.dumps(wish).encode()
    head = "POST /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
    await asyncio.sleep(pause)
    digest = await digested(reader) if form == "b64_json" else await linked(reader, port)
    writer.close()
    return status, digest


async def digested(reader: asyncio.StreamReader) -> str:
    """The digest of the base64 text between `"b64_json":"` and the next quote, without keeping it."""
    found, tail, inside = hashlib.sha256(), b"", False
    while piece := await reader.read(PIECE):
        tail += piece
        if not inside and (at := tail.find(b'"b64_json":"')) >= 0:
            inside, tail = True, tail[at + 12 :]
        if inside:
            text, quote, _ = tail.partition(b'"')
            found.update(text)
            tail = b""
            if quote:
                inside = False
                await reader.read()
    return found.hexdigest()


async def linked(reader: asyncio.StreamReader, port: int) -> str:
    """The digest of what lies behind the answer's link, as base64."""
    url = json.loads(await reader.read())["data"][0]["url"]
    path = url.partition(f":{port}")[2]
    there, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
    await there.readuntil(b"\r\n\r\n")
    data = await there.read()
    writer.close()
    return hashlib.sha256(base64.b64encode(data)).hexdigest()


async def crowd(port: int, count: int, form: str, pause: float) -> list[tuple[int, str]]:
    """All at once."""
    return await asyncio.gather(*(one(port, number, form, pause) for number in range(count)))


def main() -> None:
    """Measure once and print; ends with 1 when the ceiling is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--mib", type=float, default=8)
    parser.add_argument("--bytes", default="256MiB", help="capacity.bytes")
    parser.add_argument("--pause", type=float, default=0, help="seconds that every reader stops after the head")
    parser.add_argument("--form", choices=["b64_json", "url"], default="b64_json")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    image, budget = noise(options.mib), int(re.match(r"\d+", options.bytes)[0])  # type: ignore[index]  # MiB, as in the default
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("MEMORY_FOLDER")) as folder,
        upstream(answer(noise(0.01))) as (behind, provider),
        gateway(behind, Path(folder), options.bytes) as (port, pid),
    ):
        asyncio.run(crowd(port, 1, options.form, 0))
        idle = memory(pid, "VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        provider.next(options.answers, answer(image))
        started = time.perf_counter()
        found = asyncio.run(crowd(port, options.answers, options.form, options.pause))
        seconds = time.perf_counter() - started
        time.sleep(0.5)
        peak, after = memory(pid, "VmHWM"), memory(pid, "VmRSS")
    wanted = hashlib.sha256(base64.b64encode(image)).hexdigest()
    good = sum(status == 200 and digest == wanted for status, digest in found)
    ceiling = idle + budget + SLACK_MIB
    figures = {"answers": len(found), "good": good, "idle": idle, "peak": peak, "after": after, "ceiling": ceiling}
    if options.json:
        print(json.dumps({name: round(value, 1) for name, value in figures.items()} | {"seconds": round(seconds, 2)}))
    else:
        for name, value in figures.items():
            print(f"{name:8}{value:8.1f}")
        print(f"{good} of {len(found)} whole in {seconds:.1f} s; memory in MiB")
    if good < len(found) or peak > ceiling:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
