"""`make live`: one cheap call per provider whose key is in the environment, and what differed from its row.

These cost money, a few cents in all, and never run otherwise.
"""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path

import openai
import pytest

from providers import discover
from providers.core.provider import Provider
from providers.kit.images import inspect
from tests.gateway import running

CHEAP = {
    "openai": ("gpt-image-2", {"quality": "low", "size": "1024x1024"}),
    "gemini": ("gemini-3.1-flash-lite-image", {"size": "1:1"}),
    "qwen": ("wan2.2-t2i-flash", {"size": "1024x1024"}),
    "minimax": ("image-01", {"size": "1:1"}),
    "cogview": ("cogview-3-flash", {"size": "1024x1024"}),
    "stability": ("stable-image-core", {"size": "1:1"}),
    "replicate": ("flux-schnell", {"size": "1:1"}),
}
VENDORS = [provider for provider in discover() if provider.access.credentials]


@pytest.mark.live
@pytest.mark.parametrize("provider", VENDORS, ids=lambda provider: provider.name)
def test_one_picture(provider: Provider, tmp_path: Path) -> None:
    """A real key gets a real picture; where it differs from the row, the difference is printed."""
    held = [credential.env for credential in provider.access.credentials if os.environ.get(credential.env)]
    if not held:
        pytest.skip(f"no {provider.access.credentials[0].env} in the environment")
    model, wish = CHEAP[provider.name]
    names = {*held, provider.access.base_url_env}
    environ = {name: os.environ[name] for name in names if os.environ.get(name)}
    with running(tmp_path, environ) as gateway, openai.OpenAI(base_url=gateway.v1, api_key="any") as client:
        raw = client.images.with_raw_response.generate(
            model=model,
            prompt="A small red kite in a clear sky",
            response_format="b64_json",
            extra_body=wish,
        )
    answer = raw.parse()
    assert answer.data
    facts = inspect(base64.b64decode(answer.data[0].b64_json or ""))
    spec = next(spec for spec in provider.models if spec.id == model)
    expected = spec.sizes.resolve(None)
    said = {
        "size": f"{facts.width}x{facts.height}, row: {expected.pixels if expected else None}",
        "format": f"{facts.format}, row: {' '.join(spec.output.formats)}",
        "cost": raw.headers.get("pinhole-cost-usd", "unknown"),
        "adjustments": raw.headers.get("pinhole-adjustments", "none"),
    }
    sys.stdout.write(f"{provider.name} {model}: {said}\n")
