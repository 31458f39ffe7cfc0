"""The soak: gateway processes behind callers that leave and repeat, in front of a provider behind the fault proxy.

    python -m tests.faults.soak --seconds 600 --gateways 2 --restart 30

Prints what was asked, answered, lost and paid twice, the peak memory of each gateway and its sockets at the end.
*Lost*: an answer that reached the gateway whole and its caller cannot have. *Paid twice*: a second submit after one
that may have been accepted. Everything is on loopback and stops by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import itertools
import json
import random
import secrets
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.faults.fault import CLEAN, End, Fault, Stage, garbled, said
from tests.faults.proxy import FaultProxy
from tests.processes import Process
from tests.services import RedisServer, postgres
from tests.upstreams.http import Exchange
from tests.upstreams.openai import OpenAIStandIn
from tests.upstreams.openai.wish import Wish

MODEL = "dall-e-2"
CONFIG = "storage: {{url: 'file://{images}'}}\nserver: {{drain_seconds: 25}}\nkeys: [{{name: soak, key: sk-soak}}]\n"
AUTHORIZED = {"authorization": "Bearer sk-soak"}
FREE = (said(429), said(429, retry_after="1"), said(503), said(503, retry_after="1"))
FAULTS = (
    *FREE,
    said(500),
    said(502),
    Fault(cut=0, end=End.RST),
    Fault(cut=0, end=End.FIN),
    Fault(cut=0, end=End.HALF),
    Fault(cut=20, end=End.RST),
    Fault(cut=0.5, end=End.RST),
    Fault(cut=0.8, end=End.FIN),
    Fault(altered=garbled),
    Fault(answer=b"nothing of HTTP\r\n\r\n", end=End.FIN),
    Fault(delay_s=1.5),
    Fault(piece=4096, pause_s=0.005),
)
TRIES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How long, how many and how rough. `restart` and `kill` are seconds between stops of one gateway; 0 is never."""

    seconds: float = 600.0
    requests: int = 0
    gateways: int = 2
    callers: int = 16
    restart: float = 0.0
    kill: float = 0.0
    faults: float = 0.3
    seed: int = 0
    roam: bool = True
    database: bool = True


@dataclass(slots=True)
class Report:
    """What came of it."""

    seed: int
    seconds: float = 0.0
    requests: int = 0
    answered: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    submits: int = 0
    stops: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    paid_twice: list[str] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)
    sockets: list[int] = field(default_factory=list)

    def shown(self) -> str:
        """As JSON, long lists by their length and first members."""
        document = {name: getattr(self, name) for name in self.__slots__}
        for name in ("wrong", "lost", "paid_twice"):
            document[name] = {"count": len(document[name]), "first": document[name][:5]}
        return json.dumps(document, indent=2)


class UniqueStandIn(OpenAIStandIn):
    """The strict stand-in, whose pictures are all different; `made` are their digests by prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, set[str]] = {}
        self._serial = itertools.count()

    def _dall_e_item(self, wish: Wish, data: bytes) -> dict[str, str]:
        text = b"tEXtserial\0" + str(next(self._serial)).encode()
        chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
        unique = data[:33] + chunk + data[33:]  # after the signature and IHDR
        self.made.setdefault(wish.fields["prompt"], set()).add(hashlib.sha256(unique).hexdigest())
        return super()._dall_e_item(wish, unique)


class Chance:
    """Which fate each exchange meets, drawn from one seed."""

    def __init__(self, seed: int, share: float) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._share = share
        self._lock = threading.Lock()

    def __call__(self, stage: Stage, _: Exchange) -> Fault:
        with self._lock:
            if stage is Stage.SUBMIT and self._random.random() < self._share:
                return self._random.choice(FAULTS)
            return Fault(delay_s=self._random.uniform(0, 0.3)) if stage is Stage.SUBMIT else CLEAN


class Caller:
    """One after another, requests as SDKs and people make them: impatient, repeating, coming back later."""

    def __init__(
        self, size: Size, gateways: list[Process], upstream: UniqueStandIn, report: Report, number: int
    ) -> None:
        self._gateways = gateways
        self._upstream = upstream
        self._report = report
        self._roam = size.roam
        self._home = number
        self._random = random.Random(f"{size.seed}/{number}")  # noqa: S311 - no secret
        self.ends: dict[str, str] = {}

    def _gateway(self) -> Process:
        return self._random.choice(self._gateways) if self._roam else self._gateways[self._home % len(self._gateways)]

    async def one(self, client: httpx2.AsyncClient, name: str) -> None:
        """One wish, until there is a picture or a last word."""
        prompt = f"soak {name}"
        body = {"model": MODEL, "prompt": prompt, "size": "256x256", "response_format": "b64_json"}
        keyed = {"idempotency-key": name} if self._random.random() < 0.3 else {}
        hurried = self._random.choice((0, 0, 0, 1, 2))  # attempts that the caller leaves early
        end = "gave up"
        for attempt in range(TRIES):
            headers = {
                **AUTHORIZED,
                **keyed,
                "x-request-id": f"{name}-{attempt}",
                "x-stainless-retry-count": str(attempt),
            }
            wait = self._random.uniform(0.02, 0.4) if attempt < hurried else 60
            try:
                url = f"{self._gateway().url}/v1/images/generations"
                answer = await client.post(url, json=body, headers=headers, timeout=httpx2.Timeout(wait, connect=5))
            except httpx2.ConnectError:
                await asyncio.sleep(0.3)
                continue
            except httpx2.HTTPError:
                if attempt < hurried and self._random.random() < 0.3:
                    found = await self._kept(client, f"{name}-{attempt}")
                    if found is not None and found.status_code == httpx2.codes.OK:
                        end = self._looked(prompt, found)
                        break
                continue
            if answer.status_code == httpx2.codes.OK:
                end = self._looked(prompt, answer)
                break
            end = f"{answer.status_code} {answer.json()['error']['code']}"
            if answer.headers.get("x-should-retry") == "false":
                break
            await asyncio.sleep(self._random.uniform(0.1, 0.5))
        self.ends[prompt] = end
        self._report.outcomes[end] += 1

    async def _kept(self, client: httpx2.AsyncClient, label: str) -> httpx2.Response | None:
        for _ in range(100):
            try:
                url = f"{self._gateway().url}/v1/images/results/{label}"
                found = await client.get(url, headers=AUTHORIZED, timeout=30)
            except httpx2.HTTPError:
                await asyncio.sleep(0.3)
                continue
            if found.status_code != httpx2.codes.ACCEPTED:
                return found
            await asyncio.sleep(0.2)
        return None

    def _looked(self, prompt: str, answer: httpx2.Response) -> str:
        """Every byte must be what the provider made for this very prompt."""
        data = base64.b64decode(answer.json()["data"][0]["b64_json"])
        if hashlib.sha256(data).hexdigest() not in self._upstream.made.get(prompt, ()):
            self._report.wrong.append(prompt)
        return "answered"


async def soak(size: Size) -> Report:
    """Run it to its end."""
    report = Report(seed=size.seed or secrets.randbelow(2**31))
    with world(size, report) as (gateways, upstream, proxy):
        begun, numbers = time.monotonic(), itertools.count()
        callers = [Caller(size, gateways, upstream, report, number) for number in range(size.callers)]

        def goes_on() -> bool:
            enough = size.requests and report.requests >= size.requests
            return time.monotonic() - begun < size.seconds and not enough

        async def work(caller: Caller) -> None:
            async with httpx2.AsyncClient(trust_env=False) as client:
                while goes_on():
                    report.requests += 1
                    await caller.one(client, f"{report.seed}-{next(numbers)}")

        async def stops() -> None:
            every = size.kill or size.restart
            for process in itertools.cycle(gateways):
                await asyncio.sleep(every)
                if not goes_on():
                    return
                report.peak_mib.append(peak(process))
                await asyncio.to_thread(process.kill if size.kill else process.stop)
                await asyncio.to_thread(lambda process=process: process.start().wait())  # type: ignore[misc] # a closure
                report.stops += 1

        stopping = asyncio.create_task(stops()) if size.kill or size.restart else None
        await asyncio.gather(*(work(caller) for caller in callers))
        if stopping is not None:
            stopping.cancel()
            await asyncio.gather(stopping, return_exceptions=True)
        report.seconds = round(time.monotonic() - begun, 1)
        report.peak_mib = [max([*report.peak_mib, 0.0]), *(peak(process.wait()) for process in gateways)]
        report.sockets = [sockets(process) for process in gateways]
        reckon(report, proxy, {name: end for caller in callers for name, end in caller.ends.items()})
    return report


def reckon(report: Report, proxy: FaultProxy, ends: dict[str, str]) -> None:
    """The proxy's book against the callers'."""
    accepted: set[str] = set()
    for passage in proxy.passages:
        if passage.stage is not Stage.SUBMIT:
            continue
        prompt = passage.exchange.json()["prompt"]
        report.submits += 1
        if prompt in accepted:
            met = [str(one.fault) for one in proxy.passages if one.exchange.body == passage.exchange.body]
            report.paid_twice.append(f"{prompt}: {ends.get(prompt)}: {met}")
        if passage.fault not in FREE:
            accepted.add(prompt)
        if passage.whole and ends.get(prompt) != "answered":
            report.lost.append(f"{prompt}: {ends.get(prompt)}")
    report.answered = report.outcomes["answered"]


@contextmanager
def world(size: Size, report: Report) -> Iterator[tuple[list[Process], UniqueStandIn, FaultProxy]]:
    """Redis, PostgreSQL, the provider behind the proxy, and the gateways."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pinhole-soak-")))
        redis = stack.enter_context(RedisServer(folder / "redis"))
        upstream = stack.enter_context(UniqueStandIn())
        proxy = stack.enter_context(FaultProxy(upstream, Chance(report.seed, size.faults)))
        environ = {
            "PINHOLE_SANDBOX": "false",
            "PINHOLE_SECRET": "a-secret-of-the-soak-and-of-nothing-else",
            "PINHOLE_DEADLINE_SECONDS": "20",
            "REDIS_URL": redis.url,
            "OPENAI_API_KEY": upstream.key,
            "OPENAI_BASE_URL": f"{proxy.url}/v1",
        }
        if size.database:
            environ["DATABASE_URL"] = stack.enter_context(postgres())
        config = CONFIG.format(images=folder / "images")
        made = [Process(folder / str(number), config, environ) for number in range(size.gateways)]
        if size.database:
            made[0].upgrade()
        yield [stack.enter_context(process).wait() for process in made], upstream, proxy


def peak(process: Process) -> float:
    """The most memory it ever held, in MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def sockets(process: Process) -> int:
    """How many sockets it holds."""
    found = 0
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue  # closed meanwhile
    return found


def main(arguments: list[str]) -> int:
    """The command line; 1 when anything was lost, paid twice or wrong."""
    parser = argparse.ArgumentParser(prog="soak")
    plain = Size()
    for name in ("seconds", "requests", "gateways", "callers", "restart", "kill", "faults", "seed"):
        default: Any = getattr(plain, name)
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--stay", action="store_true", help="callers repeat at their own gateway only")
    given = vars(parser.parse_args(arguments))
    report = asyncio.run(soak(Size(roam=not given.pop("stay"), **given)))
    print(report.shown())  # noqa: T201 - it is a command
    return 1 if report.lost or report.paid_twice or report.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
