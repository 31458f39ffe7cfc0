"""One gateway, the fault proxy and a stand-in for a provider; a scenario's request, and every book after it."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from app.config import Limits
from app.ledger import State
from app.ledger.protocol import Entry
from app.limiter import Scope, Spend
from app.limiter.protocol import Used
from tests.clock import HastyClock
from tests.faults.fault import Stage
from tests.faults.proxy import FaultProxy, Script
from tests.faults.scenarios import PLENTY_S, SCENARIOS, Scenario
from tests.gateway import Gateway, running
from tests.matrix.vendors import Vendor
from tests.upstreams.images import png
from tests.upstreams.server import StandIn

KEY = "sk-faults"
# Too long for DNS, so that no resolver is asked: getaddrinfo(3) refuses names over 255 bytes by itself.
NAMELESS = ".".join(["x" * 60] * 5)
PHOTO = png(1024, 1024)
CONFIG = """
providers:
  refused: {{type: {name}, base_url: "http://127.0.0.1:{closed}{suffix}", api_key: "{key}"}}
  nameless: {{type: {name}, base_url: "http://{nameless}{suffix}", api_key: "{key}"}}
models:
{models}
keys:
  - {{name: caller, key: {caller}, limits: {{concurrent_images: 1}}}}
"""
MODEL = '  {account}-{model}: {{provider: {account}, like: "{model}", upstream_id: "{model}"}}'


@dataclass(frozen=True, slots=True)
class Reply:
    """What a caller got: of a stream, the document is its last event's data."""

    status: int
    headers: Mapping[str, str]
    document: dict[str, Any]
    kinds: tuple[str, ...] = ()

    @property
    def code(self) -> str | None:
        """The error's code; None when it is none."""
        error = self.document.get("error")
        return error["code"] if error else None

    @property
    def picture(self) -> bytes | None:
        """The bytes of the image; None without one."""
        found = self.document if "b64_json" in self.document else next(iter(self.document.get("data", ())), {})
        return base64.b64decode(found["b64_json"]) if "b64_json" in found else None

    @property
    def attempts(self) -> int:
        """How often an upstream was asked, as the answer says."""
        told = self.headers.get("pinhole-attempts", self.document.get("pinhole", {}).get("attempts"))
        return int(told)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a caller: repeated, it is the same request."""

    model: str
    prompt: str
    edit: bool
    stream: bool
    label: str

    def fields(self) -> dict[str, Any]:
        """Its body, without the photo."""
        fields: dict[str, Any] = {"model": self.model, "prompt": self.prompt, "response_format": "b64_json"}
        return {**fields, "stream": True} if self.stream else fields


@dataclass(frozen=True, slots=True)
class Bench:
    """All that takes part, and the questions that are asked of it."""

    vendor: Vendor
    server: StandIn
    proxy: FaultProxy
    script: Script
    gateway: Gateway
    clock: HastyClock
    client: httpx2.Client
    known: dict[str, frozenset[Stage]] = field(default_factory=dict)

    def stages(self, route: str) -> frozenset[Stage]:
        """The kinds of exchange that a call of this provider takes, by making one."""
        if route not in self.known:
            mark = len(self.proxy.passages)
            answer = self.send(self.begin(SCENARIOS[0], route), deadline_s=PLENTY_S)
            assert answer
            assert answer.status == 200, answer.document
            self.known[route] = frozenset(passage.stage for passage in self.proxy.passages[mark:])
        return self.known[route]

    def begin(self, scenario: Scenario, route: str) -> Ask:
        """A request that nobody made before, and the faults that it will meet."""
        self.script.clear()
        for stage in {*scenario.first, *scenario.always}:
            first, then = scenario.first.get(stage, ()), scenario.always.get(stage)
            self.script.set(stage, *first, **({"then": then} if then else {}))
        edit, stream = route.startswith("edit"), route.endswith("stream")
        model = (self.vendor.edits if edit else self.vendor.generates) or ""
        named = f"{scenario.account}-{model}" if scenario.account else model
        token = secrets.token_hex(6)
        return Ask(named, f"a kite, {scenario.name}, {token}", edit, stream, f"{scenario.name}-{token}")

    def send(self, ask: Ask, *, deadline_s: float, patience_s: float | None = None, **headers: str) -> Reply | None:
        """The answer; None when the caller's patience ended first."""
        named = {
            "authorization": f"Bearer {KEY}",
            "x-request-id": ask.label,
            "pinhole-deadline": f"{deadline_s:g}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if ask.edit:
            fields = {name: "true" if value is True else value for name, value in ask.fields().items()}
            body: dict[str, Any] = {"data": fields, "files": {"image": ("photo.png", PHOTO, "image/png")}}
        else:
            body = {"json": ask.fields()}
        url = f"{self.gateway.v1}/images/{'edits' if ask.edit else 'generations'}"
        try:
            return read(self.client.post(url, headers=named, timeout=patience_s or 30, **body))
        except httpx2.TimeoutException:
            assert patience_s is not None, "the gateway did not answer"
            return None

    def kept(self, ask: Ask) -> Reply:
        """What the results route says in the end, under the caller's own request id."""
        url = f"{self.gateway.v1}/images/results/{ask.label}"
        for _ in range(500):
            found = read(self.client.get(url, headers={"authorization": f"Bearer {KEY}"}))
            if found.status != 202:
                return found
            time.sleep(0.01)
        raise AssertionError("the run does not end")

    def rows(self, since: int) -> tuple[Entry, ...]:
        """The ledger's rows since there were so many, when all of them are settled."""
        for _ in range(500):
            rows = self.gateway.ledger.entries[since:]
            if all(row.state is not State.RESERVED for row in rows):
                return rows
            time.sleep(0.01)
        raise AssertionError("a row is never settled")

    def leases(self) -> bool:
        """Whether a lease is left: the caller may have one image in flight, so it can get one or it cannot."""
        caller = self.gateway.ledger.entries[-1].caller
        scope = Scope("caller", caller, Limits(concurrent_images=1))
        probe = Spend(request_id=secrets.token_hex(8), scopes=(scope,), images=1, megapixels=1.0)

        async def asked() -> bool:
            decision = await self.gateway.limiter.spend(probe)
            if decision.allowed:
                await self.gateway.limiter.settle(probe, Used(images=0))
            return not decision.allowed

        return asyncio.run(asked())


def read(answer: httpx2.Response) -> Reply:
    """An answer as a document, of an event stream the last event's."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    if not headers["content-type"].startswith("text/event-stream"):
        return Reply(answer.status_code, headers, answer.json())
    data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    documents = [json.loads(text) for text in data]
    return Reply(answer.status_code, headers, documents[-1], tuple(document["type"] for document in documents))


@contextmanager
def benched(vendor: Vendor, folder: Path) -> Iterator[Bench]:
    """Everything started, for one provider."""
    clock, script = HastyClock(), Script()
    with vendor.make() as server, FaultProxy(server, script) as proxy, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and never listening: every connection is refused
        models = {model for model in (vendor.generates, vendor.edits) if model}
        config = CONFIG.format(
            name=vendor.name,
            suffix=vendor.suffix,
            key=vendor.key,
            closed=closed.getsockname()[1],
            nameless=NAMELESS,
            caller=KEY,
            models="\n".join(
                MODEL.format(account=account, model=model) for account in ("refused", "nameless") for model in models
            ),
        )
        environ = {vendor.key_env: vendor.key, vendor.base_env: proxy.url + vendor.suffix}
        with running(folder, environ, config, clock=clock) as gateway, httpx2.Client() as client:
            yield Bench(vendor, server, proxy, script, gateway, clock, client)
