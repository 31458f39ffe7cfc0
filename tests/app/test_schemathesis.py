"""The gateway does what its own OpenAPI description says, asked at random."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.app.wire import data_url
from tests.gateway import Gateway
from tests.upstreams.images import png

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 25
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
# A path or nothing at all cannot be wrong in form.
WITH_QUERY = {"/v1/models", "/files/{name}", "/admin/usage", "/admin/usage.csv"}
OPERATIONS = [
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/images/generations/explain"),
    ("POST", "/v1/images/edits"),
    ("POST", "/v1/images/edits/explain"),
    ("GET", "/v1/images/results/{name}"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("GET", "/files/{name}"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("POST", "/admin/keys"),
    ("GET", "/admin/keys"),
    ("DELETE", "/admin/keys/{key_id}"),
    ("GET", "/admin/providers"),
    ("GET", "/admin/usage"),
    ("GET", "/admin/usage.csv"),
]


@pytest.fixture(scope="module")
def description(sandbox: Gateway) -> Any:
    """The running gateway's own."""
    return schemathesis.openapi.from_url(f"{sandbox.url}/openapi.json")


def test_every_route_is_in_the_list(description: Any) -> None:
    """No described operation is left out below."""
    described = [(method.upper(), path) for path, item in description.raw_schema["paths"].items() for method in item]

    assert sorted(described) == sorted(OPERATIONS)


def cheap(case: schemathesis.Case[Any]) -> Any:
    """The same body, mostly asked of a model that draws small pictures at once, with pictures put in."""
    body = case.body
    if not isinstance(body, dict):
        return body
    changed: dict[str, Any] = dict(body)
    if len(str(body.get("prompt"))) % 4:
        changed |= {"model": "sandbox/canvas", "size": "64x64", "n": 1}
    if "image" in body and case.media_type != "application/json":
        changed["image"] = [png(64, 64)]
        changed.pop("mask", None)
    if isinstance(body.get("images"), list):
        changed["images"] = [{"image_url": data_url(png(64, 64))}]
        changed["mask"] = None
    return changed


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        *((method, path, POSITIVE) for method, path in OPERATIONS),
        *((method, path, NEGATIVE) for method, path in OPERATIONS if method == "POST" or path in WITH_QUERY),
    ],
)
def test_an_operation_keeps_its_description(
    description: Any, method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    """Whatever fits the description, or breaks it, is answered with a status, a type and a body that it names."""
    operation = description[path][method]
    seen: set[int] = set()

    @seed(20261123)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: schemathesis.Case[Any]) -> None:
        case.body = cheap(case)
        response = case.call(headers={"pinhole-deadline": "20"})
        case.validate_response(response, checks=CHECKS)
        assert str(response.status_code) in operation.definition.raw["responses"]
        seen.add(response.status_code)

    run()
    assert seen
    if mode is POSITIVE and path.startswith("/v1/images/") and method == "POST":
        assert 200 in seen, seen


def test_the_description_names_no_framework_form(sandbox: Gateway) -> None:
    """No answer is described in the framework's own error form, and every error in the envelope."""
    document = httpx2.get(f"{sandbox.url}/openapi.json").json()

    assert "HTTPValidationError" not in str(document)
    for path, item in document["paths"].items():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                if status == "default" or int(status) >= 400:
                    assert "error" in answer["content"]["application/json"]["schema"]["properties"], (path, status)
