"""The official openai package, current: each of its error classes, with what it exposes."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest

from tests.compat.looking import PHOTO
from tests.gateway import Gateway

bad: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "gpt-image-1", "size": "512x512"}, "size", "invalid_value"),
    ({"model": "dall-e-2", "size": "1792x1024"}, "size", "invalid_value"),
    ({"model": "dall-e-3", "n": 2}, "n", "integer_above_max_value"),
    ({"model": "gpt-image-1.5", "n": 11}, "n", "integer_above_max_value"),
    ({"model": "gpt-image-2", "quality": "gigantic"}, "quality", "invalid_value"),
    ({"model": "gpt-image-2", "n": "two"}, "n", "invalid_type"),
    ({"model": "gpt-image-2", "extra_body": {"colour": "red"}}, "colour", "unknown_parameter"),
    ({"model": "gpt-image-2", "output_format": "gif"}, "output_format", "invalid_value"),
    ({"model": "wanx-v1", "prompt": "x" * 801}, "prompt", "string_above_max_length"),
]


@pytest.mark.parametrize(("change", "param", "code"), bad)
def test_a_bad_request(client: openai.OpenAI, change: dict[str, Any], param: str, code: str) -> None:
    """400 names the parameter and the code, and the message says both the value and what to do."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(**{"prompt": "A boat", **change})

    error = caught.value
    assert (error.status_code, error.type, error.param) == (400, "invalid_request_error", param)
    assert error.code == code
    assert param in error.message
    assert error.request_id


def test_a_bad_edit(client: openai.OpenAI) -> None:
    """An image that is none is named, on multipart as well."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(model="dall-e-2", prompt="A hat", image=b"no image at all")
    assert (caught.value.param, caught.value.code) == ("image", "invalid_image_file")
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(model="dall-e-2", prompt="A hat", image=PHOTO, mask=PHOTO)
    assert (caught.value.param, caught.value.code) == ("mask", "invalid_mask")


def test_a_refusal(client: openai.OpenAI) -> None:
    """Moderation is 400 with OpenAI's type and code, from every provider."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model="sandbox/refuse", prompt="A boat")

    assert (caught.value.type, caught.value.code) == ("image_generation_user_error", "moderation_blocked")


@pytest.mark.parametrize("key", ["sk-wrong", "sk-team-a2"])
def test_a_wrong_key(keyed: Gateway, key: str) -> None:
    """401 invalid_api_key, for images and for the list of models; the message does not repeat the key."""
    with (
        openai.OpenAI(base_url=keyed.v1, api_key=key, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.images.generate(model="sandbox/canvas", prompt="A boat")
    with (
        openai.OpenAI(base_url=keyed.v1, api_key=key, max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()

    assert caught.value.code == "invalid_api_key"
    assert key not in caught.value.message


def test_no_key_at_all(keyed: Gateway) -> None:
    """Without any key header the answer is 401 too."""
    with (
        openai.OpenAI(base_url=keyed.v1, api_key="x", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.models.list(extra_headers={"Authorization": openai.Omit()})

    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize("header", ["api-key", "x-api-key"])
def test_a_key_in_another_header(keyed: Gateway, header: str) -> None:
    """`api-key` and `x-api-key` are as good as a bearer."""
    headers: dict[str, str | openai.Omit] = {"Authorization": openai.Omit(), header: "sk-team-a"}
    with openai.OpenAI(base_url=keyed.v1, api_key="x", max_retries=0) as client:
        answer = client.images.generate(model="sandbox/canvas", prompt="A boat", size="64x64", extra_headers=headers)

    assert answer.data


def test_the_azure_client_shows_its_key(keyed: Gateway) -> None:
    """The Azure class sends `api-key` and ?api-version=; the list then holds what this key may call."""
    with openai.AzureOpenAI(
        base_url=keyed.v1, api_key="sk-team-a", api_version="2026-10-01-preview", max_retries=0
    ) as client:
        listed = [model.id for model in client.models.list()]

    assert {name.partition("/")[0] for name in listed} == {"sandbox"}


def test_a_model_the_key_may_not_call(keyed: Gateway) -> None:
    """403 permission_denied names the model."""
    with (
        openai.OpenAI(base_url=keyed.v1, api_key="sk-team-a", max_retries=0) as client,
        pytest.raises(openai.PermissionDeniedError) as caught,
    ):
        client.images.generate(model="gpt-image-2", prompt="A boat")

    assert (caught.value.code, caught.value.param) == ("permission_denied", "model")


def test_an_unknown_model(client: openai.OpenAI) -> None:
    """404 model_not_found, when it is called and when it is looked up."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.images.generate(model="no-such-model", prompt="A boat")
    with pytest.raises(openai.NotFoundError) as looked:
        client.models.retrieve("nobody/no such")

    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert looked.value.code == "model_not_found"


def test_a_route_that_is_not_there(client: openai.OpenAI) -> None:
    """Variations, which no provider has any more, are a 404 in the envelope."""
    with pytest.warns(DeprecationWarning, match="deprecated"), pytest.raises(openai.NotFoundError) as caught:
        client.images.create_variation(image=PHOTO)

    assert caught.value.type == "invalid_request_error"


def test_a_provider_that_says_too_fast(client: openai.OpenAI) -> None:
    """An upstream's 429 is 429 with its waiting time in whole seconds."""
    with pytest.raises(openai.RateLimitError) as caught:
        client.images.generate(model="sandbox/rate-limited", prompt="A boat")

    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "7"
    assert int(caught.value.response.headers["pinhole-attempts"]) >= 1


def test_a_callers_own_limit(keyed: Gateway) -> None:
    """A key's limit is told on success and is 429 with a waiting time beyond it."""
    with openai.OpenAI(base_url=keyed.v1, api_key="sk-team-b", max_retries=0) as client:
        first = client.images.with_raw_response.generate(model="sandbox/canvas", prompt="A boat", size="64x64")
        with pytest.raises(openai.RateLimitError) as caught:
            client.images.generate(model="sandbox/canvas", prompt="A boat", size="64x64")

    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert caught.value.code == "rate_limit_exceeded"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60


def test_a_broken_provider(client: openai.OpenAI) -> None:
    """An upstream's failure is 502 with a code that is not the gateway's own."""
    with pytest.raises(openai.InternalServerError) as caught:
        client.images.generate(model="sandbox/error", prompt="A boat")

    assert (caught.value.status_code, caught.value.type, caught.value.code) == (
        502,
        "upstream_error",
        "upstream_error",
    )


def test_the_sdks_own_retries_end(sandbox: Gateway) -> None:
    """An SDK that retries a failing model ends in the same error, and the repeat was a request of its own."""
    with (
        openai.OpenAI(base_url=sandbox.v1, api_key="any", max_retries=1) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.images.generate(model="sandbox/error", prompt="Again")

    assert caught.value.response.request.headers["x-stainless-retry-count"] == "1"


def test_a_body_that_is_too_large(client: openai.OpenAI) -> None:
    """A generation's body over one mebibyte is 413, which the SDK shows as a plain status error."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.generate(model="sandbox/canvas", prompt="x" * 2**20)

    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")


def test_a_caller_who_does_not_wait(sandbox: Gateway) -> None:
    """The deadline ends before the SDK's own read timeout, so the caller gets a 504 with a name."""
    patience = httpx2.Timeout(3.0)
    with (
        openai.OpenAI(base_url=sandbox.v1, api_key="any", max_retries=0, timeout=patience) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.images.generate(model="sandbox/slow", prompt="A boat", size="64x64")

    assert (caught.value.status_code, caught.value.code) == (504, "upstream_timeout")
