"""Several accounts and engines for one model, through a whole gateway: the others serve while one cannot."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.config import parse
from app.registry import Registry
from app.settings import SettingsError, load
from providers import discover
from tests.gateway import Gateway, running
from tests.upstreams.http import Reply
from tests.upstreams.openai import OpenAIStandIn

DEAD = "http://127.0.0.1:9/v1"
BODY = {"model": "gpt-image-2", "prompt": "a kite", "size": "1024x1024"}
ADMIN = {"PINHOLE_ADMIN_KEY": "sk-admin", "PINHOLE_API_KEYS": "sk-caller"}
OPEN = {"authorization": "Bearer sk-admin"}
CALLER = {"authorization": "Bearer sk-caller"}


def engine(name: str, url: str, key: str = "sk-openai-test", more: str = "") -> str:
    """One entry of the config file."""
    return f"  {name}: {{type: openai, base_url: '{url}', api_key: {key}, models: [gpt-image-2]{more}}}\n"


@contextmanager
def gateway(folder: Path, config: str) -> Iterator[Gateway]:
    """A gateway with these providers."""
    with running(folder, ADMIN, config) as found:
        yield found


def made(found: Gateway, **fields: Any) -> httpx2.Response:
    """One request."""
    return httpx2.post(f"{found.v1}/images/generations", json=BODY | fields, headers=CALLER, timeout=60)


def standing(found: Gateway) -> dict[str, dict[str, Any]]:
    """What /admin/providers says, by name."""
    data = httpx2.get(f"{found.url}/admin/providers", headers=OPEN, timeout=10).json()["data"]
    return {one["name"]: one for one in data}


def test_a_dead_engine_costs_an_attempt_until_its_breaker_opens(tmp_path: Path) -> None:
    """Every request is served by the other one; after twenty failures nothing is sent to the dead one."""
    with OpenAIStandIn() as alive:
        config = "providers:\n" + engine("dead", DEAD) + engine("alive", alive.base_url)
        with gateway(tmp_path, config) as found:
            answers = [made(found) for _ in range(43)]
            rows = found.ledger.entries
            seen = standing(found)
            ready = httpx2.get(f"{found.url}/readyz", timeout=10)

    assert {answer.status_code for answer in answers} == {200}
    attempts = [int(answer.headers["pinhole-attempts"]) for answer in answers]
    assert attempts.count(2) == 20
    assert set(attempts[-3:]) == {1}
    assert [row.attempts for row in rows] == attempts
    assert alive.paid == 43
    assert (seen["dead"]["state"], seen["dead"]["last_error"]) == ("open", "UpstreamUnreachable")
    assert seen["dead"]["recent"] == {"succeeded": 0, "failed": 20, "seconds": 30}
    assert (seen["alive"]["state"], seen["alive"]["recent"]["succeeded"]) == ("closed", 43)
    assert (ready.status_code, ready.json()["deployments"]["open"]) == (200, 1)


def test_all_engines_open_is_503_with_a_time(tmp_path: Path) -> None:
    """At once, with nothing sent, and told as what cannot have been billed."""
    with gateway(tmp_path, "providers:\n" + engine("one", DEAD) + engine("two", DEAD.replace("9", "10"))) as found:
        with ThreadPoolExecutor(25) as many:
            status = [*many.map(lambda _: made(found).status_code, range(25))]
        answer = made(found)

    assert set(status) <= {502, 503}
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "service_unavailable")
    assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert answer.headers["pinhole-attempts"] == "0"
    assert "x-should-retry" not in answer.headers


def test_an_open_model_falls_back(tmp_path: Path) -> None:
    """A breaker is a reason for another model like any failure that cost nothing."""
    with OpenAIStandIn() as alive:
        other = engine("alive", alive.base_url).replace("gpt-image-2", "gpt-image-1.5")
        config = "providers:\n" + engine("dead", DEAD) + other + "fallbacks: {gpt-image-2: [gpt-image-1.5]}\n"
        with gateway(tmp_path, config) as found:
            answers = [made(found) for _ in range(23)]

    assert {answer.status_code for answer in answers} == {200}
    assert [answer.headers["pinhole-attempts"] for answer in answers] == ["2"] * 20 + ["1"] * 3


def test_a_rate_limit_moves_the_traffic(tmp_path: Path) -> None:
    """The request is served by the other account, and so is every one for as long as `retry-after` says."""
    busy = Reply.json(429, {"error": {"message": "slow", "type": "rate_limit_error"}}, retry_after="30")
    with OpenAIStandIn() as one, OpenAIStandIn() as two:
        config = "providers:\n" + engine("one", one.base_url, more=", weight: 100") + engine("two", two.base_url)
        with gateway(tmp_path, config) as found:
            one.queue(busy)
            answers = [made(found) for _ in range(6)]
            seen = standing(found)

    assert [answer.headers["pinhole-attempts"] for answer in answers] == ["2", *["1"] * 5]
    assert (len(one.exchanges), len(two.exchanges), one.paid) == (1, 6, 0)
    assert 20 < seen["one"]["cooling_seconds"] <= 30
    assert seen["one"]["cooling_models"] == ["gpt-image-2"]


def test_a_bad_key_among_two_is_left_out(tmp_path: Path) -> None:
    """The other credential serves; the bad one is asked once, and nothing of either is shown."""
    with OpenAIStandIn() as upstream:
        config = (
            f"providers:\n  openai: {{type: openai, base_url: '{upstream.base_url}', "
            "credentials: [{api_key: sk-wrong-key-1}, {api_key: sk-openai-test}]}\n"
        )
        with gateway(tmp_path, config) as found:
            answers = [made(found) for _ in range(6)]
            text = httpx2.get(f"{found.url}/admin/providers", headers=OPEN, timeout=10).text
            seen = standing(found)

    assert [answer.status_code for answer in answers] == [200] * 6
    keys = [exchange.header("authorization") for exchange in upstream.exchanges]
    assert (keys.count("Bearer sk-wrong-key-1"), keys.count("Bearer sk-openai-test")) == (1, 6)
    assert seen["openai"]["refused"]
    assert not seen["openai/2"]["refused"]
    assert seen["openai"]["address"] == upstream.url
    assert seen["openai"]["models"] > 1
    assert "sk-wrong" not in text
    assert "sk-openai" not in text


def test_weights_are_shares(tmp_path: Path) -> None:
    """Three to one, request after request."""
    with OpenAIStandIn() as one, OpenAIStandIn() as two:
        config = "providers:\n" + engine("one", one.base_url, more=", weight: 3") + engine("two", two.base_url)
        with gateway(tmp_path, config) as found:
            for _ in range(20):
                made(found)

    assert (one.paid, two.paid) == (15, 5)


def test_a_name_with_its_provider_forces_that_one(tmp_path: Path) -> None:
    """`two/gpt-image-2` goes nowhere else, and nothing is to be reported."""
    with OpenAIStandIn() as one, OpenAIStandIn() as two:
        config = "providers:\n" + engine("one", one.base_url) + engine("two", two.base_url)
        with gateway(tmp_path, config) as found:
            answers = [made(found, model="two/gpt-image-2") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200] * 4
    assert "model" not in answers[0].headers.get("pinhole-adjustments", "")
    assert (len(one.exchanges), len(two.exchanges)) == (0, 4)


def test_the_admin_key_alone_opens_it(tmp_path: Path) -> None:
    """A caller's key does not."""
    with gateway(tmp_path, "providers:\n" + engine("one", DEAD)) as found:
        assert httpx2.get(f"{found.url}/admin/providers", headers=CALLER, timeout=10).status_code in {401, 403}


def test_changes_are_metrics(tmp_path: Path) -> None:
    """The breaker, what is in flight and cool-downs, each under the deployment's name."""
    with gateway(tmp_path, "providers:\n" + engine("dead", DEAD)) as found:
        with ThreadPoolExecutor(20) as many:
            list(many.map(lambda _: made(found), range(20)))
        text = httpx2.get(f"{found.url}/metrics", headers=OPEN, timeout=10).text

    assert 'pinhole_deployment_breaker{deployment="dead"} 1.0' in text
    assert 'pinhole_deployment_in_flight{deployment="dead"} 0.0' in text
    assert 'pinhole_deployment_changes_total{change="opened",deployment="dead"} 1.0' in text


def registry(config: str) -> Registry:
    """A registry of every provider with this config."""
    env: dict[str, str] = {}
    return Registry(discover(), load(env), parse(config, env))


def test_engines_of_two_types_cannot_share_a_model() -> None:
    """One row is spoken by one adapter; the message names both entries."""
    config = "providers:\n" + engine("one", DEAD) + "  two: {type: gemini, api_key: k, models: [gpt-image-2]}\n"
    with pytest.raises(SettingsError, match=r"providers\.two\.models: 'gpt-image-2' is served by 'one'"):
        registry(config)


def test_weights_multiply_and_names_count() -> None:
    """An entry's weight is that of each of its credentials; they are named after it."""
    config = (
        "providers:\n  eu: {type: openai, api_key: k0, weight: 2, models: [m],"
        " credentials: [{api_key: k1, weight: 3}, {api_key: k2, base_url: 'https://other.example/v1'}]}\n"
    )
    found = [(one.label, one.weight, one.key, one.address) for one, _ in registry(config).deployments]

    assert found == [
        ("eu", 2, "k0", "https://api.openai.com"),
        ("eu/2", 6, "k1", "https://api.openai.com"),
        ("eu/3", 2, "k2", "https://other.example"),
    ]
