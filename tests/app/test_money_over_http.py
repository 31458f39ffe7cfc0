"""Limits, keys and accounts as callers and operators meet them, over real sockets and a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.gateway import Gateway, running
from tests.services import RedisServer

CONFIG = """
keys:
  - name: small
    key: sk-small
    models: ["sandbox/*"]
    limits: {requests_per_minute: 100, images_per_minute: 4, concurrent_images: 4}
  - {name: poor, key: sk-poor, limits: {usd_per_day: 0.01}}
"""
BODY = {"model": "sandbox/canvas", "prompt": "a boat", "size": "128x128"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with two limited callers and an admin."""
    environ = {"PINHOLE_SANDBOX": "true", "PINHOLE_ADMIN_KEY": "sk-admin"}
    with running(tmp_path_factory.mktemp("money"), environ, CONFIG) as found:
        yield found


def post(gateway: Gateway, body: Mapping[str, object], key: str) -> httpx2.Response:
    """One generation."""
    return httpx2.post(
        f"{gateway.v1}/images/generations", json=body, headers={"authorization": f"Bearer {key}"}, timeout=60
    )


def test_images_are_what_is_limited(gateway: Gateway) -> None:
    """Three images of four leave one; the next two are refused, saying which limit, whose, and when."""
    first = post(gateway, {**BODY, "n": 3}, "sk-small")
    refused = post(gateway, {**BODY, "n": 2}, "sk-small")
    error = refused.json()["error"]

    assert first.headers["x-ratelimit-remaining-images"] == "1"
    assert (refused.status_code, error["code"]) == (429, "rate_limit_exceeded")
    assert "small" in error["message"]
    assert "images per minute" in error["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-images"] == "1"
    assert refused.headers["ratelimit"].startswith('"requests";r=')


def test_more_than_the_whole_limit_is_a_400(gateway: Gateway) -> None:
    """A request that no waiting would let through says so."""
    answer = post(gateway, {**BODY, "n": 5}, "sk-small")

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "limit_too_small")


def test_a_budget_refuses_what_has_no_price(gateway: Gateway) -> None:
    """A caller with a budget may not call what nobody can price, nor what costs more than is left."""
    unknown = post(gateway, {"model": "gpt-image-2.6-sunburst", "prompt": "a boat"}, "sk-poor")
    dear = post(gateway, {"model": "gpt-image-2", "prompt": "a boat", "quality": "high"}, "sk-poor")

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (403, "permission_denied")
    assert (dear.status_code, dear.json()["error"]["code"]) == (429, "insufficient_quota")
    assert dear.headers["x-should-retry"] == "false"


def test_a_key_sees_and_calls_its_own_models(gateway: Gateway) -> None:
    """The patterns of a key bound the list and the calls."""
    listed = httpx2.get(f"{gateway.v1}/models", headers={"authorization": "Bearer sk-small"}).json()["data"]
    refused = post(gateway, {"model": "gpt-image-2", "prompt": "a boat"}, "sk-small")

    assert {row["owned_by"] for row in listed} == {"sandbox"}
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")


def test_the_admin_key_opens_admin_routes_alone(gateway: Gateway) -> None:
    """It makes keys and reads usage, and is refused as a caller; a caller is refused as admin."""
    admin = {"authorization": "Bearer sk-admin"}
    made = httpx2.post(f"{gateway.url}/admin/keys", json={"name": "fresh", "policy": "lenient"}, headers=admin).json()
    works = post(gateway, {**BODY, "foo": 1}, made["key"])
    ended = httpx2.delete(f"{gateway.url}/admin/keys/{made['id']}", headers=admin)
    time.sleep(1)
    after = post(gateway, BODY, made["key"])
    as_caller = post(gateway, BODY, "sk-admin")
    as_admin = httpx2.get(f"{gateway.url}/admin/usage", headers={"authorization": "Bearer sk-small"})
    wrong = httpx2.post(f"{gateway.url}/admin/keys", json={"name": "x", "color": "red"}, headers=admin)
    listed = httpx2.get(f"{gateway.url}/admin/keys", headers=admin).text

    assert works.status_code == 200
    assert "foo;kind=dropped" in works.headers["pinhole-adjustments"]
    assert ended.status_code == 200
    assert [after.status_code, as_caller.status_code, as_admin.status_code] == [401, 401, 401]
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "color")
    assert made["key"] not in listed


@pytest.mark.parametrize("name", ["", "n\0ul", "two\nlines", "x" * 101])
def test_a_key_has_a_name_that_can_be_shown(gateway: Gateway, name: str) -> None:
    """Whatever the database would say to it, such a name is a 400 that says what is wrong."""
    headers = {"authorization": "Bearer sk-admin"}
    answer = httpx2.post(f"{gateway.url}/admin/keys", json={"name": name}, headers=headers, timeout=60)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "name")


def test_usage_counts_what_was_delivered(gateway: Gateway) -> None:
    """Sums by model and in total, as JSON and CSV."""
    admin = {"authorization": "Bearer sk-admin"}
    found = httpx2.get(f"{gateway.url}/admin/usage?group_by=model", headers=admin).json()
    text = httpx2.get(f"{gateway.url}/admin/usage.csv", headers=admin).text
    wrong = httpx2.get(f"{gateway.url}/admin/usage?group_by=color", headers=admin)

    assert found["total"]["images"] == sum(row["images"] for row in found["data"]) > 0
    assert text.startswith("key,requests,images,")
    assert wrong.status_code == 400


def test_two_gateways_and_one_redis_admit_what_the_config_says(tmp_path: Path) -> None:
    """Replicas that share Redis grant together what one key may have."""
    server = RedisServer(tmp_path)
    server.start()
    config = "keys:\n  - {name: shared, key: sk-shared, limits: {images_per_minute: 20}}\n"
    environ = {"PINHOLE_SANDBOX": "true", "REDIS_URL": server.url}
    try:
        with (
            running(tmp_path / "a", environ, config) as one,
            running(tmp_path / "b", environ, config) as two,
            ThreadPoolExecutor(8) as pool,
        ):
            calls = [pool.submit(post, (one, two)[i % 2], BODY, "sk-shared") for i in range(40)]
            statuses = [call.result().status_code for call in calls]
    finally:
        server.stop()

    assert 20 <= statuses.count(200) <= 23
    assert set(statuses) == {200, 429}
