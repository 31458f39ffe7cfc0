"""The shortest way through the whole gateway."""

from __future__ import annotations

import base64

import openai

from providers.kit.images import inspect
from tests.gateway import Gateway


def test_an_unmodified_sdk_gets_an_image(sandbox: Gateway) -> None:
    """The official SDK, pointed at the gateway, receives a PNG of the size it asked for."""
    with openai.OpenAI(base_url=sandbox.v1, api_key="any") as client:
        answer = client.images.generate(model="gpt-image-2", prompt="A lighthouse", size="1536x1024")

    assert answer.data
    facts = inspect(base64.b64decode(answer.data[0].b64_json or ""))
    assert (facts.width, facts.height) == (1536, 1024)
    assert answer.size == "1536x1024"
