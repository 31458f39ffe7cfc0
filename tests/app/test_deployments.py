"""Several accounts and engines for one model, through a whole gateway: the others serve while one cannot."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.config import parse
from app.registry import Registry
from app.settings import SettingsError, load
from providers import discover
from providers.core.http import HTTPRequest
from providers.kit.deployment import wire
from tests.gateway import Gateway, running
from tests.upstreams.http import Exchange, Reply
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


class BehindBasic(OpenAIStandIn):
    """An engine without a key, behind a proxy that asks for a user and password."""

    def handle(self, exchange: Exchange) -> Reply:
        """As the proxy answers, or the engine."""
        if exchange.header("authorization") != f"Basic {b64encode('us er:p@ss/w:örd'.encode()).decode()}":
            return Reply.json(401, {"message": "who are you?"}, www_authenticate='Basic realm="gpu"')
        headers = [(name, value) for name, value in exchange.headers if name.lower() != "authorization"]
        return super().handle(replace(exchange, headers=(*headers, ("authorization", f"Bearer {self.key}"))))


def test_a_user_and_password_in_an_address_are_sent_as_basic(tmp_path: Path) -> None:
    """To that upstream alone, with every way of asking it; nobody is shown them, and the address stands without."""
    with BehindBasic() as upstream:
        place = upstream.base_url.replace("//", "//us%20er:p%40ss%2Fw:%C3%B6rd@")
        config = f"providers: {{gpu: {{type: openai, base_url: '{place}', models: [gpt-image-2]}}}}\n"
        with gateway(tmp_path, config) as found:
            plain, streamed = made(found), made(found, stream=True)
            url = f"{found.v1}/images/generations/explain"
            explained = httpx2.post(url, json=BODY, headers=CALLER, timeout=60).json()
            seen = standing(found)

    assert (plain.status_code, streamed.status_code) == (200, 200), plain.text
    assert "image_generation.completed" in streamed.text
    assert seen["gpu"]["address"] == upstream.url
    assert explained["calls"][0]["url"] == f"{upstream.base_url}/images/generations"
    assert explained["calls"][0]["headers"]["authorization"] == "Basic ***"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("http://user:pass@gpu/v1", "holds a user and password"),
        ("http://user:pa/ss@gpu/v1", "%2F"),
        ("http://user:1/ss@gpu/v1", "%2F"),
        ("http://user:1#ss@gpu/v1", "%2F"),
        ("http://gpu/v1?key=pass", "cannot be used"),
        ("http://:80/v1", "cannot be used"),
        ("http://g pu/v1", "cannot be used"),
        ("http://gpu:99999/v1", "cannot be used"),
        ("gpu:8000/v1", "must start with http"),
    ],
)
def test_an_address_that_cannot_be_used_stops_the_start(place: str, said: str) -> None:
    """The message names the variable or the entry and shows nothing of the address."""
    for environ, config, where in (
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": place}, "", "OPENAI_BASE_URL"),
        ({}, f"providers: {{gpu: {{type: openai, base_url: '{place}', api_key: k}}}}", "providers.gpu"),
        (
            {},
            f"providers: {{gpu: {{type: openai, credentials: [{{api_key: k, base_url: '{place}'}}]}}}}",
            "providers.gpu",
        ),
    ):
        with pytest.raises(SettingsError) as caught:
            Registry(discover(), load(environ), parse(config, {}))

        assert str(caught.value).startswith(where)
        assert said in str(caught.value)
        assert not any(part in str(caught.value) for part in ("user:", "ss@", "pass@", "key=", "gpu/v1"))


def test_a_key_in_another_header_goes_beside_a_user_and_password() -> None:
    """Gemini's key has a header of its own, so a proxy before it can be told who asks."""
    settings = load({"GEMINI_API_KEY": "sk-g", "GEMINI_BASE_URL": "https://me:secret@proxy.example/v1/"})
    (found,) = Registry(discover(), settings, parse("", {})).deployments
    request = wire(found[0], HTTPRequest(method="POST", url="/v1beta/models"))
    elsewhere = wire(found[0], HTTPRequest(method="GET", url="https://other.example/x"))

    assert request.url == "https://proxy.example/v1beta/models"
    assert (request.headers["authorization"], request.headers["x-goog-api-key"]) == ("Basic bWU6c2VjcmV0", "sk-g")
    assert not {"authorization", "x-goog-api-key"} & set(elsewhere.headers)
    assert "secret" not in repr(found)
    assert "bWU6" not in repr(found)


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
