"""providers.gemini: pictures, words and tokens of an answer."""

from __future__ import annotations

import base64
import json
from pathlib import Path

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
    UpstreamUnavailable,
)
from providers.core.http import Event
from providers.core.prices import Usage
from providers.core.provider import Completed, Failed, Link
from providers.gemini import PROVIDER
from providers.kit.lift import Lifted
from tests.providers.gemini.replies import ONE, answered, blob, candidate, failed

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures" / "gemini").glob("*.json"))


EXPECTED: dict[str, tuple[type[UpstreamFailure], str | None, str | None, bool, float | None]] = {
    "blocked": (Refused, "IMAGE_PROHIBITED_CONTENT", "output", True, None),
    "prompt_blocked": (Refused, "PROHIBITED_CONTENT", "input", True, None),
    "no_image": (Refused, "NO_IMAGE", "output", True, None),
    "talked": (Refused, "STOP", "output", True, None),
    "empty": (UpstreamError, None, None, True, None),
    "invalid_key": (UpstreamAuth, "API_KEY_INVALID", None, False, None),
    "unknown_field": (UpstreamBadRequest, "INVALID_ARGUMENT", None, False, None),
    "per_minute": (UpstreamRateLimited, "RESOURCE_EXHAUSTED", None, False, 41.0),
    "per_day": (UpstreamQuota, "RESOURCE_EXHAUSTED", None, False, None),
    "free_tier": (UpstreamQuota, "RESOURCE_EXHAUSTED", None, False, None),
    "listed": (UpstreamModelMissing, "NOT_FOUND", None, False, None),
    "overloaded": (UpstreamUnavailable, "UNAVAILABLE", None, False, None),
}


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_documented_answers_are_understood(fixture: Path) -> None:
    """Answers in the shapes that were documented or seen mean what they say."""
    document = json.loads(fixture.read_text())
    outcome = PROVIDER.outcome(ONE, answered(document["status"], document["body"]))
    if fixture.stem not in EXPECTED:
        assert isinstance(outcome, Completed)
        (image,) = outcome.images
        assert isinstance(image.content, Lifted)
        assert image.content.head(2) == b"\xff\xd8"
        assert outcome.upstream_request_id == document["body"]["responseId"]
        assert outcome.usage == Usage(input_text=12, output_image=1120, output_text=175)
        return
    assert isinstance(outcome, Failed)
    error = outcome.error
    found = (type(error), error.upstream_code, error.stage, error.billed, error.retry_after)
    assert found == EXPECTED[fixture.stem]
    assert error.provider == "gemini"


def test_words_of_the_model_reach_the_caller() -> None:
    """Why there is no picture is told: the finish message, or what the model said instead."""
    said = failed(answered(200, candidate({"text": "I will not."})))
    assert "I will not." in said.message
    assert failed(answered(200, candidate(reason="IMAGE_SAFETY", finishMessage="Unsafe."))).message == "Unsafe."


def test_one_picture_for_one_that_was_asked() -> None:
    """Of several final pictures the first is taken, whichever candidate it is in."""
    two = candidate(blob(b"first picture"), blob(b"second picture"))
    two["candidates"] += candidate(blob(b"third picture"))["candidates"]
    outcome = PROVIDER.outcome(ONE, answered(200, two))
    assert isinstance(outcome, Completed)
    (image,) = outcome.images
    assert isinstance(image.content, Lifted)
    assert image.content.decode() == b"first picture"


def test_a_draft_never_passes_a_refusal() -> None:
    """A picture of the model's thinking is a result only where the model ended well."""
    draft = blob(b"a draft", thought=True)
    assert type(failed(answered(200, candidate(draft, reason="IMAGE_SAFETY")))) is Refused
    assert isinstance(PROVIDER.outcome(ONE, answered(200, candidate(draft))), Completed)


def test_pictures_come_in_every_spelling() -> None:
    """URL-safe digits and links are read; what is no base64, or empty, is no picture."""
    data = bytes(range(240, 256)) * 3
    safe = {"inlineData": {"data": base64.urlsafe_b64encode(data).decode()}}
    assert "-" in safe["inlineData"]["data"] or "_" in safe["inlineData"]["data"]
    outcome = PROVIDER.outcome(ONE, answered(200, candidate(safe)))
    assert isinstance(outcome, Completed)
    assert isinstance(outcome.images[0].content, Lifted)
    assert outcome.images[0].content.decode() == data
    stored = PROVIDER.outcome(ONE, answered(200, candidate({"fileData": {"fileUri": "https://x.example/1"}})))
    assert isinstance(stored, Completed)
    assert stored.images[0].content == Link("https://x.example/1")
    for broken in ("not base64!", "", "====", None, 7):
        part = {"inlineData": {"mimeType": "image/png", "data": broken}}
        assert type(failed(answered(200, candidate(part)))) is UpstreamError


def test_usage_is_counted_by_modality() -> None:
    """Input pictures and words are told apart, thoughts are words that came out, missing details are pictures."""
    counted = {
        "promptTokenCount": 1132,
        "candidatesTokenCount": 1150,
        "thoughtsTokenCount": 20,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 12},
            {"modality": "IMAGE", "tokenCount": 560},
            {"modality": "IMAGE", "tokenCount": 560},
        ],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
    }
    outcome = PROVIDER.outcome(ONE, answered(200, {**candidate(blob(b"x")), "usageMetadata": counted}))
    assert isinstance(outcome, Completed)
    assert outcome.usage == Usage(input_text=12, input_image=1120, output_image=1120, output_text=50)
    bare = {"promptTokenCount": 12, "candidatesTokenCount": 1120}
    outcome = PROVIDER.outcome(ONE, answered(200, {**candidate(blob(b"x")), "usageMetadata": bare}))
    assert isinstance(outcome, Completed)
    assert outcome.usage == Usage(input_text=12, output_image=1120)
    odds: tuple[object, ...] = (
        *(None, [], {}),
        *({"promptTokenCount": odd} for odd in ("12", True, -1, 10**13, 10**400)),
    )
    for odd in odds:
        outcome = PROVIDER.outcome(ONE, answered(200, {**candidate(blob(b"x")), "usageMetadata": odd}))
        assert isinstance(outcome, Completed)
        assert outcome.usage is None


def test_streams_have_no_events() -> None:
    """The adapter calls the whole answer only."""
    assert PROVIDER.event(ONE, Event("", b"{}")) is None


_KEYS = (
    *("candidates", "content", "parts", "inlineData", "data", "thought", "text", "finishReason", "fileData"),
    *("promptFeedback", "blockReason", "usageMetadata", "promptTokenCount", "promptTokensDetails", "modality"),
    *("error", "code", "status", "message", "details", "@type", "reason", "violations", "retryDelay", "fileUri"),
)
_WORDS = ("STOP", "SAFETY", "AAAA", "google.rpc.ErrorInfo", "google.rpc.QuotaFailure", "google.rpc.RetryInfo", "9s")
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 600) | st.floats(allow_nan=False) | st.sampled_from(_WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6),
    max_leaves=16,
)


@given(st.sampled_from([200, 204, 301, 400, 401, 429, 500, 503, 799]), st.binary(max_size=64) | _JSON)
def test_no_answer_raises(status: int, body: object) -> None:
    """Whatever the upstream sends, the outcome is a value; a completed one has an image."""
    outcome = PROVIDER.outcome(ONE, answered(status, body))
    assert isinstance(outcome, Failed) or (isinstance(outcome, Completed) and outcome.images)


@given(_JSON, st.sampled_from(["candidates", "error", "promptFeedback", "usageMetadata"]))
def test_no_member_raises(value: object, name: str) -> None:
    """Each member of an answer may hold anything."""
    PROVIDER.outcome(ONE, answered(200, {name: value}))
    PROVIDER.outcome(ONE, answered(429, {"error": {"status": "RESOURCE_EXHAUSTED", "details": value}}))
    PROVIDER.outcome(ONE, answered(200, {"candidates": [{"content": {"parts": value}, "finishReason": "STOP"}]}))
