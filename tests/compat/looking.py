"""What the suites share: running a client in its own environment, and looking at what an answer holds."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any, Final

from PIL import Image

from providers.kit.images import ImageFacts, inspect
from tests.upstreams.images import encode, mask_png, pixels, png

HERE: Final = Path(__file__).parent
ENVIRONMENTS: Final = "run tests/compat/environments.sh"
HOLE: Final = (64, 64, 192, 192)
PHOTO: Final = png(256, 256)
SECOND: Final = png(256, 256, "checker")
MASK: Final = mask_png(256, 256, HOLE)


def told(command: list[str], seconds: float = 60) -> dict[str, Any]:
    """The JSON that a client printed as its last line."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)  # noqa: S603 - our clients
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def written(folder: Path) -> tuple[Path, Path]:
    """The photo and its mask as files, for clients that want paths."""
    photo, mask = folder / "photo.png", folder / "mask.png"
    photo.write_bytes(PHOTO)
    mask.write_bytes(MASK)
    return photo, mask


def fetched(url: str | None) -> bytes:
    """What lies behind a link, fetched plainly and without a key, as small clients do."""
    assert url
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the gateway's own link
        assert answer.headers["content-type"].startswith("image/")
        data: bytes = answer.read()
    return data


def decoded(text: str | None) -> bytes:
    """The bytes of a `b64_json`: plain base64, no data URL."""
    assert text
    return base64.b64decode(text, validate=True)


def seen(data: bytes) -> ImageFacts:
    """What an image is, by its structure."""
    return inspect(data)


def same_outside(before: bytes, after: bytes, hole: tuple[int, int, int, int] = HOLE) -> bool:
    """Whether two pictures of one size are equal in every pixel outside of the hole, and differ inside."""
    pair = [pixels(data).convert("RGB") for data in (before, after)]
    if pair[0].size != pair[1].size:
        return False
    inside = [image.crop(hole).tobytes() for image in pair]
    black = Image.new("RGB", (hole[2] - hole[0], hole[3] - hole[1]))
    for image in pair:
        image.paste(black, hole[:2])
    return pair[0].tobytes() == pair[1].tobytes() and inside[0] != inside[1]


def as_jpeg(data: bytes) -> bytes:
    """The same picture as a JPEG file."""
    return encode(pixels(data), "jpeg")
