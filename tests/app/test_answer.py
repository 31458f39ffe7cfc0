"""What an answer says in its headers: adjustments in RFC 9651's grammar, limits, lifecycle, cost."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer import HEADER_BYTES, adjustments_header, lifecycle, limits
from app.auth import Caller
from app.config import Config
from app.limiter import Standing, Unit
from app.registry import Registry
from app.settings import load
from providers import discover
from providers.core.plan import Adjustment, Kind
from providers.core.types import ImageRequest, Operation
from tests.app.wire import EDIT, GENERATE, Piece, form, post
from tests.gateway import Gateway, running
from tests.matrix.vendors import VENDORS
from tests.upstreams.http import Reply
from tests.upstreams.images import mask_png, png

Member = tuple[str, dict[str, str | int]]
TOKEN = re.compile(r"[A-Za-z*][-A-Za-z0-9!#$%&'*+.^_`|~:/]*")
KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')


def members(text: str) -> list[Member]:
    """A list of tokens with parameters, read strictly by RFC 9651, section 4.2. Raises ValueError."""
    found: list[Member] = []
    rest = text
    while rest:
        name = _taken(TOKEN, rest)
        rest, parameters = _parameters(rest[len(name) :])
        found.append((name, parameters))
        if not rest:
            return found
        comma = _taken(re.compile(r"[ \t]*,[ \t]*"), rest)
        rest = rest[len(comma) :]
        if not rest:
            raise ValueError("a comma at the end")
    return found


def _parameters(rest: str) -> tuple[str, dict[str, str | int]]:
    found: dict[str, str | int] = {}
    while rest.startswith(";"):
        rest = rest[1:].lstrip(" ")
        key = _taken(KEY, rest)
        rest = rest[len(key) :]
        if not rest.startswith("="):
            raise ValueError("a parameter without value is true, which is never meant here")
        rest = rest[1:]
        if string := STRING.match(rest):
            value: str | int = re.sub(r"\\(.)", r"\1", string[1])
            taken = string[0]
        elif integer := INTEGER.match(rest):
            value, taken = int(integer[0]), integer[0]
        else:
            value = taken = _taken(TOKEN, rest)
        found[key] = value
        rest = rest[len(taken) :]
    return rest, found


def _taken(form_: re.Pattern[str], text: str) -> str:
    match = form_.match(text)
    if match is None:
        raise ValueError(f"unreadable at {text[:20]!r}")
    return match[0]


@pytest.mark.parametrize("text", ["a;b", "a,", "a;B=1", 'a;b="', "1", "a;b=1234567890123456", "a;b=1.", 'a;b="\x7f"'])
def test_the_reader_is_strict(text: str) -> None:
    """What RFC 9651 forbids is not read here either, so that the tests below mean something."""
    with pytest.raises(ValueError, match=r".+"):
        members(text)


def test_the_documented_members() -> None:
    """Enums and sizes are strings, numbers are integers, what is not known is left out."""
    text = adjustments_header(
        (
            Adjustment(param="size", kind=Kind.MAPPED, asked="1792x1024", used="16:9"),
            Adjustment(param="n", kind=Kind.DELIVERED, asked=3, used=2),
            Adjustment(param="style", kind=Kind.DROPPED),
        )
    )

    assert text == 'size;kind=mapped;from="1792x1024";to="16:9", n;kind=delivered;from=3;to=2, style;kind=dropped'


ADJUSTMENTS = st.lists(
    st.builds(
        Adjustment,
        param=st.one_of(st.sampled_from(["size", "n", "quality", "Image[1]"]), st.text(max_size=80)),
        kind=st.sampled_from(Kind),
        asked=st.one_of(st.none(), st.integers(), st.text(max_size=100)),
        used=st.one_of(st.none(), st.integers(), st.text(max_size=100)),
    ),
    max_size=60,
).map(tuple)


@given(ADJUSTMENTS)
def test_any_adjustment_is_a_readable_member(adjustments: tuple[Adjustment, ...]) -> None:
    """Whatever a caller called its fields, the header is ASCII, at most 2 KiB, and every member says its kind."""
    text = adjustments_header(adjustments)
    found = members(text)

    assert len(text.encode("ascii")) <= HEADER_BYTES
    assert len(found) <= len(adjustments)
    assert [parameters["kind"] for _, parameters in found] == [a.kind.value for a in adjustments[: len(found)]]
    for (_, parameters), adjustment in zip(found, adjustments, strict=False):
        for key, value in (("from", adjustment.asked), ("to", adjustment.used)):
            assert (key in parameters) is (value is not None)
            if isinstance(value, int) and abs(value) < 10**15:
                assert parameters[key] == value


def test_beyond_two_kibibytes_members_are_left_out_whole() -> None:
    """A header is never cut in the middle of a member."""
    many = tuple(Adjustment(param=f"field_{i}", kind=Kind.DROPPED, asked="x" * 60) for i in range(100))
    text = adjustments_header(many)

    assert HEADER_BYTES - 120 < len(text) <= HEADER_BYTES
    assert len(members(text)) == text.count("kind=dropped") > 10


def test_no_adjustment_is_no_header(sandbox: Gateway) -> None:
    """The header is absent when nothing was changed."""
    answer = post(sandbox, {"model": "sandbox/canvas", "prompt": "a", "size": "64x64"}, GENERATE)

    assert answer.status == 200
    assert "pinhole-adjustments" not in answer.headers


def test_a_caller_reads_what_became_of_its_wishes(sandbox: Gateway) -> None:
    """A generation under the lenient policy reports each change, with values, and free text never."""
    wish = {
        "model": "dall-e-3",
        "prompt": "a",
        "size": "512x512",
        "n": 1,
        "moderation": "low",
        "style": "neon-punk",
        "negative_prompt": "no rain please",
        "stepCount": 4,
        "x-y z": 1,
    }
    answer = post(sandbox, wish, GENERATE, pinhole_policy="lenient")
    found = dict(members(answer.headers["pinhole-adjustments"]))

    assert answer.status == 200
    assert found["size"] == {"kind": "mapped", "from": "512x512", "to": "1024x1024"}
    assert found["moderation"] == {"kind": "dropped", "from": "low"}
    assert found["style"] == {"kind": "dropped", "from": "neon-punk"}
    assert found["negative_prompt"] == {"kind": "dropped"}
    assert found["stepCount"] == {"kind": "dropped"}
    assert found["unknown"] == {"kind": "dropped"}
    assert "rain" not in answer.headers["pinhole-adjustments"]


@pytest.mark.parametrize(
    ("model", "style", "status"),
    [("stable-image-core", "neon-punk", 200), ("dall-e-3", "neon-punk", 400), ("gpt-image-2", "neon-punk", 400)],
)
def test_a_style_is_a_word_of_the_models_own(sandbox: Gateway, model: str, style: str, status: int) -> None:
    """What a row lists can be asked for; what it does not list is refused with what it lists."""
    answer = post(sandbox, {"model": model, "prompt": "a", "style": style}, f"{GENERATE}/explain")

    assert answer.status == status
    assert status == 200 or answer.error["param"] == "style"


def test_a_key_may_forbid_emulation(tmp_path: Path) -> None:
    """What would be reported as emulated is refused by name, and what the model does itself is not."""
    config = "keys: [{name: purist, key: sk-p, emulation: forbid, models: ['*']}]"
    wishes: list[tuple[dict[str, object], str | None]] = [
        ({"model": "gemini-3-pro-image", "n": 2}, "n"),
        ({"model": "gemini-3-pro-image", "output_format": "webp"}, "output_format"),
        ({"model": "gemini-3-pro-image"}, None),
        ({"model": "gpt-image-2", "n": 2, "output_format": "webp"}, None),
    ]
    with running(tmp_path, {"PINHOLE_SANDBOX": "true"}, config) as gateway:
        for wish, param in wishes:
            answer = post(gateway, {"prompt": "a", **wish}, f"{GENERATE}/explain", authorization="Bearer sk-p")

            assert answer.status == (400 if param else 200)
            assert param is None or (answer.error["param"], answer.error["code"]) == (param, "unsupported_parameter")
        masked = httpx2.post(
            f"{gateway.v1}/images/edits/explain",
            headers={"authorization": "Bearer sk-p"},
            data={"model": "gemini-3-pro-image", "prompt": "a"},
            files={"image": png(64, 64), "mask": mask_png(64, 64)},
        )

    assert (masked.status_code, masked.json()["error"]["param"]) == (400, "mask")


def test_an_answer_names_who_made_it_and_what_it_cost(sandbox: Gateway) -> None:
    """Provider, model, attempts and cost stand on every answer; errors carry the attempts."""
    body = {"model": "sandbox/canvas", "prompt": "a", "size": "64x64", "response_format": "url"}
    answer = httpx2.post(f"{sandbox.v1}/images/generations", json=body, timeout=20)
    failed = httpx2.post(f"{sandbox.v1}/images/generations", json={**body, "model": "sandbox/error"}, timeout=20)

    assert answer.headers["pinhole-provider"] == "sandbox"
    assert answer.headers["pinhole-model"] == "sandbox/canvas"
    assert answer.headers["pinhole-attempts"] == "1"
    assert answer.headers["pinhole-cost-usd"] == "0.000000"
    assert int(answer.headers["openai-processing-ms"]) >= 0
    assert failed.status_code == 502
    assert failed.headers["pinhole-attempts"] == "1"


def test_resolved_values_are_told(sandbox: Gateway) -> None:
    """Size, quality and format of the answer are those of the picture, not of the request."""
    pieces = (Piece("model", "gpt-image-2"), Piece("prompt", "a"), Piece("image", png(64, 64), "a.png"))
    generated = post(
        sandbox, {"model": "gpt-image-2", "prompt": "a", "quality": "hd", "size": "auto"}, GENERATE
    ).json()
    edited = form(sandbox, *pieces, path=EDIT).json()

    assert generated["quality"] == "high"
    assert re.fullmatch(r"\d+x\d+", generated["size"])
    assert (generated["output_format"], edited["output_format"]) == ("png", "png")
    assert set(generated["usage"]) >= {"input_tokens", "output_tokens", "total_tokens", "input_tokens_details"}


def test_lifecycle_headers_are_dates_of_their_standards() -> None:
    """`Deprecation` is an RFC 9651 date, `Sunset` an HTTP date; a living model has neither."""
    registry = Registry(discover(), load({"PINHOLE_SANDBOX": "true"}), Config())
    route = registry.resolve(
        ImageRequest(operation=Operation.GENERATE, prompt="a", model="gpt-image-2"), Caller(id="a", name="a")
    )
    ending = replace(route, spec=replace(route.spec, retired_on=date(2027, 2, 1), deprecated_on=date(2026, 12, 31)))

    assert lifecycle(route.spec) == {}
    assert lifecycle(ending.spec) == {"deprecation": "@1798675200", "sunset": "Mon, 01 Feb 2027 00:00:00 GMT"}


def test_limits_describe_the_tightest() -> None:
    """Of several limits on one unit the one with the least left is told; without any there is no header."""
    found = limits(
        (
            Standing(Unit.REQUESTS, 600, 599, 0.1),
            Standing(Unit.REQUESTS, 60, 3.7, 56.3),
            Standing(Unit.IMAGES, 120, 120, 0),
            Standing(Unit.MEGAPIXELS, 5, 0, 60),
        )
    )

    assert limits(()) == {}
    assert found["x-ratelimit-limit-requests"] == "60"
    assert found["x-ratelimit-remaining-requests"] == "3"
    assert found["x-ratelimit-reset-requests"] == "57"
    assert found["x-ratelimit-remaining-images"] == "120"
    assert not [name for name in found if "megapixels" in name]


@pytest.mark.parametrize(
    ("vendor", "size", "told"),
    [
        ("openai", "1536x1024", 'size;kind=delivered;from="1536x1024";to="1024x1024"'),
        ("openai", "3:2", 'size;kind=delivered;from="1248x832";to="1024x1024"'),
        ("openai", "1024x1024", ""),
        ("openai", None, ""),
        ("gemini", "16:9", 'size;kind=delivered;from="16:9";to="1024x1024"'),
        ("gemini", "1:1", ""),
        ("gemini", "auto", ""),
    ],
)
def test_another_size_than_asked_is_told(tmp_path: Path, vendor: str, size: str | None, told: str) -> None:
    """Whatever a provider was asked for, what it gave is measured: another size, or shape, is an adjustment."""
    (found,) = (each for each in VENDORS if each.name == vendor)
    square = base64.b64encode(png(1024, 1024)).decode()
    parts = [{"inlineData": {"mimeType": "image/png", "data": square}}]
    given: dict[str, Any] = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    if vendor == "openai":
        given = {"created": 1, "data": [{"b64_json": square}]}
    with found.make() as server, running(tmp_path, found.environ(server)) as gateway:
        server.queue(Reply.json(200, given))
        answer = post(gateway, {"model": found.generates, "prompt": "a", "size": size}, GENERATE)

    assert answer.status == 200
    header = answer.headers.get("pinhole-adjustments", "")
    assert told in header
    assert told or "delivered" not in header
