"""Provider x route x form x outcome, from a real SDK through a real gateway to a strict stand-in, over sockets."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from providers.kit.images import inspect
from tests.matrix.bench import FORMS, SIZE, Bench, ask, picture
from tests.upstreams.http import Reply
from tests.upstreams.images import png
from tests.upstreams.server import RETRY_AFTER_S


@pytest.mark.parametrize("form", FORMS)
def test_success(bench: Bench, route: str, form: str) -> None:
    """Both forms are honoured by every provider on both routes, and the bytes are a sound image."""
    answer, headers = ask(bench, route, "a red kite", response_format=form)
    facts = inspect(picture(answer, form))

    assert answer.size == f"{facts.width}x{facts.height}"
    assert answer.output_format == facts.format
    assert headers["pinhole-provider"] == bench.vendor.name
    assert headers["pinhole-attempts"] == "1"


def test_a_refused_stream_keeps_its_status(bench: Bench) -> None:
    """A refusal before the first event is an answer with its own status, not a broken stream."""
    with pytest.raises(openai.BadRequestError) as caught:
        list(bench.client.images.generate(model=bench.vendor.generates, prompt="a kite FORBIDDEN", stream=True))

    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == "moderation_blocked"


ERRORS = [
    ("FORBIDDEN", 400, "moderation_blocked"),
    ("RATELIMIT", 429, "rate_limit_exceeded"),
    ("QUOTA", 429, "insufficient_quota"),
    ("BOOM", 502, "upstream_error"),
    ("HTML502", 502, "upstream_error"),
    ("TRUNCATE", 502, "upstream_error"),
    ("GARBAGE", 502, "upstream_error"),
    ("BADINPUT", 400, None),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("word", "status", "code"), ERRORS, ids=[word for word, *_ in ERRORS])
def test_failure(bench: Bench, route: str, word: str, status: int, code: str | None, form: str) -> None:  # noqa: PLR0917 - pytest's parameters
    """A failure has one name whatever the provider calls it, and never a word of HTML or base64."""
    with pytest.raises(openai.APIStatusError) as caught:
        ask(bench, route, f"a kite {word}", response_format=form)
    body = caught.value.body

    assert isinstance(body, dict)
    assert caught.value.status_code == status
    assert code is None or body["code"] == code
    assert "<html" not in body["message"].lower()
    assert isinstance(body["type"], str)


def test_a_rate_limit_is_waited_for_as_long_as_the_rule_allows(bench: Bench, route: str) -> None:
    """What the provider says of the time to wait is kept, within twenty seconds in all."""
    slept, asked = len(bench.clock.slept), len(bench.server.exchanges)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(bench, route, "a kite RATELIMIT")
    headers = caught.value.response.headers
    attempts, told = int(headers["pinhole-attempts"]), int(headers.get("retry-after", "0"))

    assert attempts == len(bench.server.exchanges) - asked
    assert attempts == (3 if told <= 10 else 1)
    if told == RETRY_AFTER_S:  # other tasks of the gateway sleep on the same clock, but not for so long
        assert sum(told <= seconds <= 1.1 * told for seconds in bench.clock.slept[slept:]) == attempts - 1


@pytest.mark.parametrize("form", FORMS)
def test_nothing_delivered_is_never_a_success(bench: Bench, route: str, form: str) -> None:
    """An upstream success without an image is an error."""
    with pytest.raises(openai.APIStatusError) as caught:
        ask(bench, route, "a kite EMPTY", response_format=form)

    assert caught.value.status_code in {400, 502}


@pytest.mark.parametrize("form", FORMS)
def test_a_bad_key_of_ours_is_a_502(bench: Bench, misplaced: Bench, route: str, form: str) -> None:
    """The provider's 401 means our credential: 502 upstream_auth_error, never the caller's 401."""
    with pytest.raises(openai.APIStatusError) as caught:
        ask(misplaced, route, "a kite", response_format=form)

    assert caught.value.status_code == 502
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == "upstream_auth_error"
    assert "sk-wrong" not in str(caught.value.body)


def test_two_images_or_what_there_is(bench: Bench, route: str) -> None:
    """n=2 gives two images by the model or by fan-out; a lenient caller may ask every model."""
    answer, headers = ask(bench, route, "a kite", n=2, headers={"pinhole-policy": "lenient"})
    assert answer.data

    if len(answer.data) != 2:
        assert "n;kind=" in headers["pinhole-adjustments"]
    assert len(answer.data) == 2 or "n;kind=mapped" in headers["pinhole-adjustments"]


@pytest.mark.parametrize("form", FORMS)
def test_partial_success_says_so(bench: Bench, route: str, form: str) -> None:
    """Of two images one fails: 200 with the other, the count in the adjustments, the error in the body."""
    model = bench.vendor.generates if route == "generate" else bench.vendor.edits
    assert model
    limits: Any = bench.client.models.retrieve(model).model_extra
    if limits["constraints"]["n"]["per_call"] == 1:  # one of two calls fails
        bench.server.queue(Reply.html(502, "<html>gone</html>"), method="POST")
        prompt = "a kite"
    else:
        prompt = "a kite PARTIAL"
    answer, found = ask(bench, route, prompt, n=2, response_format=form, headers={"pinhole-policy": "lenient"})
    assert answer.data

    assert len(answer.data) == 1
    assert inspect(picture(answer, form)).bytes > 0
    assert "n;kind=delivered;from=2;to=1" in found["pinhole-adjustments"]
    assert answer.model_extra
    assert answer.model_extra["pinhole"]["errors"]


def test_what_to_look_for_is_searched_or_refused(bench: Bench) -> None:
    """`search_prompt` is honoured by models that search, a violation on others, and required where it is meant."""
    edits = {"image": ("p.png", png(SIZE, SIZE)), "prompt": "a kite", "response_format": "b64_json"}
    wish = {"search_prompt": "red"}
    if bench.vendor.searches:
        answer = bench.client.images.edit(model=bench.vendor.searches, extra_body=wish, **edits)  # type: ignore[call-overload]  # of a dict
        assert inspect(picture(answer, "b64_json")).width == SIZE
        with pytest.raises(openai.BadRequestError, match="'search_prompt' is required"):
            bench.client.images.edit(model=bench.vendor.searches, **edits)  # type: ignore[call-overload]  # of a dict
    with pytest.raises(openai.BadRequestError, match="does not support 'search_prompt'"):
        ask(bench, "generate", "a kite", extra_body=wish)
    _, headers = ask(bench, "generate", "a kite", extra_body=wish, headers={"pinhole-policy": "lenient"})
    assert "search_prompt;kind=dropped" in headers["pinhole-adjustments"]
