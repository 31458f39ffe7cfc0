"""`make demo`: a gateway in the sandbox, the official SDK in front of it, pictures in a folder.

Usage: python deploy/demo.py FOLDER
"""

from __future__ import annotations

import base64
import io
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import openai
from PIL import Image, ImageDraw

START_SECONDS = 30
COLUMNS, CELL = 3, 360


def main(folder: Path) -> None:
    """Start, ask, stop; prints a line for each thing that happened."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = os.environ | {
        "PINHOLE_SANDBOX": "true",
        "PINHOLE_PORT": str(port),
        "PINHOLE_DATA_DIR": str(folder / "data"),
    }
    command = [str(Path(sys.executable).with_name("pinhole")), "serve"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as gateway:  # noqa: S603 - our own command
        try:
            url = f"http://127.0.0.1:{port}"
            wait(url)
            say(f"gateway on {url}, sandbox: no key, no network")
            files = ask(url, folder)
            sheet(files, folder / "contact-sheet.png")
            say(f"{folder / 'contact-sheet.png'} shows them all")
        finally:
            gateway.terminate()


def ask(url: str, folder: Path) -> list[Path]:
    """A generation, two more models, a masked edit and a stream, by the official SDK."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="any")
    files: list[Path] = []

    def keep(name: str, encoded: str | None) -> None:
        path = folder / name
        path.write_bytes(base64.b64decode(encoded or ""))
        files.append(path)
        say(f"{path}  {path.stat().st_size} bytes")

    for name, model, size in (
        ("generation.png", "gpt-image-2", "1536x1024"),
        ("gemini.png", "gemini-3-pro-image", "16:9"),
        ("wanx.png", "wanx-v1", "720x1280"),
    ):
        raw = client.images.with_raw_response.generate(
            model=model, prompt="A lighthouse in a storm", size=size, response_format="b64_json"
        )
        say(f"{model} {size}: adjusted {raw.headers.get('pinhole-adjustments', 'nothing')}")
        keep(name, raw.parse().data[0].b64_json)  # type: ignore[index] # a success has images
    photo = files[0].read_bytes()
    edited = client.images.edit(
        model="gpt-image-2", prompt="A hot-air balloon", image=("photo.png", photo), mask=("mask.png", hole(photo))
    )
    say("gpt-image-2 edit: repainted only where the mask is transparent")
    keep("edit.png", edited.data[0].b64_json)  # type: ignore[index] # as above
    stream = client.images.generate(model="gpt-image-2", prompt="A paper boat", stream=True, partial_images=2)
    for number, event in enumerate(stream, 1):
        say(f"stream: {event.type}")
        keep(f"stream-{number}.png", event.b64_json)
    return files


def hole(photo: bytes) -> bytes:
    """A mask that opens the upper right quarter of the photo."""
    width, height = Image.open(io.BytesIO(photo)).size
    mask = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    ImageDraw.Draw(mask).rectangle((width // 2, 0, width, height // 2), fill=(0, 0, 0, 0))
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def sheet(files: list[Path], target: Path) -> None:
    """All pictures on one page."""
    rows = -(-len(files) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * CELL, rows * CELL), (24, 24, 28))
    for index, path in enumerate(files):
        with Image.open(path) as picture:
            picture.thumbnail((CELL - 24, CELL - 24))
            left = index % COLUMNS * CELL + (CELL - picture.width) // 2
            top = index // COLUMNS * CELL + (CELL - picture.height) // 2
            page.paste(picture.convert("RGB"), (left, top))
    page.save(target)


def wait(url: str) -> None:
    """Returns when the gateway answers."""
    for _ in range(START_SECONDS * 10):
        try:
            if httpx2.get(f"{url}/healthz").is_success:
                return
        except httpx2.HTTPError:
            time.sleep(0.1)
    sys.exit("the gateway did not start")


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
