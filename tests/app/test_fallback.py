"""Fallbacks follow what cannot have been billed, to models that can do the request as sent, and are reported."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from tests.gateway import running
from tests.matrix.vendors import VENDORS
from tests.upstreams.http import Reply

OPENAI = next(vendor for vendor in VENDORS if vendor.name == "openai")
MINIMAX = next(vendor for vendor in VENDORS if vendor.name == "minimax")
CONFIG = "fallbacks: {gpt-image-2: [gemini-3-pro-image, cogview-4, image-01]}\n"


@pytest.mark.parametrize(
    ("word", "status", "attempts"),
    [("RATELIMIT", 200, 1), ("FORBIDDEN", 400, 0), ("BOOM", 502, 0), ("", 200, 0)],
)
def test_only_what_cannot_have_been_billed_falls_back(tmp_path: Path, word: str, status: int, attempts: int) -> None:
    """A rate limit goes on to the next model that has a key; a refusal and a paid failure never do."""
    with OPENAI.make() as openai, MINIMAX.make() as minimax:
        # The other stand-in shares the trigger words, so the prompt's word is scripted for the first alone.
        environ = OPENAI.environ(openai) | MINIMAX.environ(minimax)
        with running(tmp_path, environ, CONFIG) as gateway:
            prompt = f"a kite {word}"
            if word == "RATELIMIT":
                limited = Reply.json(
                    429, {"error": {"message": "slow", "type": "rate_limit_error", "code": "slow_down"}}
                )
                openai.queue(*[limited] * 10)
                prompt = "a kite"
            body = {"model": "gpt-image-2", "prompt": prompt, "response_format": "url"}
            answer = httpx2.post(f"{gateway.v1}/images/generations", json=body, timeout=60)
            refused = httpx2.post(
                f"{gateway.v1}/images/generations", json=body, headers={"pinhole-fallback": "none"}, timeout=60
            )

    assert answer.status_code == status, answer.text
    assert len([e for e in minimax.exchanges if e.method == "POST"]) == attempts
    if word == "RATELIMIT":
        assert answer.headers["pinhole-model"] == "image-01"
        assert 'model;kind=mapped;from="gpt-image-2";to="image-01"' in answer.headers["pinhole-adjustments"]
        assert refused.status_code == 429


def test_a_target_that_cannot_do_the_request_is_passed_over(tmp_path: Path) -> None:
    """What a fallback lacks keeps the request from it, whatever the policy: the first error stands, and tells."""
    with OPENAI.make() as openai, MINIMAX.make() as minimax:
        environ = OPENAI.environ(openai) | MINIMAX.environ(minimax)
        with running(tmp_path, environ | {"OPENAI_API_KEY": "sk-bad-key"}, CONFIG) as gateway:
            body = {"model": "gpt-image-2", "prompt": "a kite", "size": "1008x1008", "background": "transparent"}
            answers = [
                httpx2.post(
                    f"{gateway.v1}/images/generations", json=body, headers={"pinhole-policy": policy}, timeout=60
                )
                for policy in ("strict", "lenient")
            ]

    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_auth_error")
        assert "'image-01' cannot do background as asked" in answer.json()["error"]["message"]
    assert minimax.exchanges == []


def test_the_target_that_serves_tells_which_ones_could_not(tmp_path: Path) -> None:
    """One member of Pinhole-Adjustments for each, with the first parameter that stood in its way."""
    chain = "fallbacks: {gpt-image-2: [cogview-3, image-01]}\n"
    with OPENAI.make() as openai, MINIMAX.make() as minimax:
        environ = OPENAI.environ(openai) | MINIMAX.environ(minimax) | {"ZAI_API_KEY": "sk-none"}
        with running(tmp_path, environ | {"OPENAI_API_KEY": "sk-bad-key"}, chain) as gateway:
            body = {"model": "gpt-image-2", "prompt": "a kite " * 150, "size": "1024x1024"}
            answer = httpx2.post(f"{gateway.v1}/images/generations", json=body, timeout=60)

    assert answer.headers["pinhole-model"] == "image-01"
    assert 'fallback;kind=dropped;from="cogview-3";to="prompt"' in answer.headers["pinhole-adjustments"]


LIMITED = (
    CONFIG
    + """
keys: [{name: team, key: sk-a, limits: {requests_per_minute: 5, images_per_minute: 5, concurrent_images: 1}}]
models:
  gpt-image-2: {limits: {images_per_minute: 3}}
  image-01: {limits: {images_per_minute: 1}}
"""
)


def test_a_request_is_counted_once_whichever_way_it_goes(tmp_path: Path) -> None:
    """One row, one request and one image of the caller; the failed model gets its image back, the other loses one."""
    busy = Reply.json(429, {"error": {"message": "slow", "type": "rate_limit_error", "code": "slow_down"}})
    body = {"model": "gpt-image-2", "prompt": "a kite", "response_format": "url"}
    with OPENAI.make() as openai, MINIMAX.make() as minimax:
        environ = OPENAI.environ(openai) | MINIMAX.environ(minimax)
        with running(tmp_path, environ, LIMITED) as gateway:
            url, key = f"{gateway.v1}/images/generations", {"authorization": "Bearer sk-a"}
            openai.queue(busy)
            first = httpx2.post(url, json=body, headers=key, timeout=60)
            openai.queue(busy)
            second = httpx2.post(url, json=body, headers=key, timeout=60)
            third = httpx2.post(url, json=body, headers=key, timeout=60)
            rows = gateway.ledger.entries

    assert [first.status_code, second.status_code, third.status_code] == [200, 429, 200]
    assert [row.model for row in rows] == ["image-01", "gpt-image-2", "gpt-image-2"]
    assert [(row.model_asked, row.images_delivered) for row in rows] == [
        ("gpt-image-2", 1),
        ("gpt-image-2", 0),
        ("gpt-image-2", 1),
    ]
    assert [row.state.value for row in rows] == ["delivered", "failed", "delivered"]
    assert first.headers["pinhole-attempts"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "4"
    assert third.headers["x-ratelimit-remaining-requests"] == "2"
    assert third.headers["x-ratelimit-remaining-images"] == "2"  # of the model's three


def test_a_target_whose_limit_is_reached_is_named(tmp_path: Path) -> None:
    """Both what another has used up and what the request alone is too large for."""
    busy = Reply.json(429, {"error": {"message": "slow", "type": "rate_limit_error", "code": "slow_down"}})
    body = {"model": "gpt-image-2", "prompt": "a kite"}
    with OPENAI.make() as openai, MINIMAX.make() as minimax:
        environ = OPENAI.environ(openai) | MINIMAX.environ(minimax)
        with running(tmp_path, environ, LIMITED.replace("concurrent_images: 1", "concurrent_images: 2")) as gateway:
            url, key = f"{gateway.v1}/images/generations", {"authorization": "Bearer sk-a"}
            httpx2.post(url, json=body | {"model": "image-01"}, headers=key, timeout=60)
            openai.queue(busy, busy)
            reached = httpx2.post(url, json=body, headers=key, timeout=60)
            too_large = httpx2.post(url, json=body | {"n": 2}, headers=key, timeout=60)

    for answer, why in ((reached, "is over its limit of 1 images per minute"), (too_large, "needs 2 images")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert "Fallbacks passed over: 'image-01' is beyond a limit (" in answer.json()["error"]["message"]
        assert why in answer.json()["error"]["message"]
