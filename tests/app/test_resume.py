"""Gateways that die while an upstream works: the next one asks after the task, and never submits it again."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from app.ledger.database import engine
from app.resume.resumer import LOOK_SECONDS
from app.runs.protocol import LEASE_SECONDS
from app.settings import load
from tests.processes import Process
from tests.services import RedisServer, postgres
from tests.upstreams import qwen, replicate
from tests.upstreams.http import Exchange, Reply
from tests.upstreams.images import png
from tests.upstreams.server import StandIn

PROMPT = "a lighthouse nobody else may read about"
NEGATIVE = "no fog in the words of its caller"
WAIT_SECONDS = 40
AGED = "UPDATE instances SET heartbeat = heartbeat - 100 WHERE id IN (SELECT instance FROM requests)"


class SlowQwen(qwen.Qwen):
    """Works on its tasks until it is allowed to end."""

    done = False

    def _look(self, exchange: Exchange, name: str) -> Reply:
        self.tasks[name].looks = 1
        return super()._look(exchange, name) if self.done else self._task(name, "RUNNING")


class SlowReplicate(replicate.ReplicateServer):
    """Works on its predictions until it is allowed to end."""

    done = False

    def _advance(self, prediction: replicate.Prediction) -> None:
        prediction.looks = replicate.LOOKS if self.done else -(10**6)
        super()._advance(prediction)


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Both providers that work on tasks."""

    qwen: SlowQwen
    replicate: SlowReplicate

    @property
    def environ(self) -> dict[str, str]:
        """What a gateway needs to reach them."""
        return {
            "PINHOLE_SANDBOX": "false",
            "DASHSCOPE_API_KEY": qwen.KEY,
            "DASHSCOPE_BASE_URL": self.qwen.url,
            "REPLICATE_API_TOKEN": replicate.KEY,
            "REPLICATE_BASE_URL": self.replicate.url,
        }

    def end(self) -> None:
        """Let every task come to its end."""
        self.qwen.done = self.replicate.done = True

    def pictures(self, upstream: StandIn) -> list[bytes]:
        """The files that an upstream made."""
        return [data for _, data in upstream.files.values()]


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    """Fresh stand-ins."""
    with ExitStack() as stack:
        yield Upstreams(stack.enter_context(SlowQwen()), stack.enter_context(SlowReplicate()))


WAN: dict[str, Any] = {"model": "wan2.2-t2i-flash", "prompt": PROMPT, "response_format": "b64_json"}
FLUX: dict[str, Any] = {"model": "flux-1.1-pro", "prompt": PROMPT, "response_format": "b64_json"}


def leave(process: Process, upstream: StandIn, body: dict[str, Any], **headers: str) -> None:
    """Ask, and hang up when the upstream has been asked about its tasks."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
    named = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request("POST", "/v1/images/generations", json.dumps(body), named)
    deadline = time.monotonic() + WAIT_SECONDS
    while not any(each.method == "GET" for each in upstream.exchanges):
        assert time.monotonic() < deadline, "the upstream was never asked"
        time.sleep(0.02)
    connection.close()


def post(process: Process, body: dict[str, Any], **headers: str) -> httpx2.Response:
    """One generation, waited for."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.post(f"{process.url}/v1/images/generations", json=body, headers=named, timeout=WAIT_SECONDS)


def decoded(answer: httpx2.Response) -> list[bytes]:
    """The pictures of an answer."""
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(item["b64_json"]) for item in answer.json()["data"]]


def rows(folder: Path) -> list[dict[str, Any]]:
    """The ledger of a gateway on SQLite."""
    with closing(sqlite3.connect(folder / "pinhole.db")) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM requests ORDER BY created")]


def a_minute_passes(folder: Path) -> None:
    """As if the gateways of all rows had not been heard of for as long as it takes to believe them dead."""
    with closing(sqlite3.connect(folder / "pinhole.db", timeout=10)) as database, database:
        database.execute(AGED)


def submits(upstream: StandIn) -> int:
    """How often it was asked to make something."""
    return sum(each.method == "POST" for each in upstream.exchanges)


def crowd(folder: Path, count: int) -> None:
    """As many older rows of the same gateway, in a form that another release wrote."""
    with closing(sqlite3.connect(folder / "pinhole.db", timeout=10)) as database, database:
        database.row_factory = sqlite3.Row
        row = dict(database.execute("SELECT * FROM requests").fetchone())
        for number in range(count):
            # Half of them at one instant: a page ends among equals.
            changed = {"request_id": f"other{number}", "tasks": "{}", "created": row["created"] - max(1, number - 70)}
            other = {**row, **changed, "fingerprint": f"other{number}"}
            names, marks = ", ".join(other), ", ".join("?" * len(other))
            told = f"INSERT INTO requests ({names}) VALUES ({marks})"  # noqa: S608 - the table's own columns
            database.execute(told, tuple(other.values()))


def test_rows_that_cannot_be_read_stand_in_nobodys_way(tmp_path: Path, upstreams: Upstreams) -> None:
    """Any number of older rows that this release cannot go on with, and the newer one is brought all the same."""
    gateway = Process(tmp_path, "", upstreams.environ).start().wait()
    try:
        leave(gateway, upstreams.qwen, WAN)
        time.sleep(0.5)
        gateway.kill()
        crowd(tmp_path, 150)
        a_minute_passes(tmp_path)
        gateway.start().wait()
        upstreams.end()
        again = post(gateway, WAN)
    finally:
        gateway.stop()

    assert decoded(again) == upstreams.pictures(upstreams.qwen)
    assert submits(upstreams.qwen) == 1


def test_what_was_accepted_before_a_kill_is_brought_by_the_next_start(tmp_path: Path, upstreams: Upstreams) -> None:
    """A repeat, a key and a request id each get the picture byte for byte; nothing is submitted again."""
    gateway = Process(tmp_path, "", upstreams.environ).start().wait()
    try:
        leave(gateway, upstreams.qwen, WAN, idempotency_key="k", x_request_id="sea")
        leave(gateway, upstreams.replicate, FLUX)
        time.sleep(0.5)
        gateway.kill()
        left = rows(tmp_path)
        a_minute_passes(tmp_path)
        gateway.start().wait()
        running = httpx2.get(f"{gateway.url}/v1/images/results/sea")
        upstreams.end()
        by_key = post(gateway, WAN, idempotency_key="k")
        retried = post(gateway, FLUX, x_stainless_retry_count="1")
        by_id = httpx2.get(f"{gateway.url}/v1/images/results/sea")
    finally:
        gateway.stop()

    assert [row["state"] for row in left] == ["reserved"] * 2
    assert running.status_code == 202
    assert decoded(by_key) == decoded(by_id) == upstreams.pictures(upstreams.qwen)
    assert decoded(retried) == upstreams.pictures(upstreams.replicate)
    assert submits(upstreams.qwen) == submits(upstreams.replicate) == 1
    settled = rows(tmp_path)
    assert [(row["state"], row["images_delivered"], row["tasks"]) for row in settled] == [("delivered", 1, None)] * 2
    assert [row["cost"] for row in settled] == [row["cost"] for row in left]
    assert all(row["upstream_request_id"] for row in left)
    told = [line["message"] for line in gateway.log if line.get("request_id") == "sea"]
    assert told[:2] == ["resumed", "settled"]
    assert PROMPT not in str(left)
    assert qwen.KEY not in str(left)
    assert replicate.KEY not in str(left)


def test_a_repeat_that_comes_before_the_gateway_is_believed_dead_waits(tmp_path: Path, upstreams: Upstreams) -> None:
    """It joins what will be resumed, gets the picture, and a second caller pays for one of its own."""
    gateway = Process(tmp_path, "", upstreams.environ).start().wait()
    try:
        leave(gateway, upstreams.qwen, WAN)
        time.sleep(0.5)
        gateway.kill()
        gateway.start().wait()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(post, gateway, WAN)
            time.sleep(1)
            early = waiting.done()
            a_minute_passes(tmp_path)
            upstreams.end()
            answer = waiting.result()
        time.sleep(0.5)  # until it is booked that the first has been delivered
        other = post(gateway, WAN)
    finally:
        gateway.stop()

    assert not early
    assert decoded(answer) == upstreams.pictures(upstreams.qwen)[:1]
    assert answer.headers["pinhole-model"] == "wan2.2-t2i-flash"
    assert decoded(other) == upstreams.pictures(upstreams.qwen)[1:]
    assert submits(upstreams.qwen) == 2


def test_a_drain_that_was_too_short_leaves_the_task_to_the_next_start(tmp_path: Path, upstreams: Upstreams) -> None:
    """SIGTERM ends in time, the row says unknown, and the next start brings the picture without a wait."""
    gateway = Process(tmp_path, "server: {drain_seconds: 1}", upstreams.environ).start().wait()
    try:
        leave(gateway, upstreams.qwen, WAN)
        gateway.stop()
        left = rows(tmp_path)
        upstreams.end()
        gateway.start().wait()
        answer = post(gateway, WAN)
    finally:
        gateway.stop()

    assert [(row["state"], row["tasks"] is None) for row in left] == [("unknown", False)]
    assert decoded(answer) == upstreams.pictures(upstreams.qwen)
    assert submits(upstreams.qwen) == 1
    assert [row["state"] for row in rows(tmp_path)] == ["delivered"]


def test_a_task_that_failed_meanwhile_is_told_as_such(tmp_path: Path, upstreams: Upstreams) -> None:
    """A repeat gets the task's own end; what was refused is free, what broke may have been billed."""
    ends = {"FORBIDDEN": (400, "failed"), "TASKFAIL": (502, "unknown"), "LOST": (502, "unknown")}
    bodies = [{**WAN, "prompt": f"{PROMPT} {word}"} for word in ends]
    gateway = Process(tmp_path, "", upstreams.environ).start().wait()
    try:
        for body in bodies:
            leave(gateway, upstreams.qwen, body)
        time.sleep(0.5)
        gateway.kill()
        upstreams.end()
        gateway.start().wait()
        with ThreadPoolExecutor(len(bodies)) as pool:
            waiting = [pool.submit(post, gateway, body) for body in bodies]
            time.sleep(1)
            a_minute_passes(tmp_path)
            answers = [each.result() for each in waiting]
    finally:
        gateway.stop()

    assert [answer.status_code for answer in answers] == [status for status, _ in ends.values()]
    assert [(row["state"], row["tasks"]) for row in rows(tmp_path)] == [(state, None) for _, state in ends.values()]
    assert submits(upstreams.qwen) == len(ends)


def test_of_several_calls_what_was_accepted_is_delivered(tmp_path: Path, upstreams: Upstreams) -> None:
    """A call whose answer had not come when the gateway died is not made again: fewer images, and told."""
    body = {**FLUX, "n": 2}
    gateway = Process(tmp_path, "", upstreams.environ).start().wait()
    try:
        upstreams.replicate.queue(replace(Reply.json(201, {}), delay_s=30), method="POST")
        leave(gateway, upstreams.replicate, body)
        time.sleep(0.5)
        gateway.kill()
        left = rows(tmp_path)
        a_minute_passes(tmp_path)
        upstreams.end()
        gateway.start().wait()
        answer = post(gateway, body)
    finally:
        gateway.stop()

    assert decoded(answer) == upstreams.pictures(upstreams.replicate)
    assert len(answer.json()["pinhole"]["errors"]) == 1
    assert "n;kind=delivered;from=2;to=1" in answer.headers["pinhole-adjustments"]
    assert submits(upstreams.replicate) == 2
    assert [(row["images_delivered"], 2 * row["cost"]) for row in rows(tmp_path)] == [(1, left[0]["cost"])]


def test_a_mask_of_the_gateways_own_is_never_left_out(tmp_path: Path, upstreams: Upstreams) -> None:
    """The picture that belongs to the mask is gone: the provider's link is kept in the row, and a repeat is 502."""
    fields = {"model": "wan2.7-image", "prompt": PROMPT, "response_format": "b64_json"}
    picture = png(1024, 1024, "gradient")
    hole = BytesIO()
    mask = Image.new("RGBA", (1024, 1024), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 512, 512))
    mask.save(hole, "PNG")
    files = {"image": ("a.png", picture), "mask": ("m.png", hole.getvalue())}
    gateway = Process(tmp_path, "", upstreams.environ).start().wait()
    url = f"{gateway.url}/v1/images/edits"
    try:
        with pytest.raises(httpx2.TimeoutException):
            httpx2.post(url, data=fields, files=files, timeout=3)
        gateway.kill()
        a_minute_passes(tmp_path)
        upstreams.end()
        gateway.start().wait()
        answer = httpx2.post(url, data=fields, files=files, timeout=WAIT_SECONDS)
    finally:
        gateway.stop()

    assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "false")
    assert submits(upstreams.qwen) == 1
    row = rows(tmp_path)[0]
    assert (row["state"], row["tasks"]) == ("unknown", None)
    assert upstreams.qwen.url in row["links"]


def test_the_gateway_that_lives_takes_over(tmp_path: Path, upstreams: Upstreams) -> None:
    """On PostgreSQL and Redis one of the living gateways goes on, once; a repeat at any of them gets the picture."""
    shared = f"storage: {{url: 'file://{tmp_path}/images'}}"
    with postgres() as database, RedisServer(tmp_path) as redis, ExitStack() as stack:
        environ = {**upstreams.environ, "DATABASE_URL": database, "REDIS_URL": redis.url, "PINHOLE_SECRET": "s"}
        gateways = [Process(tmp_path / name, shared, environ) for name in ("one", "two", "three")]
        gateways[0].upgrade()
        one, two, three = (stack.enter_context(gateway) for gateway in gateways)
        for gateway in gateways:
            gateway.wait()
        leave(one, upstreams.qwen, WAN, x_request_id="sea")
        leave(one, upstreams.replicate, FLUX, idempotency_key="k")
        time.sleep(0.5)
        one.kill()
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(post, two, WAN, x_stainless_retry_count="1")
            keyed = pool.submit(post, three, FLUX, idempotency_key="k")
            time.sleep(LEASE_SECONDS + 1)
            early = [each.done() for each in (waiting, keyed)]
            asyncio.run(heartbeats_end(database))
            time.sleep(LOOK_SECONDS + 1)
            looks = len(upstreams.qwen.exchanges)
            upstreams.end()
            answers = [waiting.result(), keyed.result()]
        by_id = [httpx2.get(f"{gateway.url}/v1/images/results/sea") for gateway in (two, three)]
        resumed = [line for gateway in (two, three) for line in gateway.log if line.get("message") == "resumed"]

    assert early == [False, False]
    assert looks > 2
    assert decoded(answers[0]) == upstreams.pictures(upstreams.qwen)
    assert decoded(answers[1]) == upstreams.pictures(upstreams.replicate)
    assert [answer.content for answer in by_id] == [answers[0].content] * 2
    assert submits(upstreams.qwen) == submits(upstreams.replicate) == 1
    assert len(resumed) == 2


async def heartbeats_end(database: str) -> None:
    """As a_minute_passes, on PostgreSQL."""
    found = engine(load({"DATABASE_URL": database}))
    async with found.begin() as connection:
        await connection.exec_driver_sql(AGED)
    await found.dispose()
