"""What /metrics counts, asserted against what a caller and an upstream really did."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.ledger.database import engine, upgrade
from app.ledger.protocol import Entry
from app.ledger.rows import opened
from app.ledger.sql import SQLLedger
from app.settings import load
from app.telemetry import Telemetry
from app.telemetry.metrics import Metrics
from providers.kit.clock import SystemClock
from tests.gateway import Gateway, running
from tests.services import RedisServer
from tests.upstreams.http import Reply
from tests.upstreams.openai import OpenAIStandIn

CONFIG = """
fallbacks: {gpt-image-2: [sandbox/canvas]}
keys:
  - {name: many, key: sk-many, limits: {concurrent_images: 8}}
  - {name: few, key: sk-few, limits: {images_per_minute: 1}}
"""
WISH = {"model": "gpt-image-2", "prompt": "a kite", "size": "1024x1024"}
SLOW_DOWN = {"error": {"message": "slow", "type": "rate_limit_error", "code": "slow_down"}}


@pytest.fixture
def upstream() -> Iterator[OpenAIStandIn]:
    """OpenAI's stand-in."""
    with OpenAIStandIn() as standin:
        yield standin


@pytest.fixture
def gateway(tmp_path: Path, upstream: OpenAIStandIn) -> Iterator[Gateway]:
    """A gateway with two callers before the stand-in."""
    environ = {"OPENAI_API_KEY": upstream.key, "OPENAI_BASE_URL": upstream.base_url}
    with running(tmp_path, environ, CONFIG) as found:
        yield found


def read(gateway: Gateway) -> dict[str, float]:
    """Every series by its name and its labels' values, in the order of the labels' names."""
    text = httpx2.get(f"{gateway.url}/metrics").text
    return {
        f"{sample.name}{{{','.join(sample.labels[name] for name in sorted(sample.labels))}}}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def until(gateway: Gateway, true: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """The series as soon as this is true of them; after ten seconds as they are."""
    end = time.monotonic() + 10
    while not true(found := read(gateway)) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def post(gateway: Gateway, key: str = "sk-many", **more: Any) -> httpx2.Response:
    """One generation; names that begin with a capital are headers."""
    headers = {name.replace("_", "-"): value for name, value in more.items() if name[0].isupper()}
    body = WISH | {name: value for name, value in more.items() if not name[0].isupper()}
    headers["Authorization"] = f"Bearer {key}"
    return httpx2.post(f"{gateway.v1}/images/generations", json=body, headers=headers, timeout=60)


def test_a_delivered_request_is_counted_once_everywhere(gateway: Gateway) -> None:
    """Request, images, dollars, attempt and both durations, the whole no shorter than the upstream's part."""
    answer = post(gateway, n=2, quality="low")
    found = until(gateway, lambda seen: "pinhole_request_seconds_count{generations}" in seen)

    assert answer.status_code == 200, answer.text
    assert found["pinhole_requests_total{gpt-image-2,openai,delivered}"] == 1
    assert found["pinhole_images_total{gpt-image-2,openai}"] == 2
    assert found["pinhole_cost_usd_total{openai}"] == pytest.approx(float(answer.headers["pinhole-cost-usd"]))
    assert found["pinhole_upstream_attempts_total{ok,openai}"] == 1
    assert found["pinhole_upstream_seconds_count{openai}"] == 1
    assert found["pinhole_request_seconds_count{generations}"] == 1
    assert 0 < found["pinhole_upstream_seconds_sum{openai}"] <= found["pinhole_request_seconds_sum{generations}"]
    assert found["pinhole_limiter_decisions_total{allowed}"] == 1
    assert found["pinhole_http_answers_total{generations,200}"] == 1


def test_what_is_at_work_moves_up_and_down(gateway: Gateway, upstream: OpenAIStandIn) -> None:
    """In-flight requests and held leases show while the upstream thinks, and are gone after."""
    upstream.pause()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(post, gateway, n=3)
        during = until(gateway, lambda seen: seen.get("pinhole_in_flight{openai}") == 1)
        upstream.resume()
        assert waiting.result().status_code == 200
    after = until(gateway, lambda seen: seen["pinhole_in_flight{openai}"] == 0)

    assert during["pinhole_in_flight{openai}"] == 1
    assert during["pinhole_leases{caller}"] == 3
    assert after["pinhole_in_flight{openai}"] == after["pinhole_leases{caller}"] == 0


def test_each_try_and_each_handing_on_is_counted(gateway: Gateway, upstream: OpenAIStandIn) -> None:
    """A 429 with nowhere else to go is retried; with a fallback it is handed on at once."""
    upstream.queue(Reply.json(429, SLOW_DOWN, retry_after="0"))
    retried = post(gateway, Pinhole_Fallback="none")
    upstream.queue(Reply.json(429, SLOW_DOWN, retry_after="0"))
    handed_on = post(gateway, size="1024x1024", prompt="another kite")
    found = read(gateway)

    assert (retried.status_code, handed_on.status_code) == (200, 200), handed_on.text
    assert found["pinhole_upstream_attempts_total{UpstreamRateLimited,openai}"] == 2
    assert found["pinhole_upstream_attempts_total{ok,openai}"] == 1
    assert found["pinhole_upstream_retries_total{openai}"] == 1
    assert found["pinhole_fallbacks_total{sandbox/canvas,gpt-image-2}"] == 1
    assert found["pinhole_upstream_attempts_total{ok,sandbox}"] == 1


def test_a_failure_that_may_cost_is_unknown(gateway: Gateway, upstream: OpenAIStandIn) -> None:
    """Half an answer counts as unknown, and its attempt under the error's class."""
    upstream.queue(Reply(status=200, body=b'{"data": [', headers=(("content-type", "application/json"),)))
    assert post(gateway).status_code == 502
    found = read(gateway)

    assert found["pinhole_requests_total{gpt-image-2,openai,unknown}"] == 1
    assert found["pinhole_upstream_attempts_total{UpstreamError,openai}"] == 1
    assert "pinhole_images_total{gpt-image-2,openai}" not in found


def test_a_refusal_names_scope_and_unit(gateway: Gateway) -> None:
    """The second image of a caller who may have one a minute."""
    assert [post(gateway, "sk-few", prompt=f"kite {i}").status_code for i in range(2)] == [200, 429]
    found = read(gateway)

    assert found["pinhole_limiter_decisions_total{refused}"] == 1
    assert found["pinhole_limiter_refusals_total{caller,images}"] == 1
    assert found["pinhole_requests_total{gpt-image-2,openai,delivered}"] == 1


def test_a_repeat_tells_its_own_id_and_its_row(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """Who has the request id of a repeat finds in the log which request it was served from."""
    with caplog.at_level(logging.INFO, "pinhole"):
        answers = [post(gateway, Idempotency_Key="twice", X_Request_Id=f"ask-{i}") for i in range(2)]
    told = {record.message: record.__dict__["fields"] for record in caplog.records}

    assert [answer.status_code for answer in answers] == [200, 200]
    assert told["replayed"]["id"] == told["settled"]["id"] == gateway.ledger.entries[0].request_id
    assert told["replayed"]["caller"] == told["settled"]["caller"]


def test_a_repeat_is_no_request(gateway: Gateway) -> None:
    """What an idempotency key brings back is counted as a repeat and as nothing else."""
    answers = [post(gateway, Idempotency_Key="k1") for _ in range(2)]
    found = read(gateway)

    assert answers[1].headers["pinhole-replayed"] == "true"
    assert found["pinhole_repeats_total{replayed}"] == 1
    assert found["pinhole_requests_total{gpt-image-2,openai,delivered}"] == 1


def test_a_stream_counts_like_any_other(gateway: Gateway) -> None:
    """One attempt, one request, one image."""
    assert "image_generation.completed" in post(gateway, stream=True).text
    found = until(gateway, lambda seen: "pinhole_requests_total{gpt-image-2,openai,delivered}" in seen)

    assert found["pinhole_upstream_attempts_total{ok,openai}"] == 1
    assert found["pinhole_images_total{gpt-image-2,openai}"] == 1


def test_labels_do_not_grow_with_requests(gateway: Gateway) -> None:
    """Unknown models, paths, keys and parameters make no series of their own."""
    sizes = []
    for name in ("one", "two", "three"):
        post(gateway, model=f"model-{name}")
        post(gateway, f"sk-{name}")
        post(gateway, "sk-many", **{f"field_{name}": "1"})
        httpx2.get(f"{gateway.url}/{name}")
        httpx2.get(f"{gateway.url}/files/{name}")
        sizes.append(len(read(gateway)))

    assert sizes[1] == sizes[2]


@pytest.mark.parametrize(("on_loss", "mode", "status"), [("open", "fallback", 200), ("closed", "closed", 503)])
def test_the_limiter_says_in_which_mode_it_is(tmp_path: Path, on_loss: str, mode: str, status: int) -> None:
    """Redis while it answers; when it is away the configured mode, with errors counted."""
    server = RedisServer(tmp_path)
    server.start()
    config = f"redis: {{on_loss: {on_loss}}}\nkeys: [{{name: a, key: sk-a, limits: {{images_per_minute: 90}}}}]\n"
    environ = {"PINHOLE_SANDBOX": "true", "REDIS_URL": server.url}
    try:
        with running(tmp_path / "data", environ, config) as gateway:
            assert post(gateway, "sk-a", model="sandbox/canvas", size="64x64").status_code == 200
            before = read(gateway)
            server.stop()
            answer = post(gateway, "sk-a", model="sandbox/canvas", size="64x64", prompt="two")
            after = read(gateway)
    finally:
        server.stop()

    assert answer.status_code == status
    assert (before["pinhole_limiter_mode{redis}"], before[f"pinhole_limiter_mode{{{mode}}}"]) == (1, 0)
    assert (after["pinhole_limiter_mode{redis}"], after[f"pinhole_limiter_mode{{{mode}}}"]) == (0, 1)
    assert sum(value for name, value in after.items() if name.startswith("pinhole_limiter_errors_total")) >= 1
    assert after.get("pinhole_limiter_decisions_total{unavailable}", 0) == (status == 503)


async def test_the_ledger_tells_what_it_could_not_write_and_what_it_swept(data_dir: Path) -> None:
    """Rows of a dead gateway are counted when they are closed; so is a group that no database took."""
    telemetry = Telemetry()
    database = engine(load({"PINHOLE_DATA_DIR": str(data_dir)}))
    await upgrade(database)
    clock = SystemClock()
    dead = SQLLedger(database, clock)
    ledger = SQLLedger(database, clock, watch=telemetry)
    await ledger._groups.commit([(opened(entry("left"), None, dead.instance), None)])  # noqa: SLF001 - a row of a gateway that died at once
    assert await ledger.sweep() == 1
    await database.dispose()
    with contextlib.closing(sqlite3.connect(data_dir / "pinhole.db")) as plain:
        plain.execute("DROP TABLE requests")
    await ledger._groups.commit([(opened(entry("lost"), None, ledger.instance), None)])  # noqa: SLF001 - without the half second's wait
    await database.dispose()

    text = telemetry.metrics.text().decode()
    assert "pinhole_ledger_swept_total 1.0" in text
    assert "pinhole_ledger_write_failures_total 1.0" in text


def entry(name: str) -> Entry:
    """A row that is open."""
    return Entry(
        request_id=name,
        caller="a",
        caller_name="a",
        end_user=None,
        model_asked="m",
        model="m",
        provider="p",
        operation="generate",
        images_asked=1,
        created=1.0,
    )


def test_every_metric_has_its_words() -> None:
    """Names say their unit, help is a sentence, and no label names who asked."""
    for family in Metrics().families:
        assert family.name.startswith("pinhole_")
        assert len(family.help) > 10
        assert not {"caller", "key", "user", "prompt", "path", "id"} & set(family.labels)
