"""Small deterministic pictures for tests, and a way to look at what came back."""

import hashlib
from functools import lru_cache
from io import BytesIO
from typing import Literal

from PIL import Image

Look = tuple[int, int, int] | Literal["gradient", "checker", "noise"]


def picture(width: int, height: int, look: Look = "gradient", *, alpha: int | None = None) -> Image.Image:
    """An RGB picture, or RGBA with the same `alpha` (0-255) everywhere. `noise` does not compress."""
    image = _drawn(width, height, look).copy()
    if alpha is not None:
        image.putalpha(alpha)
    return image


@lru_cache(maxsize=64)
def png(width: int, height: int, look: Look = "gradient", *, alpha: int | None = None) -> bytes:
    return encode(picture(width, height, look, alpha=alpha), "png")


@lru_cache(maxsize=64)
def webp(width: int, height: int, look: Look = "gradient", *, alpha: int | None = None) -> bytes:
    return encode(picture(width, height, look, alpha=alpha), "webp")


@lru_cache(maxsize=64)
def jpeg(width: int, height: int, look: Look = "gradient", *, orientation: int | None = None) -> bytes:
    """A JPEG; `orientation` (1-8) writes that EXIF tag and leaves the stored pixels as they are."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    out = BytesIO()
    picture(width, height, look).save(out, "jpeg", quality=90, exif=exif)
    return out.getvalue()


@lru_cache(maxsize=64)
def mask_png(width: int, height: int, hole: tuple[int, int, int, int] | None = None) -> bytes:
    """A mask in OpenAI's sense: opaque, transparent inside `hole` (x0, y0, x1, y1; the far edges excluded)."""
    image = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    if hole is not None:
        image.paste((0, 0, 0, 0), hole)
    return encode(image, "png")


def encode(image: Image.Image, kind: str, quality: int = 90) -> bytes:
    """The file in png, jpeg, webp or gif; JPEG loses the alpha channel."""
    out = BytesIO()
    if kind == "png":
        image.save(out, "png", compress_level=1)
    elif kind == "jpeg":
        image.convert("RGB").save(out, "jpeg", quality=quality)
    elif kind == "webp":
        image.save(out, "webp", quality=quality, method=0)
    else:
        image.save(out, kind)
    return out.getvalue()


def pixels(data: bytes) -> Image.Image:
    """The decoded picture, completely loaded; `.format` and `.size` are those of the file."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


@lru_cache(maxsize=32)
def _drawn(width: int, height: int, look: Look) -> Image.Image:
    if isinstance(look, tuple):
        return Image.new("RGB", (width, height), look)
    if look == "noise":
        digest = hashlib.shake_128(f"{width}x{height}".encode()).digest(width * height * 3)
        return Image.frombytes("RGB", (width, height), digest)
    if look == "checker":
        board = Image.frombytes("L", (2, 2), b"\x20\xe0\xe0\x20")
        tile = board.resize((16, 16), Image.Resampling.NEAREST)
        image = Image.new("RGB", (width, height))
        for top in range(0, height, 16):
            for left in range(0, width, 16):
                image.paste(tile.convert("RGB"), (left, top))
        return image
    down = Image.linear_gradient("L")
    bands = (down, down.transpose(Image.Transpose.ROTATE_90), down.transpose(Image.Transpose.ROTATE_180))
    return Image.merge("RGB", bands).resize((width, height))
