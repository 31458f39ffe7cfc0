"""What a request costs in the end, and how a price that nobody knows is told, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app import config as config_file
from app.settings import SettingsError
from tests.gateway import Gateway, running
from tests.upstreams.http import Reply
from tests.upstreams.images import encode, picture
from tests.upstreams.openai import OpenAIStandIn
from tests.upstreams.openai.answers import encoded

CONFIG = """
models:
  flat: {like: gpt-image-2, upstream_id: gpt-image-2, prices: {image: 0.002}}
  steps: {like: gpt-image-2, upstream_id: gpt-image-2, prices: {low: 0.01, "high/1024x1024": 0.07, high: 0.2}}
  mystery: {like: gpt-image-2, upstream_id: gpt-image-2}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[OpenAIStandIn]:
    """OpenAI's stand-in."""
    with OpenAIStandIn() as standin:
        yield standin


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: OpenAIStandIn) -> Iterator[Gateway]:
    """A gateway with prices of the operator's own before the stand-in."""
    environ = {"OPENAI_API_KEY": upstream.key, "OPENAI_BASE_URL": upstream.base_url}
    with running(tmp_path_factory.mktemp("prices"), environ, CONFIG) as found:
        yield found


def answer(width: int, height: int, count: int = 1, **facts: Any) -> Reply:
    """An engine's answer that counts no tokens."""
    image = {"b64_json": encoded(encode(picture(width, height), "png"))}
    return Reply.json(200, {"created": 1, "data": [image] * count, **facts})


@pytest.mark.parametrize(
    ("asked", "reply", "dollars"),
    [
        ({"model": "gpt-image-2"}, answer(1536, 1024, quality="low", size="1536x1024"), 0.005),
        ({"model": "gpt-image-2", "n": 2}, answer(1024, 1024, 2, quality="low", size="1024x1024"), 0.012),
        ({"model": "gpt-image-2", "quality": "low"}, answer(1536, 1024), 0.005),
        (
            {"model": "gpt-image-2", "quality": "high", "size": "1024x1024"},
            answer(1024, 1024, quality="medium"),
            0.053,
        ),
        ({"model": "gpt-image-2", "quality": "low", "size": "1024x1024"}, answer(1024, 1024, quality="fine"), 0.006),
        ({"model": "gpt-image-2", "size": "1024x1024"}, answer(1024, 1024), 0.401),
        ({"model": "gpt-image-2", "quality": "low", "size": "1024x1024"}, None, 0.008185),
        ({"model": "steps"}, answer(1024, 1024, quality="high"), 0.07),
        ({"model": "steps", "n": 3}, answer(1024, 1536, 2, quality="high"), 0.4),
        ({"model": "steps", "size": "1024x1024"}, answer(1024, 1024, quality="low"), 0.01),
        ({"model": "flat", "n": 2}, answer(1024, 1024, 2, quality="low", size="1024x1024"), 0.004),
    ],
)
def test_the_answer_says_what_it_costs(
    gateway: Gateway, upstream: OpenAIStandIn, asked: dict[str, Any], reply: Reply | None, dollars: float
) -> None:
    """Tokens decide where they are counted, else the answer's own quality and size, else the estimate."""
    if reply is not None:
        upstream.queue(reply)
    got = httpx2.post(
        f"{gateway.v1}/images/generations", json={"prompt": f"a kite of {dollars}", **asked}, timeout=60
    )

    assert got.status_code == 200, got.text
    assert float(got.headers["pinhole-cost-usd"]) == pytest.approx(dollars)
    assert gateway.ledger.entries[-1].cost == round(dollars * 1e6)


def test_an_input_image_is_paid_with_each_call(tmp_path: Path) -> None:
    """A model that draws one image a call is sent the inputs with each of them."""
    files = {"image": ("a.png", encode(picture(256, 256), "png"), "image/png")}
    with running(tmp_path) as gateway:
        one, three = (
            httpx2.post(
                f"{gateway.v1}/images/edits/explain",
                data={"model": "gemini-3-pro-image", "prompt": "a kite", "n": str(n)},
                files=files,
                timeout=60,
            ).json()
            for n in (1, 3)
        )

    assert [len(explained["calls"]) for explained in (one, three)] == [1, 3]
    assert (one["cost_usd"], three["cost_usd"]) == (pytest.approx(0.1351), pytest.approx(3 * 0.1351))


def test_an_unknown_price_is_nowhere_a_zero(gateway: Gateway) -> None:
    """No header, null in the explanation, the models and the row; counted as unknown, not as dollars."""
    wish = {"model": "mystery", "prompt": "a kite"}
    explained = httpx2.post(f"{gateway.v1}/images/generations/explain", json=wish, timeout=60).json()
    got = httpx2.post(f"{gateway.v1}/images/generations", json=wish, timeout=60)
    model = httpx2.get(f"{gateway.v1}/models/mystery", timeout=60).json()
    metrics = httpx2.get(f"{gateway.url}/metrics", timeout=60).text

    assert got.status_code == 200, got.text
    assert "pinhole-cost-usd" not in got.headers
    assert (explained["cost_usd"], model["constraints"]["prices"]) == (None, None)
    assert gateway.ledger.entries[-1].cost is None
    assert 'pinhole_cost_unknown_total{provider="openai"} 1.0' in metrics


@pytest.mark.parametrize("amount", ["-0.01", ".inf", ".nan"])
def test_a_price_is_an_amount(amount: str) -> None:
    """What no image can cost is refused with its place in the file."""
    with pytest.raises(SettingsError, match=r"prices\.image"):
        config_file.parse(f"models:\n  flux: {{like: gpt-image-1, prices: {{image: {amount}}}}}\n", {})
