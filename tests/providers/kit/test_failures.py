"""From statuses and messages of upstreams to our errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.core.errors import (
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamModelMissing,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from providers.core.http import HTTPResponse
from providers.kit.failures import class_for, clean, failure, request_id, retry_after, unreadable

DATE = "Mon, 23 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamBadRequest),
        (401, UpstreamAuth),
        (402, UpstreamQuota),
        (403, UpstreamAuth),
        (404, UpstreamModelMissing),
        (408, UpstreamTimeout),
        (410, UpstreamModelMissing),
        (413, UpstreamBadRequest),
        (418, UpstreamBadRequest),
        (422, UpstreamBadRequest),
        (429, UpstreamRateLimited),
        (500, UpstreamError),
        (502, UpstreamError),
        (503, UpstreamUnavailable),
        (504, UpstreamTimeout),
        (529, UpstreamError),
        (200, UpstreamError),
        (302, UpstreamError),
        (0, UpstreamError),
    ],
)
def test_a_bare_status_has_a_class(status: int, kind: type[UpstreamFailure]) -> None:
    """Every number has one, known or not."""
    assert class_for(status) is kind
    assert isinstance(failure(class_for(status), HTTPResponse(status=status), provider="p"), kind)


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("Too  long\n prompt", "Too long prompt"),
        ("", "fallback"),
        ("   ", "fallback"),
        (None, "fallback"),
        (7, "fallback"),
        ({"a": 1}, "fallback"),
        ("<!DOCTYPE html><p>502", "fallback"),
        ("<HTML><body>Bad gateway", "fallback"),
        ("Incorrect API key provided: sk-abcdefgh12345678.", "Incorrect API key provided: ***."),
        ("key AIzaSyA-1234567890 is bad", "key *** is bad"),
        ("token r8_abcdefgh1234 is bad", "token *** is bad"),
        ("image data:image/png;base64," + "A" * 200 + " is bad", "image data:image/png;base64,... is bad"),
        ("half \ud800 a letter", "half ? a letter"),
    ],
)
def test_a_message_is_cleaned(given_: object, shown: str) -> None:
    """No HTML, no key, no base64, one line."""
    assert clean(given_, "fallback") == shown


@given(st.text())
def test_a_cleaned_message_can_be_sent(text: str) -> None:
    """It is short, on one line, and UTF-8."""
    found = clean(text, "fallback")

    assert len(found.encode()) <= 2000
    assert len(found) <= 500
    assert "\n" not in found
    assert found


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "-5"}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:09 GMT", "date": DATE}, 9.0),
        ({"retry-after": "Mon, 23 Nov 2026 11:00:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:09 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after-ms": "inf"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "\u00b2"}, None),
    ],
)
def test_a_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds or a date against the answer's own; what means nothing is no wait."""
    assert retry_after(HTTPResponse(status=429, headers=headers)) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text(max_size=30), max_size=3))
def test_no_header_breaks_the_reader(headers: dict[str, str]) -> None:
    """Whatever an upstream writes there, it is a finite wait or none."""
    found = retry_after(HTTPResponse(status=429, headers=headers))

    assert found is None or 0 <= found < float("inf")


def test_a_failure_carries_what_may_be_read() -> None:
    """Status, code, id, wait and parameter; the code is bounded."""
    response = HTTPResponse(status=429, headers={"x-request-id": "up-1", "retry-after": "2"})
    error = failure(UpstreamRateLimited, response, provider="p", upstream_code="c" * 200, param="size")

    assert (error.provider, error.upstream_status, error.upstream_request_id) == ("p", 429, "up-1")
    assert (error.retry_after, error.param, len(error.upstream_code or "")) == (2.0, "size", 80)
    assert error.message == "p answered 429 (Too Many Requests)."


def test_a_providers_own_id_and_wait_win() -> None:
    """What the body says is closer than a proxy's header."""
    response = HTTPResponse(status=429, headers={"x-request-id": "proxy", "retry-after": "2"})
    error = failure(UpstreamRateLimited, response, provider="p", upstream_request_id="own", wait=5.0)

    assert (error.upstream_request_id, error.retry_after) == ("own", 5.0)
    assert request_id(HTTPResponse(status=200, headers={"trace-id": "t"})) == "t"


def test_an_unreadable_success_may_have_been_billed() -> None:
    """A 200 that nobody can read is an UpstreamError; a failed status keeps its class."""
    ok, busy = (unreadable(HTTPResponse(status=status), provider="p") for status in (200, 503))

    assert (type(ok), ok.billed, ok.message) == (UpstreamError, True, "The answer of p cannot be read.")
    assert (ok.readable, busy.readable) == (False, False)
    assert (type(busy), busy.billed) == (UpstreamUnavailable, False)
