"""From what a provider gave to what the caller asked for."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from app.delivery import Delivered, Delivery
from app.store import DiskStore, Links
from providers.core.plan import plan
from providers.core.provider import Image
from providers.core.spec import ModelSpec
from providers.core.types import ImageFormat, ImageRequest, Operation, ResponseFormat
from providers.gemini.rows import FLASH_31, PRO
from providers.kit.fetch import Fetcher
from providers.kit.images import sniff
from providers.kit.lift import Lifted
from providers.kit.transport import HTTPTransport
from tests.clock import StillClock
from tests.providers.kit.fakes import deployment
from tests.upstreams.images import png


async def delivered(folder: Path, text: str, spec: ModelSpec, compression: int | None = None) -> Delivered:
    """One image of this base64 text, for a caller who wants base64."""
    clock = StillClock()
    links = Links("http://here", [b"secret"], clock, 60)
    delivery = Delivery(DiskStore(folder, clock, 60), links, Fetcher(HTTPTransport(environ={}), clock))
    wish = ImageRequest(operation=Operation.GENERATE, prompt="a kite", output_compression=compression)
    image = Image(content=Lifted.of(text))
    return await delivery.deliver(image, plan(wish, spec), ResponseFormat.B64_JSON, deployment(), clock.now() + 60)


@pytest.mark.parametrize("behind", [0, 1, 2])
async def test_callers_get_base64_that_every_decoder_reads(tmp_path: Path, behind: int) -> None:
    """What an upstream left out at the end is there again."""
    picture = png(16, 16) + bytes(behind)
    text = base64.b64encode(picture).decode().rstrip("=")
    found = await delivered(tmp_path, text, FLASH_31)

    assert base64.b64decode(bytes(found.base64 or b""), validate=True) == picture


async def test_a_wish_to_compress_is_kept_whatever_was_drawn(tmp_path: Path) -> None:
    """A model that mostly draws JPEG and now a PNG: the caller was promised a picture of that compression."""
    text = base64.b64encode(png(64, 64)).decode()
    found = await delivered(tmp_path, text, PRO, compression=50)

    assert found.format is ImageFormat.JPEG
    assert sniff(base64.b64decode(bytes(found.base64 or b""))) is ImageFormat.JPEG
