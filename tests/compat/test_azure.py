"""The official openai package's class for Azure: the model stands in the path, the key in a header of its own."""

from __future__ import annotations

from pathlib import Path

import httpx2
import openai
import pytest

from tests.compat.looking import MASK, PHOTO, decoded, seen
from tests.gateway import Gateway


def client(gateway: Gateway, key: str = "any") -> openai.AzureOpenAI:
    """As applications make it."""
    return openai.AzureOpenAI(azure_endpoint=gateway.url, api_key=key, api_version="2026-04-01", max_retries=0)


@pytest.mark.parametrize("model", ["gpt-image-2", "openai/gpt-image-2", "sandbox/canvas"])
def test_both_routes_work(sandbox: Gateway, model: str) -> None:
    """Generations, edits and streams are the same as under /v1, whatever api-version says."""
    with client(sandbox) as azure:
        made = azure.images.generate(model=model, prompt="A boat", response_format="b64_json")
        edited = azure.images.edit(model=model, prompt="A hat", image=PHOTO, mask=MASK, response_format="b64_json")
        stream = list(azure.images.generate(model=model, prompt="A boat", stream=True, partial_images=1))

    for answer in (made, edited):
        assert answer.data
        assert seen(decoded(answer.data[0].b64_json)).width
    assert stream[-1].type == "image_generation.completed"


def test_the_path_names_the_model(sandbox: Gateway) -> None:
    """A body need not name it; a deployment that is none is an unknown model."""
    path = f"{sandbox.url}/openai/deployments/{{}}/images/generations?api-version=x"
    made = httpx2.post(path.format("sandbox/canvas"), json={"prompt": "a", "size": "64x64"}, timeout=30)
    lost = httpx2.post(path.format("my-deployment"), json={"prompt": "a"}, timeout=30)

    assert (made.status_code, made.headers["pinhole-model"]) == (200, "sandbox/canvas")
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, "model_not_found")


def test_its_key_is_asked_for(keyed: Gateway, tmp_path: Path) -> None:
    """The `api-key` header is the caller's key."""
    with client(keyed, "sk-team-a") as azure:
        assert azure.images.generate(model="sandbox/canvas", prompt="A boat", size="256x256").data
    with client(keyed, "sk-wrong") as azure, pytest.raises(openai.AuthenticationError):
        azure.images.generate(model="sandbox/canvas", prompt="A boat")
