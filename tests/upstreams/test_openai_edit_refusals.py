"""What OpenAI's edit route does not take, as the official SDK sees it."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.upstreams.images import jpeg, mask_png, png
from tests.upstreams.openai import OpenAIStandIn

GPT = "gpt-image-2"


@pytest.fixture
def upstream() -> Iterator[OpenAIStandIn]:
    with OpenAIStandIn() as standin:
        yield standin


@pytest.fixture
def client(upstream: OpenAIStandIn) -> Iterator[OpenAI]:
    with OpenAI(api_key=upstream.key, base_url=upstream.base_url, max_retries=0, timeout=10) as made:
        yield made


def edit_refusal(client: OpenAI, **change: Any) -> tuple[str | None, str | None]:
    """Code and parameter of the refusal of an otherwise good edit."""
    given: dict[str, Any] = {"model": "gpt-image-1", "prompt": "a hat", "image": ("a.png", png(64, 64), "image/png")}
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.edit(**{**given, **change})
    return raised.value.code, raised.value.param


def test_refuses_inputs_by_their_content_type(client: OpenAI) -> None:
    """Bytes without a name travel as application/octet-stream, which OpenAI does not take."""
    assert edit_refusal(client, image=png(64, 64)) == ("unsupported_file_mimetype", "image")
    assert edit_refusal(client, image=[BytesIO(png(64, 64))]) == ("unsupported_file_mimetype", "image[0]")


def test_refuses_inputs_that_are_not_images_or_too_many(client: OpenAI) -> None:
    """An input must decode, and there are at most sixteen."""
    good = ("a.png", png(64, 64), "image/png")
    assert edit_refusal(client, image=("a.png", b"no", "image/png")) == ("invalid_image_file", "image")
    assert edit_refusal(client, image=[good] * 17) == ("array_above_max_length", "image")
    assert edit_refusal(client, image=[]) == ("missing_required_parameter", "image")


def test_refuses_masks_that_do_not_fit(client: OpenAI) -> None:
    """A mask is a PNG with alpha, as large as the first image and below 4 MB."""
    for mask in (png(64, 64), mask_png(32, 64), jpeg(64, 64), b"no"):
        assert edit_refusal(client, mask=("m.png", mask, "image/png")) == ("invalid_image_file", "mask")
    heavy = ("m.png", png(1200, 1200, "noise", alpha=0), "image/png")
    assert edit_refusal(client, mask=heavy) == ("file_too_large", "mask")


def test_refuses_fidelity_where_the_model_has_none(client: OpenAI) -> None:
    """input_fidelity has one refusal per family of models."""
    assert edit_refusal(client, model=GPT, input_fidelity="low") == ("invalid_input_fidelity_model", "input_fidelity")
    assert edit_refusal(client, model="gpt-image-1-mini", input_fidelity="high") == (
        "invalid_value",
        "input_fidelity",
    )
    assert edit_refusal(client, model="dall-e-2", input_fidelity="low") == ("unknown_parameter", "input_fidelity")
    assert edit_refusal(client, model="dall-e-3")[1] == "model"
