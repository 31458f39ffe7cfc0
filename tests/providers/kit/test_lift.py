"""Long base64 strings are cut out of JSON as slices of the buffer; everything else is ordinary JSON."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.kit.lift import Lifted, LiftError, lift

IMAGE = bytes(i * i * 31 % 251 for i in range(5000))
TEXT = base64.b64encode(IMAGE).decode()


def lowered(value: Any) -> Any:
    """The document as `json` would have given it: handles back to their text."""
    if isinstance(value, Lifted):
        head = f"data:{value.media_type};base64," if value.media_type else ""
        return head + bytes(value.base64).decode()
    if isinstance(value, dict):
        return {key: lowered(item) for key, item in value.items()}
    if isinstance(value, list):
        return [lowered(item) for item in value]
    return value


def test_an_image_is_a_slice_of_the_received_buffer() -> None:
    """Nothing of it is copied or decoded until somebody asks."""
    body = bytearray(json.dumps({"data": [{"b64_json": TEXT}], "created": 1}).encode())
    found = lift(body)
    image = found["data"][0]["b64_json"]

    assert isinstance(image, Lifted)
    assert image.base64.obj is body
    assert found["created"] == 1
    assert (image.size, image.head(16), image.decode()) == (len(IMAGE), IMAGE[:16], IMAGE)


def test_a_data_url_is_lifted_with_its_type() -> None:
    """The head of a data URL is told apart from the payload."""
    image = lift(json.dumps({"image_url": f"data:image/png;base64,{TEXT}"}).encode())["image_url"]

    assert isinstance(image, Lifted)
    assert image.media_type == "image/png"
    assert image.decode() == IMAGE


@pytest.mark.parametrize("escaped", [TEXT.replace("/", "\\/"), TEXT.replace("=", "\\u003d")])
def test_escapes_inside_base64_are_undone(escaped: str) -> None:
    """PHP writes slashes escaped, and some write equals signs so: the image is the same."""
    image = lift(f'{{"b64_json": "{escaped}"}}'.encode())["b64_json"]

    assert isinstance(image, Lifted)
    assert image.decode() == IMAGE


def test_a_long_prompt_stays_text() -> None:
    """Only base64 is lifted: words, quotes and other letters of any length are strings."""
    prompt = 'A "quoted" fox \\ with accents é and 日本 ' * 200
    found = lift(json.dumps({"prompt": prompt, "b64_json": TEXT}).encode())

    assert found["prompt"] == prompt
    assert isinstance(found["b64_json"], Lifted)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": 1,}',
        b'{"a": 1} x',
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "' + TEXT.encode(),
        b'["' + TEXT.encode() + b'" "' + TEXT.encode() + b'"]',
        b"[" * 100 + b"]" * 100,
        b"\x00",
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    """Malformed documents, duplicate keys, odd numbers and deep nesting have one error."""
    with pytest.raises(LiftError):
        lift(body)


@pytest.mark.parametrize("bad", [TEXT[:-4] + "!!!!", TEXT[:3001] + " " + TEXT[3001:], "A" * 5001])
def test_an_image_of_another_alphabet_or_length_is_refused_when_used(bad: str) -> None:
    """A lifted string that is not base64 is either left as text or refused by check and decode."""
    found = lift(json.dumps({"b64_json": bad}).encode())["b64_json"]

    if isinstance(found, Lifted):
        with pytest.raises(LiftError):
            found.check()
        with pytest.raises(LiftError):
            found.decode()
    else:
        assert found == bad


PLANTED = st.integers(0, 4000).map(lambda n: base64.b64encode(IMAGE[: n + 900]).decode())
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.text(max_size=40),
    PLANTED,
    PLANTED.map(lambda text: f"data:image/webp;base64,{text}"),
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(document=DOCUMENTS, indent=st.sampled_from([None, 2]), ascii_only=st.booleans(), slashes=st.booleans())
@settings(max_examples=400, deadline=None)
def test_lifting_changes_nothing_but_the_form(
    document: Any, indent: int | None, ascii_only: bool, slashes: bool
) -> None:
    """With handles put back, the document is what the standard parser gives."""
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    text = text.replace("/", "\\/") if slashes else text

    assert lowered(lift(text.encode("utf-8", "surrogatepass") if ascii_only else text.encode())) == json.loads(text)


@given(st.binary(max_size=300))
@settings(max_examples=400, deadline=None)
def test_random_bytes_raise_nothing_but_lift_errors(body: bytes) -> None:
    """Whatever arrives is a document or a LiftError."""
    try:
        lift(body)
    except LiftError:
        return
    json.loads(body)
