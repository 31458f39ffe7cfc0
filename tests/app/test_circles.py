"""What a request leaves behind: nothing that only the collector of circles would free, images least of all."""

from __future__ import annotations

import gc
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from app.main import create_app
from app.settings import load
from providers.core.types import InputImage
from tests.gateway import Gateway, running
from tests.matrix.vendors import VENDORS
from tests.upstreams.images import png

BODY = {"model": "gpt-image-2", "prompt": "a kite", "size": "1024x1024", "response_format": "b64_json"}


async def test_a_request_leaves_no_circle(data_dir: Path) -> None:
    """After answers have gone out, no value of theirs waits for the collector."""
    app = create_app(load({"PINHOLE_SANDBOX": "true", "PINHOLE_DATA_DIR": str(data_dir)}))
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client,
    ):
        await client.post("/v1/images/generations", json=BODY)
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for number in range(3):
                answer = await client.post("/v1/images/generations", json={**BODY, "prompt": f"a kite {number}"})
                assert answer.status_code == httpx2.codes.OK
            gc.collect()
            kinds = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()

    assert {kind: count for kind, count in kinds.items() if kind.startswith(("app.", "providers."))} == {}


def test_a_request_over_a_connection_leaves_no_circle(sandbox: Gateway) -> None:
    """Nothing of what the server holds of an answered request waits for the collector either."""
    with httpx2.Client(base_url=sandbox.v1, timeout=60) as client:
        client.post("/images/generations", json=BODY)
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for number in range(4):
                client.post("/images/generations", json={**BODY, "prompt": f"a kite {number}"})
            gc.collect()
            kinds = {f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()

    assert {kind for kind in kinds if kind.startswith(("app.", "providers.", "uvicorn."))} == set()


@pytest.mark.parametrize("word", ["", "BOOM", "FORBIDDEN", "TRUNCATE"])
def test_uploads_go_with_their_request(tmp_path: Path, word: str) -> None:
    """However an edit ends, its input image goes without the collector, also where repeats may get its failure."""
    vendor = next(each for each in VENDORS if each.name == "openai")
    with (
        vendor.make() as server,
        running(tmp_path, vendor.environ(server)) as gateway,
        httpx2.Client(base_url=gateway.v1, timeout=60) as client,
    ):
        before = {id(image) for image in _inputs()}
        gc.disable()
        try:
            form = {"model": vendor.edits, "prompt": f"a kite {word}"}
            client.post("/images/edits", data=form, files={"image": ("photo.png", png(1024, 1024), "image/png")})
            until = time.monotonic() + 10
            while (left := {id(image) for image in _inputs()} - before) and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            gc.enable()

    assert left == set()


def _inputs() -> list[InputImage]:
    return [one for one in gc.get_objects() if isinstance(one, InputImage)]
