"""Two real gateways, one Redis, one folder of images: a repeat is recognised wherever it lands, never paid again."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.processes import Process
from tests.services import RedisServer
from tests.upstreams.openai import OpenAIStandIn

CREDENTIAL = "sk-upstream"
BODY = {"model": "gpt-image-2", "size": "1024x1024"}
LEASE_SECONDS = 30
SILENT_SECONDS = 5.0  # without a beat for so long a gateway is not heard of in time
STILL_SECONDS = 14.0  # its lease of 12 s ended before
AWAKE_SECONDS = 4.0  # until it has told what it runs
TIMES = 10
# A hundredth of it is how long an equal request on another gateway waits for news of the first one's caller.
LONG_SECONDS = 5.2


@dataclass(frozen=True, slots=True)
class Pair:
    """Two gateways before one stand-in."""

    one: Process
    two: Process
    upstream: OpenAIStandIn


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Fresh processes, with what several gateways share: secret, Redis, folder of images."""
    redis = RedisServer(tmp_path)
    redis.start()
    config = f"storage: {{url: 'file://{tmp_path}/images'}}\n"
    with OpenAIStandIn(CREDENTIAL) as upstream:
        environ = {
            "PINHOLE_SANDBOX": "false",
            "OPENAI_API_KEY": CREDENTIAL,
            "OPENAI_BASE_URL": f"{upstream.url}/v1",
            "REDIS_URL": redis.url,
            "PINHOLE_SECRET": "shared",
        }
        processes = [Process(tmp_path / name, config, environ).start() for name in ("one", "two")]
        try:
            yield Pair(processes[0].wait(), processes[1].wait(), upstream)
        finally:
            upstream.resume()
            for process in processes:
                process.stop()
            redis.stop()


def post(process: Process, prompt: str, timeout: float = 60, **headers: str) -> httpx2.Response:
    """One generation."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {**BODY, "prompt": prompt}
    return httpx2.post(f"{process.url}/v1/images/generations", json=body, headers=named, timeout=timeout)


def hang_up(process: Process, upstream: OpenAIStandIn, prompt: str, **headers: str) -> None:
    """Ask a gateway, and leave when the upstream has the call."""
    before = len(upstream.exchanges)
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = json.dumps({**BODY, "prompt": prompt})
    connection.request("POST", "/v1/images/generations", content, {"content-type": "application/json", **named})
    for _ in range(500):
        if len(upstream.exchanges) > before:
            break
        time.sleep(0.01)
    connection.close()
    time.sleep(0.5)


def connect(processes: Sequence[Process]) -> list[socket.socket]:
    """A connection to each."""
    return [socket.create_connection(("127.0.0.1", each.port), timeout=30) for each in processes]


def send(connection: socket.socket, prompt: str) -> None:
    """A plain generation."""
    content = json.dumps({**BODY, "prompt": prompt})
    head = f"host: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n"
    connection.sendall(f"POST /v1/images/generations HTTP/1.1\r\n{head}\r\n{content}".encode())


def status(connection: socket.socket) -> int:
    """Of the answer, which is read to its end."""
    with connection:
        response = http.client.HTTPResponse(connection)
        response.begin()
        response.read()
        return response.status


def asked(upstream: OpenAIStandIn, count: int) -> None:
    """Wait until the upstream has so many calls."""
    deadline = time.monotonic() + 20
    while len(upstream.exchanges) < count and time.monotonic() < deadline:
        time.sleep(0.01)


def swap(leaving: Sequence[socket.socket], coming: Sequence[socket.socket], prompts: Sequence[str]) -> None:
    """Each caller leaves and asks again on another connection within the same millisecond."""
    for old, new, prompt in zip(leaving, coming, prompts, strict=True):
        old.close()
        send(new, prompt)
        time.sleep(0.02)


def test_a_repeat_in_the_millisecond_of_a_hang_up_joins_what_the_caller_left(pair: Pair) -> None:
    """The caller of the first, or of a repeat that held it, leaves: no other gateway, and not its own, pays anew."""
    ways = [*itertools.product((pair.one, pair.two), repeat=3)] * TIMES
    prompts = [f"boat {number}" for number in range(len(ways))]
    firsts, seconds, thirds = (connect(processes) for processes in zip(*ways, strict=True))
    pair.upstream.pause()
    for connection, prompt in zip(firsts, prompts, strict=True):
        send(connection, prompt)
    asked(pair.upstream, len(ways))
    time.sleep(LONG_SECONDS)
    swap(firsts, seconds, prompts)
    time.sleep(0.5)
    swap(seconds, thirds, prompts)
    time.sleep(0.5)
    calls = len(pair.upstream.exchanges)
    pair.upstream.resume()

    assert [status(connection) for connection in thirds] == [200] * len(ways)
    assert (calls, pair.upstream.paid) == (len(ways), len(ways))


def test_equal_requests_whose_callers_stay_are_calls_of_their_own(pair: Pair) -> None:
    """The same prompt several times at once, for variety: on two gateways each is paid for."""
    pair.upstream.pause()
    callers = connect([pair.one, pair.two] * 8)
    for connection in callers:
        send(connection, "variety")
    asked(pair.upstream, len(callers))
    pair.upstream.resume()

    assert [status(connection) for connection in callers] == [200] * len(callers)
    assert pair.upstream.paid == len(callers)


def test_a_retry_on_another_gateway_joins_the_one_paid_call(pair: Pair) -> None:
    """The caller of the first is gone; the retry elsewhere gets its bytes, and so does the results route of both."""
    pair.upstream.pause()
    hang_up(pair.one, pair.upstream, "a boat", x_request_id="lost")
    running = httpx2.get(f"{pair.two.url}/v1/images/results/lost")
    pair.upstream.resume()
    retry = post(pair.two, "a boat", x_stainless_retry_count="1")
    kept = [httpx2.get(f"{gateway.url}/v1/images/results/lost") for gateway in (pair.one, pair.two)]

    assert running.status_code == 202
    assert retry.status_code == 200
    assert pair.upstream.paid == 1
    assert [answer.content for answer in kept] == [retry.content] * 2
    assert post(pair.two, "a boat").status_code == 200
    assert pair.upstream.paid == 2


@contextmanager
def standing_still(gateway: Process) -> Iterator[None]:
    """Nothing of it goes on, and nobody is told."""
    os.kill(gateway.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(gateway.pid, signal.SIGCONT)


def test_a_gateway_that_stands_still_for_longer_than_its_lease(pair: Pair) -> None:
    """Who waits elsewhere for its run gets the picture; who left it and asks elsewhere pays for none, nor later."""
    pair.upstream.pause()
    callers = connect([pair.one] * 2)
    for connection, prompt in zip(callers, ("a boat", "a tree"), strict=True):
        send(connection, prompt)
    asked(pair.upstream, 2)
    with ThreadPoolExecutor(2) as pool:
        with standing_still(pair.one):
            joined = pool.submit(post, pair.two, "a boat", x_stainless_retry_count="1")
            time.sleep(SILENT_SECONDS)
            callers[1].close()
            plain = pool.submit(post, pair.two, "a tree")
            time.sleep(STILL_SECONDS - SILENT_SECONDS)
        time.sleep(AWAKE_SECONDS)
        calls = len(pair.upstream.exchanges)
        pair.upstream.resume()
        first, refused = joined.result(), plain.result()
    later = post(pair.two, "a tree")

    assert (first.status_code, later.status_code) == (200, 200)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (502, "false")
    assert (calls, pair.upstream.paid) == (2, 2)
    callers[0].close()


def test_a_killed_gateway_leaves_an_unknown_outcome_and_its_kept_answers(pair: Pair) -> None:
    """After kill -9 a repeat elsewhere, and one at the next start, is 502 and no call; what was kept is replayed."""
    first = post(pair.one, "kept", idempotency_key="k")
    other = post(pair.two, "another", idempotency_key="k")
    pair.upstream.pause()
    hang_up(pair.one, pair.upstream, "killed")
    pair.one.kill()
    elsewhere = post(pair.two, "killed", timeout=LEASE_SECONDS, x_stainless_retry_count="1")
    calls = len(pair.upstream.exchanges)
    pair.upstream.resume()
    pair.one.start().wait()
    again = post(pair.one, "killed")
    replays = [post(gateway, "kept", idempotency_key="k") for gateway in (pair.one, pair.two)]

    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    for answer in (elsewhere, again):
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
        assert answer.headers["x-should-retry"] == "false"
    assert [answer.content for answer in replays] == [first.content] * 2
    assert [answer.headers["pinhole-replayed"] for answer in replays] == ["true"] * 2
    assert (calls, len(pair.upstream.exchanges)) == (2, 2)


def test_one_gateway_knows_after_a_kill_what_it_paid_for(tmp_path: Path) -> None:
    """Without Redis: at the next start an open row is 502 and no call; a kept answer is served by key and by id."""
    with OpenAIStandIn(CREDENTIAL) as upstream:
        environ = {
            "PINHOLE_SANDBOX": "false",
            "OPENAI_API_KEY": CREDENTIAL,
            "OPENAI_BASE_URL": f"{upstream.url}/v1",
        }
        gateway = Process(tmp_path, "", environ).start().wait()
        try:
            first = post(gateway, "kept", idempotency_key="k", x_request_id="mine")
            upstream.pause()
            hang_up(gateway, upstream, "killed")
            gateway.kill()
            upstream.resume()
            gateway.start().wait()
            unknown = [post(gateway, "killed", x_stainless_retry_count=count) for count in ("0", "1")]
            replay = post(gateway, "kept", idempotency_key="k")
            by_id = httpx2.get(f"{gateway.url}/v1/images/results/mine")
        finally:
            gateway.stop()

    assert [answer.status_code for answer in unknown] == [502, 502]
    assert [answer.headers["x-should-retry"] for answer in unknown] == ["false", "false"]
    assert replay.headers["pinhole-replayed"] == "true"
    assert [replay.content, by_id.content] == [first.content] * 2
    assert len(upstream.exchanges) == 2
