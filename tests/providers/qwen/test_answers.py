"""providers.qwen: what answers mean, documented ones and strange ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.core.errors import (
    Refused,
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
from providers.core.http import Event, HTTPResponse
from providers.core.provider import Completed, Failed, Link, Outcome, Poll
from providers.qwen import MODELS, PROVIDER
from providers.qwen.errors import CODES, IMAGE_TROUBLE, PREFIXES
from tests.providers.asking import call, row

FIXTURES = Path(__file__).parent.parent / "fixtures" / "qwen"
ONE = call(row(MODELS, "qwen-image-2.0"))
TWO = call(row(MODELS, "qwen-image-2.0"), n=2)


def answered(status: int, body: object) -> HTTPResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HTTPResponse(status=status, headers={"x-request-id": "head-1"}, body=data)


def documented(name: str, *, n: int = 1) -> Outcome:
    fixture = json.loads((FIXTURES / f"{name}.json").read_text())
    assert fixture["source"]
    assert fixture["checked"]
    return PROVIDER.outcome(TWO if n == 2 else ONE, answered(fixture["status"], fixture["body"]))


def completed(outcome: Outcome) -> Completed:
    assert isinstance(outcome, Completed)
    return outcome


def failed(outcome: Outcome) -> UpstreamFailure:
    assert isinstance(outcome, Failed)
    return outcome.error


def links(made: Completed) -> list[str]:
    return [image.content.url for image in made.images if isinstance(image.content, Link)]


def said(status: int, code: str, message: str = "no") -> UpstreamFailure:
    return failed(PROVIDER.outcome(ONE, answered(status, {"code": code, "message": message})))


# Documented answers


@pytest.mark.parametrize(
    ("name", "size"),
    [("sync", "1024x1024"), ("choices", "1280x1280")],
)
def test_every_image_of_every_choice_is_kept(name: str, size: str) -> None:
    """Several images come as parts of one choice or as several choices; usage spells the size in two ways."""
    made = completed(documented(name, n=2))
    assert [url.rsplit("/", 1)[1][:5] for url in links(made)] == ["1.png", "2.png"]
    assert (made.failures, made.resolved) == ((), {"size": size})


def test_the_newest_usage_names_its_output() -> None:
    """A third spelling of the size."""
    assert completed(documented("counted")).resolved == {"size": "1536x1024"}


def test_the_body_names_the_request() -> None:
    """The request id of the body wins over the header's."""
    assert completed(documented("sync", n=2)).upstream_request_id == "7574ee8f-38a3-4b1e-9280-11c33ab46e51"


def test_a_rewritten_prompt_is_reported() -> None:
    """A text part beside the image is what the model made of the prompt."""
    made = completed(documented("rewritten"))
    assert [image.revised_prompt for image in made.images] == ["a red kite high over a beach"]


def test_an_unchanged_prompt_is_not_a_revision() -> None:
    """The prompt itself is no news."""
    item = {"url": "https://x.aliyuncs.com/1.png", "actual_prompt": "a red kite"}
    body = {"output": {"task_status": "SUCCEEDED", "results": [item]}}
    assert completed(PROVIDER.outcome(ONE, answered(200, body))).images[0].revised_prompt is None


def test_an_accepted_task_is_asked_for_and_can_be_cancelled() -> None:
    """A pending task names where to look, when, and how to end it."""
    poll = documented("submitted")
    assert isinstance(poll, Poll)
    task = "0385dc79-5ff8-4d82-bcb6-000000000000"
    assert (poll.task_id, poll.after) == (task, 1.0)
    assert (poll.request.method, poll.request.url) == ("GET", f"/api/v1/tasks/{task}")
    assert (dict(poll.request.headers), poll.request.body) == ({}, None)
    assert poll.cancel
    assert (poll.cancel.method, poll.cancel.url) == ("POST", f"/api/v1/tasks/{task}/cancel")


def test_a_running_task_cannot_be_cancelled() -> None:
    """The provider refuses to cancel what it has begun, so it is not asked to."""
    poll = documented("running")
    assert isinstance(poll, Poll)
    assert poll.cancel is None


def test_a_task_id_cannot_leave_its_path() -> None:
    """An id is data: slashes and dots in it do not reach another address."""
    body = {"output": {"task_status": "PENDING", "task_id": "../../x?y#z"}}
    poll = PROVIDER.outcome(ONE, answered(200, body))
    assert isinstance(poll, Poll)
    assert poll.request.url == "/api/v1/tasks/..%2F..%2Fx%3Fy%23z"


def test_a_partial_task_keeps_what_was_made() -> None:
    """Images that were made are delivered, over https, and each one that was not says why."""
    made = completed(documented("partial", n=2))
    assert links(made) == ["https://dashscope-result-wlcb.oss-cn-wulanchabu.aliyuncs.com/1d/1.png?Expires=1795000000"]
    assert made.images[0].revised_prompt == "a red kite high over a beach"
    (failure,) = made.failures
    assert (type(failure), failure.upstream_code) == (UpstreamTimeout, "InternalError.Timeout")


def test_a_short_answer_counts_what_is_missing() -> None:
    """A synchronous answer with fewer images than asked says nothing of the rest: it is a failure each."""
    short = call(row(MODELS, "qwen-image-2.0"), n=4)
    fixture = json.loads((FIXTURES / "sync.json").read_text())
    made = completed(PROVIDER.outcome(short, answered(200, fixture["body"])))
    assert [type(failure) for failure in made.failures] == [UpstreamError, UpstreamError]


def test_a_failed_task_fails_by_its_code() -> None:
    """HTTP 200 is no success: the code of the task decides."""
    error = failed(documented("task_failed"))
    assert (type(error), error.upstream_code) == (UpstreamBadRequest, "InvalidParameter")
    assert error.upstream_request_id == "dccfdf23-b38e-97a6-a07b-000000000000"


def test_an_unknown_task_is_over() -> None:
    """An id that is gone is never asked for again, and may have been billed."""
    error = failed(documented("unknown"))
    assert (type(error), error.upstream_code, error.billed) == (UpstreamError, "UNKNOWN", True)


def test_a_cancelled_task_is_over() -> None:
    """A cancelled task is an upstream error."""
    body = {"output": {"task_status": "CANCELED", "task_id": "t"}}
    assert type(failed(PROVIDER.outcome(ONE, answered(200, body)))) is UpstreamError


def test_a_refusal_says_which_side_was_refused() -> None:
    """Input or output is read of the message; a task without one was refused by its output."""
    error = failed(documented("refused"))
    assert (type(error), error.stage, error.upstream_code) == (Refused, "input", "DataInspectionFailed")
    assert said(400, "DataInspectionFailed", "Output data may be inappropriate.").stage == "output"
    assert said(400, "DataInspectionFailed").stage == "unknown"
    body = {"output": {"task_status": "FAILED", "code": "DataInspectionFailed", "message": "no"}}
    assert failed(PROVIDER.outcome(ONE, answered(200, body))).stage == "output"


def test_a_task_of_failed_images_is_refused_when_one_was() -> None:
    """Where no image was made a refusal tells more than a time-out beside it."""
    items = [{"code": "InternalError.Timeout"}, {"code": "DataInspectionFailed", "message": "no"}]
    body = {"output": {"task_status": "SUCCEEDED", "results": items}}
    assert type(failed(PROVIDER.outcome(TWO, answered(200, body)))) is Refused
    body = {"output": {"task_status": "SUCCEEDED", "results": items[:1]}}
    assert type(failed(PROVIDER.outcome(TWO, answered(200, body)))) is UpstreamTimeout


def test_a_bad_key_names_the_other_region() -> None:
    """A key of another region looks like a bad one: the message says which variable moves the host."""
    error = failed(documented("unauthorized"))
    assert type(error) is UpstreamAuth
    assert "DASHSCOPE_BASE_URL" in error.message


def test_the_compatible_envelope_is_read_too() -> None:
    """Front doors answer in OpenAI's shape now and then."""
    error = failed(documented("compatible"))
    assert (type(error), error.upstream_request_id) == (UpstreamModelMissing, "head-1")


# Errors


@pytest.mark.parametrize(("code", "kind"), CODES.items(), ids=str)
def test_every_code_has_its_class_whatever_the_status(code: str, kind: type[UpstreamFailure]) -> None:
    """A code means the same in a call, in HTTP 200 and in a failed task."""
    for status in (200, 400, 500):
        error = said(status, code)
        assert (type(error), error.upstream_code) == (kind, code)
    body = {"output": {"task_status": "FAILED", "code": code, "message": "no"}}
    assert type(failed(PROVIDER.outcome(ONE, answered(200, body)))) is kind


@pytest.mark.parametrize(("prefix", "kind"), PREFIXES.items(), ids=str)
def test_unlisted_codes_go_by_their_prefix(prefix: str, kind: type[UpstreamFailure]) -> None:
    """The vendor adds codes under known heads."""
    assert type(said(400, f"{prefix}Something")) is kind


@pytest.mark.parametrize("code", IMAGE_TROUBLE)
def test_image_trouble_is_not_moderation(code: str) -> None:
    """InvalidParameter.DataInspection is a picture that could not be read, whatever its name says."""
    error = said(400, code)
    assert (type(error), error.param) == (UpstreamBadRequest, "image")


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "InvalidParameter", "url error, please check url！"),  # noqa: RUF001 - the provider's own text
        (403, "AccessDenied", "current user api does not support synchronous calls."),
        (403, "AccessDenied", "current user api does not support asynchronous calls"),
    ],
)
def test_a_wrong_endpoint_is_our_fault(status: int, code: str, message: str) -> None:
    """A model that moved to another endpoint is an upstream error, and nothing was billed."""
    error = said(status, code, message)
    assert (type(error), error.billed) == (UpstreamError, False)


def test_a_quota_is_told_from_a_rate() -> None:
    """One code means both; the free quota does not come back by waiting."""
    assert (
        type(said(429, "Throttling.AllocationQuota", "Allocated quota exceeded, try later.")) is UpstreamRateLimited
    )
    assert type(said(429, "Throttling.AllocationQuota", "Free allocated quota exceeded.")) is UpstreamQuota
    assert type(said(429, "insufficient_quota", "You exceeded your FREE quota")) is UpstreamQuota


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamBadRequest),
        (401, UpstreamAuth),
        (403, UpstreamAuth),
        (404, UpstreamModelMissing),
        (429, UpstreamRateLimited),
        (500, UpstreamError),
        (502, UpstreamError),
        (503, UpstreamUnavailable),
        (504, UpstreamTimeout),
    ],
)
def test_without_a_known_code_the_status_decides(status: int, kind: type[UpstreamFailure]) -> None:
    """An unknown code, an empty document, and a proxy's page."""
    for body in ({"code": "NeverHeard"}, {}, {"error": "text"}, b"<html>edge</html>"):
        error = failed(PROVIDER.outcome(ONE, answered(status, body)))
        assert type(error) is kind
        assert "<" not in error.message


# Strange answers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"<html>proxy</html>",
        b'{"output":null}',
        b'{"output":{"task_status":"PENDING"}}',
        b'{"output":{"task_status":"RUNNING","task_id":7}}',
        b'{"output":{"task_status":["PENDING"],"task_id":"t"}}',
        b'{"output":{"task_status":"SUCCEEDED","results":[]}}',
        b'{"output":{"task_status":"SUCCEEDED","results":[{"url":""},{"url":7},{"url":"ftp://x"},null]}}',
        b'{"output":{"task_status":"SUCCEEDED","results":[{"url":"http://[x"}]}}',
        b'{"output":{"choices":[]}}',
        b'{"output":{"choices":[{"message":{"content":"an image"}}]}}',
        b'{"output":{"choices":[{"message":{"content":[{"text":"no"},{"image":null}]}}]}}',
        b'{"output":{"choices":{"message":1}}}',
    ],
)
def test_strange_successes_are_failures(body: bytes) -> None:
    """A 200 without an image or a task is an upstream error that may have been billed."""
    error = failed(PROVIDER.outcome(ONE, answered(200, body)))
    assert type(error) is UpstreamError
    assert error.billed


def test_the_vendor_has_no_stream() -> None:
    """An event means nothing here."""
    assert PROVIDER.event(ONE, Event("message", b"{}")) is None


_KEYS = (
    *("output", "choices", "message", "content", "image", "text", "results", "url", "task_id", "task_status"),
    *("code", "usage", "width", "height", "output_width", "size", "request_id", "error", "actual_prompt"),
)
_WORDS = (
    "PENDING",
    "RUNNING",
    "SUCCEEDED",
    "FAILED",
    "UNKNOWN",
    "https://x/1",
    "http://[",
    "1024*1024",
    "Throttling",
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 3000) | st.floats(allow_nan=False) | st.sampled_from(_WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6),
    max_leaves=16,
)


@given(st.sampled_from([200, 204, 301, 400, 401, 429, 500, 503, 799]), st.binary(max_size=64) | _JSON)
def test_no_answer_raises(status: int, body: Any) -> None:
    """Whatever the upstream sends, the outcome is a value; a completed one has an image."""
    outcome = PROVIDER.outcome(TWO, answered(status, body))
    assert isinstance(outcome, Failed | Poll) or outcome.images
