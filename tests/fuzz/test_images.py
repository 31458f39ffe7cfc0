"""The image inspector on damaged images of every format."""

from __future__ import annotations

import io
from functools import cache
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from providers.kit.images import ImageError, dimensions, inspect
from tests.fuzz.strategies import Damage, damaged, damages, effort

KINDS = ("PNG", "JPEG", "WEBP", "GIF")


@cache
def sound(kind: str) -> bytes:
    """A small sound image with metadata, and where the format has it more than one frame."""
    noise = Random(7)  # noqa: S311 - the same pictures in every process
    frames = [Image.frombytes("RGBA", (37, 23), noise.randbytes(37 * 23 * 4)) for _ in range(2)]
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    if kind == "JPEG":
        frames[0].convert("RGB").save(buffer, kind, exif=exif, progressive=True)
    elif kind == "GIF":
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], comment=b"a comment")
    else:
        more = frames[1:] if kind == "WEBP" else []
        frames[0].save(buffer, kind, exif=exif, save_all=bool(more), append_images=more)
    return buffer.getvalue()


def told(data: bytes | memoryview | bytearray) -> object:
    """The facts, or the class of the one error that is allowed."""
    try:
        return inspect(data)
    except ImageError:
        return ImageError


@pytest.mark.parametrize("kind", KINDS)
@given(done=damages())
@effort
def test_a_damaged_image_has_facts_or_an_image_error(kind: str, done: list[Damage]) -> None:
    """No damage raises anything but ImageError, and facts that are given agree with the head and the length."""
    data = damaged(sound(kind), done)
    found = told(data)

    assert found == told(memoryview(data)) == told(bytearray(data))
    if found is not ImageError:
        facts = inspect(data)
        assert (facts.width, facts.height) == dimensions(data)
        assert facts.bytes == len(data)
        assert 0 <= facts.trailing < len(data)
        assert 1 <= facts.orientation <= 8


@pytest.mark.parametrize("kind", KINDS)
@given(rest=st.binary(max_size=300))
@effort
def test_noise_behind_a_right_head_is_read_to_an_end(kind: str, rest: bytes) -> None:
    """Whatever follows a signature, inspecting and measuring end in facts, None or ImageError."""
    data = sound(kind)[:12] + rest

    told(data)
    dimensions(data)


@pytest.mark.parametrize("kind", KINDS)
@given(kept=st.floats(0, 1, exclude_max=True))
@effort
def test_a_cut_image_is_never_sound(kind: str, kept: float) -> None:
    """Every image that ends early is refused: half an upload is not passed on as an image."""
    data = sound(kind)

    assert told(data[: int(kept * len(data))]) is ImageError
    assert told(data) is not ImageError


@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@effort
def test_one_turned_bit_of_a_png_is_found(at: float, bit: int) -> None:
    """Every byte of a PNG stands under a checksum or decides its structure."""
    data = bytearray(sound("PNG"))
    data[int(at * len(data))] ^= 1 << bit

    assert told(data) is ImageError
