"""The outermost layer: whose requests are answered, under which id, and what no answer carries."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from starlette.responses import Response

from app.http.arrival import Arrival
from app.http.edge import REQUEST_ID_FORM, Edge, label
from app.settings import SettingsError
from app.store import DiskStore
from app.store.protocol import Stored
from app.telemetry import Telemetry
from providers.kit.clock import SystemClock
from tests.app.wire import GENERATE, ask, post
from tests.gateway import Gateway, running

PLAIN = {"model": "sandbox/canvas", "prompt": "a", "size": "64x64"}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with caller keys, an admin key and a public name."""
    environ = {
        "PINHOLE_SANDBOX": "true",
        "PINHOLE_API_KEYS": "sk-one, sk-two",
        "PINHOLE_ADMIN_KEY": "sk-admin",
        "PINHOLE_PUBLIC_URL": "https://images.example",
    }
    config = 'keys: [{name: gpt, key: sk-gpt, models: ["gpt-image-*"], policy: lenient, response_format: url}]'
    with running(tmp_path_factory.mktemp("closed"), environ, config) as gateway:
        yield gateway


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "10.0.0.1", "127.0.0.2", "[::2]:80"],
)
@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/docs", "/nothing"])
def test_without_keys_a_foreign_host_is_refused(sandbox: Gateway, host: str, path: str) -> None:
    """A web page that rebinds its name to this machine is answered nothing at all."""
    answer = ask(sandbox, "GET", path, host=host)

    assert (answer.status, answer.error["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8080"])
def test_without_keys_this_machines_names_are_answered(sandbox: Gateway, host: str) -> None:
    """Loopback in each spelling, with a port or none."""
    assert ask(sandbox, "GET", "/v1/models", host=host).status == 200


def test_the_public_name_is_answered_too(tmp_path: Path) -> None:
    """PINHOLE_PUBLIC_URL's own host is no foreign one."""
    with running(
        tmp_path, {"PINHOLE_SANDBOX": "true", "PINHOLE_PUBLIC_URL": "https://Images.example:9/p"}
    ) as gateway:
        assert ask(gateway, "GET", "/v1/models", host="images.EXAMPLE:9").status == 200
        assert ask(gateway, "GET", "/v1/models", host="example").status == 403


def test_with_keys_the_host_does_not_matter(closed: Gateway) -> None:
    """The key protects it."""
    assert ask(closed, "GET", "/v1/models", host="anything", api_key="sk-one").status == 200


@pytest.mark.parametrize("given", ["abc", "a" * 128, "A.b_c-9"])
def test_a_good_request_id_is_echoed(sandbox: Gateway, given: str) -> None:
    """On success and on errors alike."""
    assert ask(sandbox, "GET", "/healthz", x_request_id=given).headers["x-request-id"] == given
    assert ask(sandbox, "GET", "/nothing", x_request_id=given).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "a;b", "../x", "\xe9", "a\tb"])
def test_another_request_id_is_replaced(sandbox: Gateway, given: str) -> None:
    """What could break a log or a path gets a new one, different each time."""
    found = {ask(sandbox, "GET", "/healthz", x_request_id=given).headers["x-request-id"] for _ in range(2)}

    assert len(found) == 2
    assert all(REQUEST_ID_FORM.fullmatch(each) and each != given for each in found)


def test_a_minted_id_has_the_form_that_is_accepted() -> None:
    """It can be sent back as it is."""
    assert REQUEST_ID_FORM.fullmatch(label({}))


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
def test_no_answer_allows_another_origin(sandbox: Gateway, method: str) -> None:
    """No CORS header is ever sent, so a browser shows nothing to another site."""
    answer = ask(
        sandbox, method, "/v1/images/generations", origin="https://evil.example", access_control_request_method="POST"
    )

    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sk-one"},
        {"authorization": "bearer sk-two"},
        {"api_key": "sk-one"},
        {"x_api_key": "sk-two"},
    ],
)
def test_each_spelling_of_a_key_opens(closed: Gateway, headers: dict[str, str]) -> None:
    """OpenAI's, Azure's and the common one, with /v1 and without."""
    assert ask(closed, "GET", "/v1/models", **headers).status == 200
    assert ask(closed, "GET", "/models", **headers).status == 200


@pytest.mark.parametrize("key", [None, "sk-wrong", "sk-one, sk-two", "sk-admin", "\xe9"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/gpt-image-2"),
        ("POST", GENERATE),
        ("POST", f"{GENERATE}/explain"),
        ("POST", "/images/edits"),
        ("GET", "/v1/images/results/x"),
    ],
)
def test_without_a_known_key_nothing_is_answered(closed: Gateway, method: str, path: str, key: str | None) -> None:
    """401 in the envelope, before the body is read, and the key is not repeated."""
    headers = {} if key is None else {"api_key": key}
    answer = ask(closed, method, path, b"{", content_type="application/json", **headers)

    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert answer.error["type"] == "authentication_error"
    assert b"sk-" not in answer.body


@pytest.mark.parametrize("path", ["/admin/keys", "/admin/usage", "/admin/usage.csv"])
def test_the_admin_routes_take_the_admin_key_alone(closed: Gateway, path: str) -> None:
    """A caller's key is not enough."""
    assert ask(closed, "GET", path, api_key="sk-one").status == 401
    assert ask(closed, "GET", path, api_key="sk-admin").status == 200


def test_health_needs_no_key(closed: Gateway) -> None:
    """Probes and people who look for the documentation are not asked; HEAD is as good as GET."""
    for path in ("/healthz", "/readyz"):
        assert ask(closed, "GET", path).status == 200
        assert ask(closed, "HEAD", path).status == 200
    assert ask(closed, "GET", "/docs").status == 200


def test_a_keys_settings_hold(closed: Gateway) -> None:
    """Its patterns, its policy and its form are used without being asked for."""
    wish = {"model": "gpt-image-2", "prompt": "a", "n": 1, "wibble": 1}
    mine = post(closed, wish, GENERATE, api_key="sk-gpt")
    other = post(closed, {**wish, "model": "dall-e-3"}, GENERATE, api_key="sk-gpt")
    listed = ask(closed, "GET", "/v1/models", api_key="sk-gpt").json()["data"]

    assert "url" in mine.json()["data"][0]
    assert (other.status, other.error["code"]) == (403, "permission_denied")
    assert listed
    assert all(model["id"].startswith("gpt-image-") for model in listed)
    assert ask(closed, "GET", "/v1/models/dall-e-3", api_key="sk-gpt").status == 404


def test_the_sdks_raise_their_own_errors(closed: Gateway) -> None:
    """A wrong key is AuthenticationError to the official SDK, with our message in it."""
    with openai.OpenAI(base_url=closed.v1, api_key="sk-wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.images.generate(model="gpt-image-2", prompt="a")
        assert caught.value.code == "invalid_api_key"


def test_metrics_are_open_on_loopback(sandbox: Gateway) -> None:
    """Prometheus text that counts answers, with bounded labels."""
    for path in ("/healthz", "/a", "/b", "/c"):
        ask(sandbox, "GET", path)
    text = ask(sandbox, "GET", "/metrics").body.decode()

    assert 'pinhole_http_answers_total{route="healthz",status="200"}' in text
    assert "/a" not in text


def test_processing_time_is_told(sandbox: Gateway) -> None:
    """Whole milliseconds on every answer."""
    for path in ("/healthz", "/nothing"):
        assert ask(sandbox, "GET", path).headers["openai-processing-ms"].isdecimal()


@pytest.mark.parametrize("path", ["/v1/images/generations", "/images/edits"])
def test_a_request_that_reaches_nobody_says_so(sandbox: Gateway, path: str) -> None:
    """Refused before anybody was called: no attempts."""
    for body in ("{", json.dumps({"model": "absent", "prompt": "a"})):
        assert ask(sandbox, "POST", path, body, content_type="application/json").headers["pinhole-attempts"] == "0"


class Broken(DiskStore):
    """A store with a mistake in it."""

    async def get(self, name: str) -> Stored | None:
        raise ZeroDivisionError(name)


def test_what_nobody_foresaw_is_500_with_the_id_that_the_log_has(tmp_path: Path) -> None:
    """The envelope, none of the inside, and the caller's own request id."""
    with running(tmp_path, store=Broken(tmp_path / "images", SystemClock(), 60)) as gateway:
        url = post(gateway, {**PLAIN, "response_format": "url"}, GENERATE).json()["data"][0]["url"]
        answer = ask(gateway, "GET", url.removeprefix(gateway.url), x_request_id="mine")
        counted = ask(gateway, "GET", "/metrics").body

    assert b'pinhole_http_answers_total{route="files",status="500"} 1.0' in counted
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] == "mine"
    assert b"ZeroDivision" not in answer.body


async def test_a_mistake_in_a_handler_is_500_and_goes_on() -> None:
    """The handlers that the edge calls itself are answered for as the app's own, and the server hears of it."""
    seen: list[MutableMapping[str, Any]] = []

    async def broken(_: Arrival) -> Response:
        raise ZeroDivisionError("a secret")

    async def nothing(*_: object) -> Any:
        raise AssertionError

    async def tell(message: MutableMapping[str, Any]) -> None:
        seen.append(message)

    edge = Edge(nothing, telemetry=Telemetry(), public_url="", closed=True, direct={("POST", "/x"): broken})
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [(b"x-request-id", b"mine")]}
    with pytest.raises(ZeroDivisionError):
        await edge(scope, nothing, tell)

    assert seen[0]["status"] == 500
    assert (b"x-request-id", b"mine") in seen[0]["headers"]
    assert b"internal_error" in seen[1]["body"]
    assert b"secret" not in seen[1]["body"]


def test_a_gateway_without_keys_does_not_start_on_a_network(tmp_path: Path) -> None:
    """The refusal comes before anything listens."""
    gateway = running(tmp_path, {"PINHOLE_SANDBOX": "true", "PINHOLE_HOST": "0.0.0.0"})  # noqa: S104 - refused
    with pytest.raises(SettingsError, match="PINHOLE_API_KEYS"):
        gateway.__enter__()


def test_both_prefixes_serve_the_same(sandbox: Gateway) -> None:
    """Everything under /v1 is also served without it."""
    for path in ("/models", "/models/gpt-image-2"):
        assert httpx2.get(sandbox.url + path).json() == httpx2.get(sandbox.v1 + path).json()
    assert post(sandbox, PLAIN, "/images/generations/explain").status == 200


def test_every_error_makes_a_refused_line(closed: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """Those of the image routes too, with the caller where it is known and never with what it sent."""
    with caplog.at_level(logging.INFO, "pinhole"):
        post(closed, b'{"prompt": "a secret wish", "model": "nothing"}', GENERATE, api_key="sk-one")
        post(closed, b'{"prompt": "a secret wish"}', GENERATE, api_key="sk-false")
        ask(closed, "GET", "/v1/models/nothing", api_key="sk-one")
        ask(closed, "GET", "/v1/secret")
        ask(closed, "DELETE", "/v1/models")
    fields = [record.__dict__["fields"] for record in caplog.records if record.message == "refused"]

    assert [(each["status"], each["caller"]) for each in fields] == [
        (404, "env-1"),
        (401, None),
        (404, None),
        (404, None),
        (405, None),
    ]
    assert "secret" not in str(fields)
