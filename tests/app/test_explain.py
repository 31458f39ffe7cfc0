"""The dry run: what would be sent and what it would cost, without a secret, without a picture, without a cent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from providers import discover
from providers.core.types import Operation
from tests.app.wire import EDIT, GENERATE, Piece, data_url, edit, post
from tests.gateway import Gateway, running
from tests.upstreams.images import mask_png, png

ROWS = [spec for provider in discover() for spec in provider.models]
SECRET = "sk-very-secret-0123456789"
VENDORS = ("OPENAI", "GEMINI", "DASHSCOPE", "MINIMAX", "ZAI", "STABILITY")
KEYS = (*(f"{vendor}_API_KEY" for vendor in VENDORS), "REPLICATE_API_TOKEN")
LARGEST = 20_000


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with every credential, whose upstreams nobody listens at, and one request a minute."""
    origins = {f"{name.partition('_')[0]}_BASE_URL": "http://127.0.0.1:1" for name in KEYS}
    environ = dict.fromkeys(KEYS, SECRET) | origins
    config = "limits: {requests_per_minute: 1, usd_per_day: 1000}"
    with running(tmp_path_factory.mktemp("keyed"), environ, config) as gateway:
        yield gateway


def prompt_of(limit: int) -> str:
    """As long as the row allows, in letters that JSON and UTF-8 make longer."""
    return '"é' * (limit // 4)


@pytest.mark.parametrize("spec", ROWS, ids=lambda spec: spec.id)
def test_every_model_explains_itself(keyed: Gateway, spec: Any) -> None:
    """Under 20 kB with method, URL, headers and body of each call; the credential and the pictures are elided."""
    document = {"model": spec.id, "prompt": prompt_of(spec.prompt.max), "n": spec.n.per_request}
    document |= dict.fromkeys(spec.required, prompt_of(10_000))
    path = f"{GENERATE}/explain"
    if Operation.GENERATE not in spec.operations:
        path = f"{EDIT}/explain"
        document["images"] = [{"image_url": data_url(png(1024, 1024, "noise", alpha=100))}]
    answer = post(keyed, document, path)
    found = answer.json()

    assert answer.status == 200, found
    assert len(answer.body) < LARGEST
    assert SECRET not in answer.body.decode()
    assert set(found) == {"model", "provider", "adjustments", "calls", "cost_usd"}
    assert (found["model"], found["provider"]) == (spec.id, spec.provider)
    for call in found["calls"]:
        assert set(call) == {"method", "url", "headers", "body"}
        assert call["url"].startswith(("http://", "sandbox:"))


@pytest.mark.parametrize("model", ["gpt-image-2", "gemini-3-pro-image", "qwen-image-edit", "stable-image-ultra"])
def test_an_edit_shows_no_picture(keyed: Gateway, model: str) -> None:
    """Images and masks stand there as their sizes, in forms and in JSON."""
    picture = png(768, 768, "noise")
    for answer in (
        edit(keyed, picture, model=model),
        post(keyed, {"model": model, "prompt": "a", "images": [{"image_url": data_url(picture)}]}, f"{EDIT}/explain"),
    ):
        text = answer.body.decode()
        assert answer.status == 200, text
        assert len(text) < LARGEST
        assert not re.search(r"[A-Za-z0-9+/]{100,}", text)
        assert f"{len(picture)} bytes" in text


def test_a_mask_is_shown_as_its_size_too(keyed: Gateway) -> None:
    """A form's parts are listed by name, with the types of its files."""
    mask = Piece("mask", mask_png(768, 768, (0, 0, 99, 99)), "m.png")
    (call,) = edit(keyed, png(768, 768), mask).json()["calls"]
    parts = {part["name"]: part for part in call["body"]}

    assert call["headers"]["content-type"] == "multipart/form-data"
    assert parts["mask"]["type"] == "image/png"
    assert parts["mask"]["value"].endswith(" bytes>")
    assert parts["prompt"]["value"] == "a red hat"


def test_the_credential_is_masked_in_its_header(keyed: Gateway) -> None:
    """One sees how it would be shown to the provider, and where, but not the key."""
    (openai,) = post(keyed, {"model": "gpt-image-2", "prompt": "a"}).json()["calls"]
    (gemini,) = post(keyed, {"model": "gemini-3-pro-image", "prompt": "a"}).json()["calls"]

    assert (openai["method"], openai["headers"]["authorization"]) == ("POST", "Bearer ***")
    assert openai["url"] == "http://127.0.0.1:1/images/generations"
    assert gemini["headers"]["x-goog-api-key"] == "***"
    assert "key=" not in gemini["url"]


def test_a_dry_run_costs_nothing(keyed: Gateway) -> None:
    """No limit is taken, no row is written and no connection made, however often one asks."""
    answers = [post(keyed, {"model": "gpt-image-2", "prompt": "a", "n": 10}) for _ in range(5)]

    assert [answer.status for answer in answers] == [200] * 5
    assert not keyed.ledger.entries
    assert not [name for name in answers[0].headers if name.startswith("x-ratelimit")]


def test_the_price_is_that_of_the_wish(keyed: Gateway) -> None:
    """Dollars for all images together; null where nobody knows."""
    one, four = (
        post(keyed, {"model": "gpt-image-2", "prompt": "a", "n": n, "quality": "low", "size": "1024x1024"}).json()
        for n in (1, 4)
    )

    assert one["cost_usd"] > 0
    assert four["cost_usd"] == pytest.approx(4 * one["cost_usd"])


def test_adjustments_are_those_of_the_real_request(sandbox: Gateway) -> None:
    """What explain says and what the answer's header says agree."""
    wish = {"model": "dall-e-3", "prompt": "a", "size": "512x512", "quality": "high"}
    said = post(sandbox, wish, pinhole_policy="lenient").json()["adjustments"]
    done = post(sandbox, wish, GENERATE, pinhole_policy="lenient").headers["pinhole-adjustments"]

    assert [f'{found["param"]};kind={found["kind"]};from="{found["from"]}";to="{found["to"]}"' for found in said] == (
        done.split(", ")
    )


def test_a_fan_out_shows_its_calls(sandbox: Gateway) -> None:
    """Each call of several, with its own seed."""
    alone = next(
        spec
        for spec in ROWS
        if "seed" in spec.options and spec.n.per_call == 1 and spec.n.per_request > 2 and spec.provider == "qwen"
    )
    found = post(sandbox, {"model": alone.id, "prompt": "a", "n": 3, "seed": 5}).json()

    assert re.findall(r'"seed": (\d+)', json.dumps(found["calls"])) == ["5", "6", "7"]


def test_explain_refuses_what_the_real_route_refuses(sandbox: Gateway) -> None:
    """The same error, word for word."""
    wish = {"model": "gpt-image-2", "prompt": "a", "size": "1x1", "n": 99}

    assert post(sandbox, wish).error == post(sandbox, wish, GENERATE).error


def test_nothing_makes_it_long(sandbox: Gateway) -> None:
    """As many unknown fields as a request may have, of long names, and a prompt of letters that JSON makes longer."""
    strange = {f"x{i:02}{'x' * 61}": 1 for i in range(96)} | {'a"\n' * 9000: 1}
    wish = {"model": "gpt-image-2", "prompt": "\x01" * 32_000, **strange}
    answer = post(sandbox, wish, pinhole_policy="lenient")

    assert answer.status == 200
    assert len(answer.body) < LARGEST
    assert [each["param"] for each in answer.json()["adjustments"]] == [*[*strange][:-1], "unknown"]


@pytest.mark.parametrize("policy", ["strict", "lenient"])
def test_a_request_has_at_most_a_hundred_fields(sandbox: Gateway, policy: str) -> None:
    """More are no wish: 400 in a few words, whatever the policy."""
    answer = post(sandbox, {"prompt": "a"} | {f"f{i}": 1 for i in range(100)}, pinhole_policy=policy)

    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, "body", "too_many_fields")


def test_a_base_url_with_a_password_is_not_shown(tmp_path: Path) -> None:
    """Whatever stands before the host of an operator's URL is a secret."""
    environ = {"PINHOLE_SANDBOX": "true", "OPENAI_BASE_URL": "http://user:hidden-word@127.0.0.1:1/v1"}
    with running(tmp_path, environ) as gateway:
        answer = post(gateway, {"model": "gpt-image-2", "prompt": "a"})

    assert answer.status == 200
    assert "hidden-word" not in json.dumps(answer.json())
