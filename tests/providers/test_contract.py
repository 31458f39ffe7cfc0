"""What every provider promises, checked for every row of every vendor as soon as it exists."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers import discover
from providers.core.errors import UpstreamFailure, UpstreamRateLimited
from providers.core.http import JSON, Event, Form, HTTPResponse
from providers.core.plan import Call, plan
from providers.core.provider import Completed, Failed, LocalProvider, Poll, Provider
from providers.core.spec import ModelSpec
from providers.core.types import ImageFormat, ImageRequest, InputImage, Operation
from providers.kit.bodies import encode
from tests.upstreams.images import png

REMOTE = [provider for provider in discover() if not isinstance(provider, LocalProvider)]
ROWS = [(provider, spec) for provider in REMOTE for spec in provider.models]
PHOTO = InputImage(data=png(512, 512, alpha=200), format=ImageFormat.PNG, width=512, height=512, has_alpha=True)
EACH = pytest.mark.parametrize(("provider", "spec"), ROWS, ids=[spec.id for _, spec in ROWS])
VENDOR = pytest.mark.parametrize("provider", REMOTE, ids=lambda provider: provider.name)


def call(spec: ModelSpec) -> Call:
    """The plainest call of a row."""
    operation = Operation.GENERATE if Operation.GENERATE in spec.operations else Operation.EDIT
    images = (PHOTO,) if operation is Operation.EDIT else ()
    options = dict.fromkeys(spec.required, "a dog")
    return plan(ImageRequest(operation=operation, prompt="a cat", images=images, options=options), spec).calls[0]


@EACH
def test_a_request_is_a_path_and_a_body_and_no_secret(provider: Provider, spec: ModelSpec) -> None:
    """Every row can be asked; the address is below the base URL and the credential is not the adapter's to add."""
    request = provider.request(call(spec))

    assert request.method == "POST"
    assert request.url.startswith("/")
    assert not {name.lower() for name in request.headers} & {"authorization", provider.access.header.lower()}
    assert isinstance(request.body, JSON | Form)
    content_type, pieces = encode(request.body, boundary="b")
    assert content_type.startswith(("application/json", "multipart/form-data"))
    assert b"a cat" in b"".join(bytes(piece) for piece in pieces) or not spec.prompt.used


@EACH
def test_the_same_call_is_the_same_request(provider: Provider, spec: ModelSpec) -> None:
    """Adapters are pure."""
    one, two = (provider.request(call(spec)) for _ in range(2))

    assert one == two


@VENDOR
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 502, 503, 504])
def test_every_failed_status_is_a_named_failure(provider: Provider, status: int) -> None:
    """Whatever the body, a failed status never becomes a success, and its text never reaches the caller raw."""
    for body in (b"", b"<html>gone</html>", b"{}", b'{"error": null}', b"[]", b'"x"'):
        found = provider.outcome(call(provider.models[0]), HTTPResponse(status=status, body=body))
        assert isinstance(found, Failed)
        assert isinstance(found.error, UpstreamFailure)
        assert "<html" not in found.error.message
        assert found.error.upstream_status == status
        if status == 429:
            assert isinstance(found.error, UpstreamRateLimited)


@VENDOR
@given(body=st.binary(max_size=200), status=st.sampled_from([200, 201, 400, 429, 500]))
@settings(max_examples=60, deadline=None)
def test_no_answer_raises(provider: Provider, body: bytes, status: int) -> None:
    """An outcome is a value for whatever an upstream may send; bytes at random are never images."""
    found = provider.outcome(call(provider.models[0]), HTTPResponse(status=status, body=body))

    assert isinstance(found, Failed | Poll)


@VENDOR
@given(data=st.binary(max_size=80))
@settings(max_examples=60, deadline=None)
def test_no_event_raises(provider: Provider, data: bytes) -> None:
    """An event without meaning is None or a failure, never an exception and never an image."""
    found = provider.event(call(provider.models[0]), Event("", data))

    assert not isinstance(found, Completed)


@VENDOR
def test_the_table_of_failures_is_of_our_tree(provider: Provider) -> None:
    """Every code of the vendor has a class, for the documentation and for the caller."""
    assert provider.failures
    assert all(issubclass(kind, UpstreamFailure) for kind in provider.failures.values())
