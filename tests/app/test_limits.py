"""Limits of the config file, as a caller meets them: refused in time, told in headers, and never paid."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.app.wire import GENERATE, Reply, post
from tests.gateway import Gateway, running

WISH: dict[str, Any] = {"model": "dall-e-3", "prompt": "a", "response_format": "url"}
CANVAS = {"model": "sandbox/canvas", "prompt": "a", "size": "64x64", "response_format": "url"}


@contextmanager
def limited(folder: Path, limits: str, where: str = "limits: {%s}") -> Iterator[Gateway]:
    """A sandbox gateway with these limits for every caller together, or where the template puts them."""
    with running(folder, {"PINHOLE_SANDBOX": "true"}, where % limits) as gateway:
        yield gateway


def ask(gateway: Gateway, document: dict[str, Any] = CANVAS, **headers: str) -> Reply:
    """One generation."""
    return post(gateway, document, GENERATE, **headers)


def test_requests_per_minute_refill_and_say_so(tmp_path: Path) -> None:
    """The one too many is 429 with retry-after and where the limit stands; the message says whose limit it is."""
    with limited(tmp_path, "requests_per_minute: 3") as gateway:
        answers = [ask(gateway) for _ in range(4)]
        refused = answers[-1]

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers[:3]] == ["2", "1", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"3"}
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert 40 <= int(refused.headers["x-ratelimit-reset-requests"]) <= 60
    assert (refused.error["code"], refused.error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
    assert "3 requests per minute" in refused.error["message"]
    assert len(gateway.ledger.entries) == 3


def test_images_per_minute_count_images(tmp_path: Path) -> None:
    """A request for several takes several; what is refused takes nothing."""
    with limited(tmp_path, "images_per_minute: 5") as gateway:
        first, second, third = (ask(gateway, {**CANVAS, "n": n}) for n in (3, 3, 2))

    assert [first.status, second.status, third.status] == [200, 429, 200]
    assert first.headers["x-ratelimit-remaining-images"] == "2"
    assert "x-ratelimit-remaining-requests" not in first.headers


def test_a_request_larger_than_the_whole_limit_is_400(tmp_path: Path) -> None:
    """Waiting would not help, so it is not called a rate limit; the message names the limit."""
    with limited(tmp_path, "images_per_minute: 2, concurrent_images: 9, megapixels_per_minute: 3") as gateway:
        images = ask(gateway, {**CANVAS, "n": 3})
        area = ask(gateway, {**CANVAS, "size": "2048x2048"})
        fits = ask(gateway)

    assert (images.status, images.error["code"], images.error["param"]) == (400, "limit_too_small", "n")
    assert "3 images, more than the gateway's whole limit of 2 (images_per_minute)" in images.error["message"]
    assert (area.status, area.error["param"]) == (400, "size")
    assert "megapixels_per_minute" in area.error["message"]
    assert fits.status == 200


def test_concurrent_images_are_refused_at_once(tmp_path: Path) -> None:
    """While one is made, the next is 429 with retry-after 1, and afterwards there is room again."""
    slow = {**CANVAS, "model": "sandbox/slow"}
    with limited(tmp_path, "concurrent_images: 1") as gateway:
        url = f"{gateway.v1}/images/generations"
        behind = threading.Thread(
            target=httpx2.post,
            args=(url,),
            kwargs={"json": slow, "headers": {"pinhole-deadline": "1"}, "timeout": 20},
        )
        behind.start()
        deadline = time.monotonic() + 5
        while not gateway.ledger.entries and time.monotonic() < deadline:
            time.sleep(0.01)
        refused = ask(gateway)
        behind.join()

    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert "1 images at once. Try again in 1 s." in refused.error["message"]


def test_a_day_has_a_budget(tmp_path: Path) -> None:
    """What is spent today is counted in money; over it is insufficient_quota, and a retry is not worth it."""
    with running(tmp_path / "free", {"PINHOLE_SANDBOX": "true"}) as gateway:
        price = post(gateway, WISH).json()["cost_usd"]
    with limited(tmp_path, f"usd_per_day: {price * 2.5:.6f}") as gateway:
        answers = [ask(gateway, WISH) for _ in range(3)]
        refused = answers[-1]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert float(answers[0].headers["pinhole-cost-usd"]) == price
    assert (refused.status, refused.error["code"], refused.error["type"]) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )
    assert f"{price * 2.5:g} USD a day" in refused.error["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert 1 <= int(refused.headers["retry-after"]) <= 86_400


def test_a_budget_forbids_what_has_no_price(tmp_path: Path) -> None:
    """What cannot be counted cannot be spent: 403 that says why."""
    config = (
        "limits: {usd_per_day: 1}\n"
        "providers: {e: {type: openai, base_url: http://127.0.0.1:1/v1, api_key: k, models: [unpriced]}}\n"
    )
    with running(tmp_path, {"PINHOLE_SANDBOX": "true"}, config) as gateway:
        answer = ask(gateway, {"model": "unpriced", "prompt": "a"})

    assert (answer.status, answer.error["code"]) == (403, "permission_denied")
    assert "no known price" in answer.error["message"]


KEYED = "keys: [{name: team, key: sk-a, limits: {%s}}, {name: other, key: sk-b}]"
MODEL = "models: {sandbox/canvas: {limits: {%s}}}"


def test_a_keys_limit_is_its_own(tmp_path: Path) -> None:
    """Another caller is not slowed down; the message names the key."""
    with limited(tmp_path, "requests_per_minute: 1", KEYED) as gateway:
        mine = [ask(gateway, api_key="sk-a") for _ in range(2)]
        others = [ask(gateway, api_key="sk-b") for _ in range(2)]

    assert [answer.status for answer in mine + others] == [200, 429, 200, 200]
    assert "caller 'team'" in mine[1].error["message"]
    assert not [name for name in others[0].headers if name.startswith("x-ratelimit")]


def test_a_models_limit_is_its_own(tmp_path: Path) -> None:
    """Another model is not slowed down."""
    with limited(tmp_path, "requests_per_minute: 1", MODEL) as gateway:
        statuses = [ask(gateway).status for _ in range(2)] + [ask(gateway, WISH).status]

    assert statuses == [200, 429, 200]


def test_end_users_of_a_key_have_limits_of_their_own(tmp_path: Path) -> None:
    """`safety_identifier` and `user` name whom `user_limits` are for."""
    config = "keys: [{name: team, key: sk-a, user_limits: {requests_per_minute: 1}}]"
    with running(tmp_path, {"PINHOLE_SANDBOX": "true"}, config) as gateway:
        asked: tuple[dict[str, str], ...] = (
            {"user": "ann"},
            {"user": "ann"},
            {"user": "bob"},
            {"safety_identifier": "ann"},
            {},
        )
        statuses = [ask(gateway, {**CANVAS, **user}, api_key="sk-a").status for user in asked]

    assert statuses == [200, 429, 200, 429, 200]


@pytest.mark.parametrize("change", [{"n": 0}, {"size": "1x1"}, {"model": "absent"}, {"wibble": 1}])
def test_what_is_refused_takes_nothing(tmp_path: Path, change: dict[str, Any]) -> None:
    """A request that breaks a rule is free."""
    with limited(tmp_path, "requests_per_minute: 1") as gateway:
        bad = [ask(gateway, {**CANVAS, **change}).status for _ in range(3)]
        good = ask(gateway)

    assert all(status in {400, 404} for status in bad)
    assert good.status == 200


def test_images_that_were_not_made_are_given_back(tmp_path: Path) -> None:
    """A failure at the provider costs no images of the limit."""
    with limited(tmp_path, "images_per_minute: 1") as gateway:
        failed = ask(gateway, {**CANVAS, "model": "sandbox/error"})
        made = ask(gateway)

    assert (failed.status, made.status) == (502, 200)


def test_no_limit_is_in_force_unless_configured(sandbox: Gateway) -> None:
    """Then there is no header either."""
    assert not [name for name in ask(sandbox).headers if name.startswith("x-ratelimit")]


def test_the_sdk_waits_as_it_is_told(tmp_path: Path) -> None:
    """The official SDK reads the answer as its RateLimitError."""
    with limited(tmp_path, "requests_per_minute: 1") as gateway:
        ask(gateway)
        client = openai.OpenAI(base_url=gateway.v1, api_key="k", max_retries=0)
        with client, pytest.raises(openai.RateLimitError) as caught:
            client.images.generate(model="sandbox/canvas", prompt="a", size="256x256")

    assert caught.value.code == "rate_limit_exceeded"
