"""Paths, methods and bodies that the gateway does not serve: each is told in the envelope, with what would do."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.app.wire import EDIT, GENERATE, ask
from tests.gateway import Gateway

BODY = json.dumps({"model": "gpt-image-2", "prompt": "a kite"})


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/images/generations/", "/v1/images/generations"),
        ("//v1/images/generations", "/v1/images/generations"),
        ("/v1//images/edits", "/v1/images/edits"),
        ("/v1/v1/images/generations", "/v1/images/generations"),
        ("/openai/v1/images/generations/explain", "/v1/images/generations/explain"),
        ("/V1/Images/Edits", "/v1/images/edits"),
    ],
)
def test_a_path_that_is_nearly_right_is_told_the_right_one(sandbox: Gateway, path: str, meant: str) -> None:
    """A base URL with a slash or a /v1 too many is seen from the message."""
    answer = ask(sandbox, "POST", path, BODY, content_type="application/json")

    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert answer.error["message"] == f"Nothing lives at {path}; {meant} may be meant."


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/images/variations", "/", "/v1/"])
def test_another_api_is_told_what_is_made_here(sandbox: Gateway, path: str) -> None:
    """Who takes it for a gateway of texts reads where images are made."""
    answer = ask(sandbox, "POST", path, BODY, content_type="application/json")

    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert "/v1/images/generations" in answer.error["message"]
    assert "/docs" in answer.error["message"]


def test_the_models_with_a_slash_behind_are_no_model(sandbox: Gateway) -> None:
    """An empty id is a slip of the path."""
    answer = ask(sandbox, "GET", "/v1/models/")

    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert "/v1/models may be meant" in answer.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", GENERATE, "POST"),
        ("HEAD", EDIT, "POST"),
        ("OPTIONS", GENERATE, "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
        ("PUT", "/files/x.png", "GET, HEAD"),
        ("PUT", "/admin/keys", "GET, POST"),
        ("PATCH", "/admin/keys/k", "DELETE"),
    ],
)
def test_a_wrong_method_is_told_all_right_ones(sandbox: Gateway, method: str, path: str, allowed: str) -> None:
    """`allow` holds each method of the path, whichever of its routes is found first."""
    answer = ask(sandbox, method, path)

    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert answer.body == b"" if method == "HEAD" else answer.error["code"] == "method_not_allowed"


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
@pytest.mark.parametrize(
    ("path", "kind"), [(GENERATE, "application/json"), (EDIT, "multipart/form-data; boundary=x")]
)
def test_a_compressed_body_is_415(sandbox: Gateway, path: str, kind: str, coding: str) -> None:
    """It is not taken for broken JSON; a body that is plain may say so."""
    body = gzip.compress(BODY.encode())
    answer = ask(sandbox, "POST", path, body, content_type=kind, content_encoding=coding)
    plain = ask(sandbox, "POST", GENERATE, BODY, content_type="application/json", content_encoding="identity")

    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    assert coding in answer.error["message"]
    assert plain.status == 200


def test_a_websocket_is_not_opened(sandbox: Gateway) -> None:
    """Who asks for one is answered as HTTP, in the envelope."""
    upgrade = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec_websocket_key": "x",
        "sec_websocket_version": "13",
    }
    answer = ask(sandbox, "GET", "/v1/realtime", **upgrade)

    assert (answer.status, answer.error["code"]) == (404, "not_found")
