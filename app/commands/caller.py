"""The command line as a caller: one request to a running gateway, or to one in this process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pybase64

from app.main import create_app
from app.settings import SettingsError, load
from providers.kit.images import dimensions, sniff

if TYPE_CHECKING:
    import httpx2

PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line asked for."""

    fields: dict[str, Any]
    images: tuple[Path, ...] = ()
    mask: Path | None = None
    url: str | None = None
    key: str | None = field(default=None, repr=False)

    @property
    def path(self) -> str:
        """The route."""
        return "/v1/images/edits" if self.images else "/v1/images/generations"


def ask(wish: Wish, *, progress: bool) -> httpx2.Response:
    """The answer. Raises SettingsError with the gateway's own words when it refuses."""
    return asyncio.run(
        _asked(replace(wish, fields={"response_format": "b64_json", **wish.fields}), wish.path, progress=progress)
    )


def explained(wish: Wish) -> Any:
    """The explanation of the request. Raises SettingsError."""
    return asyncio.run(_asked(wish, f"{wish.path}/explain", progress=False)).json()


def named(wish: Wish, out: Path) -> Wish:
    """The same wish in the format that the file's name tells, unless it names one itself."""
    known = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}.get(out.suffix.lower())
    return replace(wish, fields={"output_format": known, **wish.fields}) if known else wish


def saved(answer: httpx2.Response, out: Path) -> Iterator[str]:
    """Write the images; a line for each, then what it cost and what was changed. Raises SettingsError."""
    items = answer.json()["data"]
    for number, item in enumerate(items, 1):
        if "url" in item:
            yield item["url"]
            continue
        data = pybase64.b64decode(item["b64_json"])
        came = sniff(data)
        path = out if out.suffix or came is None else out.with_name(f"{out.name}.{came.suffix}")
        path = path if len(items) == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            path.write_bytes(data)
        except OSError as error:
            label = answer.headers["x-request-id"]
            raise SettingsError(
                f"{path} cannot be written ({error.strerror}). A running gateway keeps the answer for an hour at "
                f"/v1/images/results/{label}."
            ) from None
        size = dimensions(data)
        yield f"{path}  {'x'.join(map(str, size)) if size else 'unknown size'}  {len(data)} bytes"
    yield f"model {answer.headers['pinhole-model']} by {answer.headers['pinhole-provider']}"
    yield f"cost {answer.headers.get('pinhole-cost-usd', 'unknown')} USD"
    if changed := answer.headers.get("pinhole-adjustments"):
        yield f"adjusted {changed}"


async def _asked(wish: Wish, path: str, *, progress: bool) -> httpx2.Response:
    import httpx2  # noqa: PLC0415 - `serve` does without it

    async with _gateway(wish) as client:
        task = asyncio.create_task(client.post(path, **_body(wish)))
        waited = 0
        while not (await asyncio.wait([task], timeout=1))[0]:
            waited += 1
            if progress:
                sys.stderr.write(f"\rwaiting {waited} s")
                sys.stderr.flush()
        if progress and waited:
            sys.stderr.write("\r")
        try:
            answer = task.result()
        except httpx2.HTTPError as error:
            raise SettingsError(f"{wish.url} cannot be reached ({type(error).__name__}).") from None
    if answer.status_code != HTTPStatus.OK:
        here = "" if wish.url else " A gateway that runs is asked with --url, such as http://127.0.0.1:8080."
        raise SettingsError(_reason(answer) + (here if answer.status_code == HTTPStatus.NOT_FOUND else ""))
    return answer


@asynccontextmanager
async def _gateway(wish: Wish) -> AsyncIterator[httpx2.AsyncClient]:
    import httpx2  # noqa: PLC0415 - as above

    headers = {"authorization": f"Bearer {wish.key}"} if wish.key else {}
    if wish.url:
        base_url = wish.url.rstrip("/").removesuffix("/v1")
        async with httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=PATIENCE_SECONDS) as client:
            yield client
        return
    settings = load()
    app = create_app(replace(settings, api_keys=()))
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=PATIENCE_SECONDS) as client,
    ):
        yield client


def _body(wish: Wish) -> dict[str, Any]:
    if not wish.images:
        return {"json": wish.fields}
    files = [("image[]", (path.name, path.read_bytes())) for path in wish.images]
    if wish.mask:
        files.append(("mask", (wish.mask.name, wish.mask.read_bytes())))
    data = {key: value if isinstance(value, str) else json.dumps(value) for key, value in wish.fields.items()}
    return {"data": data, "files": files}


def _reason(answer: httpx2.Response) -> str:
    try:
        error = answer.json()["error"]
        return f"{error['message']} ({answer.status_code} {error['code']})"
    except (ValueError, KeyError, TypeError):
        return f"the gateway answered {answer.status_code}"
