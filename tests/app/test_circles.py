"""What a request leaves behind: nothing that only the collector of circles would free, images least of all."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import httpx2

from app.main import create_app
from app.settings import load

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
