"""Nothing that is secret, and nothing that a caller wrote, comes out where it should not.

A real gateway process is given distinctive secrets, prompts and images, is driven through successes, refusals,
upstreams that repeat its keys, garbage and failures of its own; then every place it writes to is searched.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.app.wire import data_url
from tests.matrix.vendors import VENDORS
from tests.services import free_port
from tests.upstreams.collector import Collector
from tests.upstreams.echo import CREDENTIALS, EchoStandIn
from tests.upstreams.images import png
from tests.upstreams.openai import OpenAIStandIn

PROGRAM = Path(sys.executable).with_name("pinhole")
START_SECONDS = 30.0

# Each holds sixteen letters that are found nowhere else; a half of them is a leak too.
CALLER = "sk-caller-Qm7ZxV2pLw9TnB4K"
CALLER_OF_FILE = "team.Hd3YcR8sUf6GjE1M"
ADMIN = "admin-Wt5NaP0kXb2VzD7C"
SIGNING = "Lq8FeS3mOy6RhI1U-signs-the-links-of-the-test"
WRONG = "sk-wrong-Zk4JvT9gMu5WxA2Y"
PROVIDERS = {
    "openai": "sk-proj-Bn6DpQ1rEs8HcF3T",
    "gemini": "AIzaSyKw2XyU7iOa5LzG9J",
    "qwen": "sk-Rv3MbN8qCt6PdH1S",
    "minimax": "eyJhbGciOiJSUzI1NiJ9.Yf4WgV9jTz2KxE7B.sig",
    "cogview": "9f2c4e6a8b0d1f3e.Ua5QrL0nIm8ChD3P",
    "stability": "sk-Gs6ZoX1wJv9BtK4F",
    "replicate": "r8_Mh7RyE2uPn5AqW0L",
}
ENGINE = "Ti8DfC3vNb6XgS1Z"
ENGINE_PASSWORD = "Oe9KjU4yHr7MwQ2V"
REDIS_PASSWORD = "Xp1LtG6aDz3FbY8N"
COLLECTOR_KEY = "Jc2SmR7kVq9EoW4H"
PROMPT = "a Pu0BiT5x lighthouse for Nw8ZeA3d"
END_USER = "person-Fy6VhK1s"
WORDS = ("Pu0BiT5x", "Nw8ZeA3d")
KEYS = (CALLER, CALLER_OF_FILE, ADMIN, SIGNING, WRONG, *PROVIDERS.values(), ENGINE, ENGINE_PASSWORD)
SECRETS = (*KEYS, REDIS_PASSWORD, COLLECTOR_KEY)

IMAGE = png(64, 48)
MIDDLE = base64.b64encode(IMAGE)[len(IMAGE) // 2 :][:40].decode()


def marks(secret: str) -> set[str]:
    """What betrays a secret: both halves of its sixteen letters, and the whole as base64 and in a URL."""
    core = next(part for part in secret.replace("_", "-").replace(".", "-").split("-") if len(part) >= 16)[-16:]
    whole = {base64.b64encode(secret.encode()).decode().rstrip("=")[:-2], quote(secret, safe="")}
    return {core[:8], core[8:], *whole}


BASIC = base64.b64encode(f"operator:{ENGINE_PASSWORD}".encode()).decode()


@dataclass
class Sinks:
    """Everything that came out, by where it came out; `shown` is what the careless upstream got to repeat."""

    texts: dict[str, str] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)

    def add(self, where: str, text: bytes | str) -> None:
        """Keep it for the search."""
        found = text if isinstance(text, str) else text.decode("latin-1")
        self.texts[where] = self.texts.get(where, "") + "\n" + found

    def leaks(self, needles: set[str], where: str = "") -> list[str]:
        """Where which of them is found, with what stands around it."""
        return [
            f"{name}: {needle} in ...{text[max(0, at - 80) : at + 40]!r}"
            for name, text in self.texts.items()
            if name.startswith(where)
            for needle in needles
            if (at := text.find(needle)) >= 0
        ]


@dataclass(frozen=True)
class Process:
    """`pinhole serve`, and what it may be asked."""

    url: str
    folder: Path
    environ: dict[str, str]
    sinks: Sinks

    def ask(self, method: str, path: str, key: str | None = CALLER, **more: Any) -> httpx2.Response:
        """One request; errors go into the sinks whole, successes with their headers."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        headers |= more.pop("headers", {})
        answer = httpx2.request(method, f"{self.url}{path}", headers=headers, timeout=60, **more)
        self.sinks.add("headers", str(answer.headers.multi_items()))
        if answer.status_code >= 400:
            self.sinks.add("error bodies", answer.text)
        return answer

    def run(self, *arguments: str, **environ: str) -> None:
        """Another `pinhole` command in the same environment, its output into the sinks."""
        done = subprocess.run(  # noqa: S603 - our own program
            [str(PROGRAM), *arguments],
            env=self.environ | environ,
            cwd=self.folder,
            capture_output=True,
            timeout=60,
            check=False,
        )
        self.sinks.add(f"output of pinhole {arguments[0]}", done.stdout + done.stderr)


CONFIG = f"""
providers:
  engine: {{type: openai, base_url: "http://$ECHO/v1", api_key: "{ENGINE}"}}
  behind: {{type: openai, base_url: "http://operator:{ENGINE_PASSWORD}@$ECHO/v1"}}
models:
  drawer: {{provider: engine, like: gpt-image-1}}
  painter: {{provider: behind, like: gpt-image-1}}
keys:
  - {{name: team, key: {CALLER_OF_FILE}, limits: {{images_per_minute: 2}}, metadata: {{cost: centre}}}}
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Sinks:
    """All sinks of a gateway after everything that could make it talk."""
    folder = tmp_path_factory.mktemp("secrets")
    sinks = Sinks()
    with EchoStandIn() as echo, OpenAIStandIn(PROVIDERS["openai"]) as openai, Collector() as collector:
        environ = environment(folder, echo, openai, collector)
        (folder / "pinhole.yaml").write_text(CONFIG.replace("$ECHO", echo.url.removeprefix("http://")))
        output = (folder / "output").open("wb")
        server = subprocess.Popen([str(PROGRAM), "serve"], env=environ, cwd=folder, stdout=output, stderr=output)  # noqa: S603 - our own program
        try:
            process = Process(f"http://127.0.0.1:{environ['PINHOLE_PORT']}", folder, environ, sinks)
            wait(process)
            drive(process)
        finally:
            server.terminate()
            server.wait(60)
            output.close()
        sinks.add("output of pinhole serve", (folder / "output").read_bytes())
        sinks.shown = {held for each in echo.exchanges for name in CREDENTIALS if (held := each.header(name))}
        assert any(span.name == "upstream" for span in collector.spans)
        for exchange in collector.exchanges:
            sinks.add("spans", exchange.body)
    for path in sorted((folder / "data").rglob("*")):
        if path.is_file() and "images" not in path.parts:
            sinks.add(f"file {path.relative_to(folder)}", path.read_bytes())
    return sinks


def environment(folder: Path, echo: EchoStandIn, openai: OpenAIStandIn, collector: Collector) -> dict[str, str]:
    """Every variable that holds a secret."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    found = {vendor.key_env: PROVIDERS[vendor.name] for vendor in VENDORS}
    found |= {vendor.base_env: echo.url + vendor.suffix for vendor in VENDORS}
    return {
        **kept,
        **found,
        "OPENAI_BASE_URL": openai.base_url,
        "PINHOLE_PORT": str(free_port()),
        "PINHOLE_CONFIG": str(folder / "pinhole.yaml"),
        "PINHOLE_DATA_DIR": str(folder / "data"),
        "PINHOLE_API_KEYS": CALLER,
        "PINHOLE_ADMIN_KEY": ADMIN,
        "PINHOLE_SECRET": SIGNING,
        "REDIS_URL": f"redis://operator:{REDIS_PASSWORD}@127.0.0.1:{free_port()}/0",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-collector-key={COLLECTOR_KEY}",
    }


def wait(process: Process) -> None:
    """Until it answers."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            if httpx2.get(f"{process.url}/readyz").status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.05)
    pytest.fail((process.folder / "output").read_text())


def drive(process: Process) -> None:
    """Successes, refusals, careless upstreams, garbage, and failures of the gateway itself."""
    deliver(process)
    refuse(process)
    upstreams_fail(process)
    garble(process)
    for path in ("/metrics", "/v1/models?all=true", "/docs", "/openapi.json", "/readyz"):
        process.sinks.add(f"GET {path}", process.ask("GET", path).text)
    for path in ("/admin/usage?group_by=user", "/admin/usage.csv?group_by=key", "/admin/keys"):
        process.sinks.add(f"GET {path}", process.ask("GET", path, ADMIN).text)
    for command in (("check",), ("models",), ("usage",), ("keys", "list")):
        process.run(*command)
    break_the_ledger(process)
    for file in (process.folder / "data" / "settlements").iterdir():  # gone after a clean stop
        process.sinks.add("file data/settlements", file.read_bytes())


def deliver(process: Process) -> None:
    """Links, base64, a stream, an edit, a dry run, a dynamic key and a caller who hangs up."""
    wish = {"model": "gpt-image-2", "prompt": PROMPT, "user": END_USER}
    for more in ({"response_format": "url"}, {"response_format": "b64_json"}, {"stream": True}):
        assert process.ask("POST", "/v1/images/generations", json=wish | more).status_code == 200
    edit = {"model": "gpt-image-2", "prompt": PROMPT, "images": [{"image_url": data_url(IMAGE)}]}
    assert process.ask("POST", "/v1/images/edits", json=edit).status_code == 200
    explained = process.ask("POST", "/v1/images/edits/explain", json=edit)
    process.sinks.add("explain", explained.text.replace(PROMPT, ""))
    for model in ("drawer", "painter"):
        drawer = process.ask("POST", "/v1/images/generations/explain", json=wish | {"model": model})
        process.sinks.add("explain", drawer.text.replace(PROMPT, ""))
    made = process.ask("POST", "/admin/keys", ADMIN, json={"name": "made"}).json()["key"]
    assert process.ask("POST", "/v1/images/generations", made, json=wish).status_code == 200
    process.sinks.texts["made key"] = made
    host, _, port = process.url.removeprefix("http://").partition(":")
    body = json.dumps(wish | {"prompt": f"{PROMPT} SLOW"}).encode()
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {CALLER}\r\n"
    with socket.create_connection((host, int(port))) as gone:
        gone.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(0.2)


def refuse(process: Process) -> None:
    """Wrong keys in each place, limits, and values that no model has."""
    wish = {"model": "gpt-image-2", "prompt": PROMPT}
    for header in ("authorization", "api-key", "x-api-key"):
        process.ask("POST", "/v1/images/generations", None, json=wish, headers={header: f"Bearer {WRONG}"})
    process.ask("GET", f"/v1/models?api_key={WRONG}", None)
    process.ask("GET", f"/files/{WRONG}.png?signature={WRONG}", None)
    process.ask("GET", "/v1/models", ADMIN)
    process.ask("GET", "/admin/keys", CALLER)
    for _ in range(3):
        process.ask("POST", "/v1/images/generations", CALLER_OF_FILE, json=wish)
    whole = base64.b64encode(IMAGE).decode()
    for more in ({"size": whole}, {"quality": whole}, {whole: 1}, {"n": whole}, {"model": whole}):
        process.ask("POST", "/v1/images/generations", json=wish | more)
    process.ask("POST", "/v1/images/edits", json=wish | {"images": [{"image_url": whole}]})
    process.ask("POST", "/v1/images/edits", json=wish | {"images": [{"image_url": data_url(IMAGE[:-20])}]})
    process.ask("POST", "/v1/images/generations", json=wish | {"prompt": f"{PROMPT} FORBIDDEN"})


def upstreams_fail(process: Process) -> None:
    """Every provider repeats our key in every error, in plain and in streams."""
    models = {vendor.generates for vendor in VENDORS if vendor.name != "openai"} | {"drawer", "painter"}
    for model in sorted(models):
        for status in EchoStandIn.statuses:
            wish = {"model": model, "prompt": f"{PROMPT} answer-{status}", "user": END_USER}
            answer = process.ask("POST", "/v1/images/generations", json=wish)
            assert answer.status_code >= 400, (model, status)
        streamed = {"model": model, "prompt": f"{PROMPT} answer-500", "stream": True}
        process.sinks.add("error bodies", process.ask("POST", "/v1/images/generations", json=streamed).text)
    wish = {"model": "gpt-image-2", "prompt": PROMPT}
    for word in ("BOOM", "HTML502", "TRUNCATE", "GARBAGE", "EMPTY"):
        process.ask("POST", "/v1/images/generations", json=wish | {"prompt": f"{PROMPT} {word}"})


def garble(process: Process) -> None:
    """Bodies and requests that are none."""
    for body in (PROMPT.encode(), f'{{"prompt": "{PROMPT}'.encode(), IMAGE, b"\xff\xfe" + PROMPT.encode()):
        for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain", PROMPT):
            for path in ("generations", "edits"):
                process.ask("POST", f"/v1/images/{path}", content=body, headers={"content-type": kind})
    host, _, port = process.url.removeprefix("http://").partition(":")
    for data in (
        f"GET /{CALLER} HTTP/9\r\n\r\n",
        f"\x16\x03{CALLER}\r\n\r\n",
        f"POST / HTTP/1.1\r\n{CALLER}\r\n\r\n",
    ):
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(data.encode("latin-1"))
            raw.settimeout(2)
            try:
                process.sinks.add("error bodies", raw.recv(4096))
            except TimeoutError:
                continue


def break_the_ledger(process: Process) -> None:
    """The database loses its table and a key's row its form: a 503, and a 500 that nobody foresaw."""
    with closing(sqlite3.connect(process.folder / "data" / "pinhole.db", timeout=20)) as database:
        database.execute("ALTER TABLE requests RENAME TO gone")
        database.execute("UPDATE api_keys SET fields = '{'")
        database.commit()
    assert process.ask("GET", "/admin/usage", ADMIN).status_code == 503
    assert process.ask("GET", "/admin/keys", ADMIN).status_code == 500
    wish = {"model": "gpt-image-2", "prompt": f"{PROMPT} later", "user": END_USER}
    assert process.ask("POST", "/v1/images/generations", json=wish).status_code == 503
    with closing(sqlite3.connect(process.folder / "data" / "pinhole.db", timeout=20)) as database:
        database.execute("ALTER TABLE gone RENAME TO requests")
        database.commit()


def test_no_secret_comes_out_anywhere(searched: Sinks) -> None:
    """Keys and passwords are in no log, metric, error, header, row, export, span, file or command's output."""
    made = searched.texts["made key"].strip().split("-", 2)[2]  # ph, id, secret; the secret may have more of them
    rest = Sinks({name: text for name, text in searched.texts.items() if name != "made key"})
    needles = {mark for secret in SECRETS for mark in marks(secret)} | {made, BASIC[10:30]}

    assert not rest.leaks(needles)


def test_no_prompt_and_no_image_is_written_down(searched: Sinks) -> None:
    """What a caller asked is in no log, metric, header, row, export, span or file; its image in no error either."""
    for where in ("output", "GET", "headers", "spans", "file", "explain"):
        assert not searched.leaks({*WORDS, MIDDLE[:20], MIDDLE[20:]}, where)
    assert not searched.leaks({MIDDLE[:20]}, "error bodies")


def test_an_end_user_is_written_down_as_a_hash(searched: Sinks) -> None:
    """Rows and exports know the same person again without the name; only the person's own answers may hold it."""
    for where in ("output", "GET", "headers", "spans", "file"):
        assert not searched.leaks({END_USER, "Fy6VhK1s"}, where)


def test_the_search_would_find_what_is_there(searched: Sinks) -> None:
    """The sinks are not empty: each is there and holds what it should."""
    texts = searched.texts
    assert '"message":"settled"' in texts["output of pinhole serve"]
    assert '"message":"refused"' in texts["output of pinhole serve"]
    assert "unhandled" in texts["output of pinhole serve"]
    assert "pinhole_requests_total" in texts["GET /metrics"]
    assert "gpt-image-2" in texts["file data/pinhole.db"] + texts.get("file data/pinhole.db-wal", "")
    assert "gpt-image-2" in texts["file data/settlements"]
    assert "upstream_auth_error" in texts["error bodies"]
    assert "***" in texts["output of pinhole check"]
    assert {f"Bearer {ENGINE}", f"Basic {BASIC}"} <= searched.shown
    assert "Basic ***" in texts["explain"]
    others = [key for name, key in PROVIDERS.items() if name != "openai"]
    assert all(any(key in held for held in searched.shown) for key in others)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", f"redis://:{REDIS_PASSWORD}/odd@127.0.0.1:1/0"),
        ("REDIS_URL", f"redis://:a:{REDIS_PASSWORD}@host:port/0"),
        ("REDIS_URL", f"{REDIS_PASSWORD}"),
        ("DATABASE_URL", f"postgresql://pinhole:{REDIS_PASSWORD}@127.0.0.1:1/x"),
        ("DATABASE_URL", f"mysql://pinhole:{REDIS_PASSWORD}@127.0.0.1:1/x"),
        ("DATABASE_URL", f"postgresql://pinhole:a@b:{REDIS_PASSWORD}/x"),
        ("OPENAI_BASE_URL", f"ftp://operator:{REDIS_PASSWORD}@127.0.0.1"),
        ("OPENAI_BASE_URL", f"http://operator:{REDIS_PASSWORD}@127.0.0.1/v1"),
        ("OPENAI_BASE_URL", f"http://operator:a/{REDIS_PASSWORD}@127.0.0.1/v1"),
        ("OPENAI_BASE_URL", f"http://operator:1/{REDIS_PASSWORD}@127.0.0.1/v1"),
        ("OPENAI_BASE_URL", f"http://operator:1#{REDIS_PASSWORD}@127.0.0.1/v1"),
        ("PINHOLE_SECRET", f"{REDIS_PASSWORD},"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://operator:{REDIS_PASSWORD}@127.0.0.1:1"),
    ],
)
def test_a_setting_that_cannot_be_used_is_not_repeated(tmp_path: Path, name: str, value: str) -> None:
    """A start that fails names the variable; neither it nor one that goes well, nor `pinhole check`, its password."""
    kept = {each: os.environ[each] for each in ("PATH", "HOME", "LANG") if each in os.environ}
    environ = {
        **kept,
        "PINHOLE_PORT": str(free_port()),
        "PINHOLE_DATA_DIR": str(tmp_path),
        "OPENAI_API_KEY": "k",
        name: value,
    }
    found = "".join(said(command, environ, tmp_path) for command in ("check", "serve"))

    assert name in found or "Finished server process" in found
    assert not Sinks({"output": found}).leaks(marks(REDIS_PASSWORD))


def said(command: str, environ: dict[str, str], folder: Path) -> str:
    """All that a command prints until it ends, or until it listens and is told to stop."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [str(PROGRAM), command], env=environ, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        end = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(environ["PINHOLE_PORT"]))) == 0:
                    process.terminate()
                    break
            time.sleep(0.05)
        out, _ = process.communicate(timeout=60)
        return out.decode()
