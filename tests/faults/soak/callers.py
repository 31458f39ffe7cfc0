"""Callers as SDKs and people are: impatient, repeating, coming back later, on whatever gateway."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from tests.faults.soak.providers import Made
from tests.faults.soak.size import Report, Size
from tests.processes import Process
from tests.upstreams.images import png

KEY: Final = "sk-soak"
AUTHORIZED: Final = {"authorization": f"Bearer {KEY}"}
TRIES: Final = 12
PHOTO: Final = png(256, 256)
GAVE_UP: Final = "gave up"


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to ask for a picture. `model`: of a provider that answers at once, or of one that is looked at."""

    name: str
    model: str
    edit: bool = False
    stream: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)

    def body(self, prompt: str) -> dict[str, Any]:
        """What httpx2 is given: JSON, or a form with a photo."""
        fields = {"model": self.model, "prompt": prompt, "response_format": "b64_json", **self.fields}
        if self.edit:
            return {"data": fields, "files": {"image": ("photo.png", PHOTO, "image/png")}}
        return {"json": {**fields, "stream": True, "partial_images": 1} if self.stream else fields}

    @property
    def path(self) -> str:
        """Its route."""
        return f"/v1/images/{'edits' if self.edit else 'generations'}"


SMALL: Final = Kind("generate", "dall-e-2", fields={"size": "256x256"})
KINDS: Final = (
    *(SMALL,) * 4,
    Kind("stream", "gpt-image-2", stream=True, fields={"size": "1024x1024"}),
    Kind("edit", "gpt-image-2", edit=True, fields={"size": "1024x1024"}),
    Kind("poll", "flux-dev", fields={"output_format": "png"}),
    Kind("poll-stream", "flux-dev", stream=True, fields={"output_format": "png"}),
    Kind("poll-edit", "flux-kontext-pro", edit=True, fields={"output_format": "png"}),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as its caller reads it: of a stream the status is that of its last event."""

    status: int
    pictures: tuple[str, ...] = ()
    code: str = ""
    retry: bool = True
    replayed: bool = False


class Caller:
    """One after another, requests."""

    def __init__(self, size: Size, gateways: Sequence[Process], made: Made, report: Report, number: int) -> None:
        self._gateways = gateways
        self._made = made
        self._report = report
        self._roam = size.roam
        self._home = number
        self._random = random.Random(f"{report.seed}/{number}")  # noqa: S311 - no secret
        self.ends: dict[str, str] = {}
        self.told: dict[str, list[str]] = defaultdict(list)

    def _gateway(self, name: str) -> Process:
        """Where the next request of a wish goes."""
        number = self._random.randrange(len(self._gateways)) if self._roam else self._home % len(self._gateways)
        self._tell(name, f"gateway {number}")
        return self._gateways[number]

    def _tell(self, name: str, what: str) -> None:
        self.told[name].append(f"{time.monotonic():.3f} {what}")

    async def one(self, client: httpx2.AsyncClient, name: str) -> None:
        """One wish, until there is a picture or a last word."""
        kind = self._random.choice(KINDS)
        self._report.kinds[kind.name] += 1
        body = kind.body(f"soak {name}")
        keyed = {"idempotency-key": name} if self._random.random() < 0.3 else {}
        hurried = self._random.choice((0, 0, 0, 1, 2))  # attempts that the caller leaves early
        end = GAVE_UP
        attempt, refused = -1, 0
        while attempt - refused < TRIES - 1:
            attempt += 1
            label = f"{name}.{attempt}"
            headers = {**AUTHORIZED, **keyed, "x-request-id": label, "x-stainless-retry-count": str(attempt)}
            wait = self._random.uniform(0.02, 0.5) if attempt < hurried else 60
            try:
                reply = await self._asked(client, f"{self._gateway(name).url}{kind.path}", headers, wait, body)
            except httpx2.ConnectError:
                self._tell(name, "refused")
                refused += 1  # nobody was there to be asked
                await asyncio.sleep(0.3)
                continue
            except (TimeoutError, httpx2.HTTPError) as error:
                self._tell(name, type(error).__name__)
                if attempt >= hurried or self._random.random() >= 0.3:
                    continue
                found = await self._kept(client, name, label)
                if found is None or found.status != httpx2.codes.OK:
                    continue
                reply = found
            end = self._looked(name, reply)
            self._tell(name, end)
            if end == "answered" or not reply.retry:
                break
            await asyncio.sleep(self._random.uniform(0.1, 0.5))
        self.ends[name] = end
        self._report.outcomes[end] += 1

    async def _asked(
        self, client: httpx2.AsyncClient, url: str, headers: dict[str, str], wait: float, body: dict[str, Any]
    ) -> Reply:
        timeout = httpx2.Timeout(wait, connect=5)
        async with asyncio.timeout(wait):  # of a stream, all of it
            return read(await client.post(url, headers=headers, timeout=timeout, **body))

    async def _kept(self, client: httpx2.AsyncClient, name: str, label: str) -> Reply | None:
        for _ in range(100):
            try:
                url = f"{self._gateway(name).url}/v1/images/results/{label}"
                found = await client.get(url, headers=AUTHORIZED, timeout=30)
            except httpx2.HTTPError:
                await asyncio.sleep(0.3)
                continue
            if found.status_code != httpx2.codes.ACCEPTED:
                return read(found)
            await asyncio.sleep(0.2)
        return None

    def _looked(self, name: str, reply: Reply) -> str:
        """Every byte must be what the provider made for this very prompt."""
        if reply.status != httpx2.codes.OK:
            return f"{reply.status} {reply.code}"
        digests = {hashlib.sha256(base64.b64decode(text)).hexdigest() for text in reply.pictures}
        if not digests or not digests <= self._made.digests.get(name, set()):
            self._report.wrong.append(name)
        self._report.replayed += reply.replayed
        return "answered"


async def had(url: str, name: str, made: Made) -> bool:
    """Whether the results route gives the very picture of a wish, under any of its labels."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        for attempt in range(TRIES):
            answer = await client.get(f"{url}/v1/images/results/{name}.{attempt}", headers=AUTHORIZED, timeout=30)
            if answer.status_code == httpx2.codes.OK:
                pictures = (base64.b64decode(text) for text in read(answer).pictures)
                return {hashlib.sha256(data).hexdigest() for data in pictures} <= made.digests.get(name, set())
    return False


def read(answer: httpx2.Response) -> Reply:
    """A whole answer. Raises RemoteProtocolError for a stream without an end."""
    replayed = answer.headers.get("pinhole-replayed") == "true"
    if not answer.headers["content-type"].startswith("text/event-stream"):
        document = answer.json()
        retry = answer.headers.get("x-should-retry") != "false"
        pictures = tuple(item["b64_json"] for item in document.get("data", ()))
        return Reply(answer.status_code, pictures, document.get("error", {}).get("code", ""), retry, replayed)
    documents = [
        json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")
    ]
    if not documents or not documents[-1]["type"].endswith((".completed", "error")):
        raise httpx2.RemoteProtocolError("the stream has no end")
    if documents[-1]["type"] == "error":
        return Reply(0, code=documents[-1]["error"]["code"])
    return Reply(200, tuple(one["b64_json"] for one in documents), replayed=replayed)
