"""Bodies on the wire: valid documents around image bytes that are moved as they are."""

from __future__ import annotations

import base64
import json
from email import message_from_bytes
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.core.http import JSON, Form, Inline, Part
from providers.core.types import ImageFormat
from providers.kit.bodies import PLACE, encode, filled, plain

PICTURE = bytes(range(256)) * 40
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text('abc<>"', max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def joined(document: Any) -> bytes:
    """A JSON body in one piece."""
    return b"".join(map(bytes, encode(JSON(document))[1]))


@given(st.dictionaries(st.text("abc", max_size=5), VALUES, max_size=4))
def test_a_document_is_its_json(document: dict[str, Any]) -> None:
    """Whatever letters stand in it."""
    assert json.loads(joined(document)) == document


@given(st.binary(max_size=300), st.text("data:;,/base64", max_size=20), st.integers(0, 3))
def test_images_stand_where_they_were_put(data: bytes, prefix: str, depth: int) -> None:
    """Base64 of the bytes, behind the prefix, at any depth, several of them."""
    value: Any = Inline(data, prefix)
    for _ in range(depth):
        value = {"in": [value]}
    found = json.loads(joined({"first": value, "text": "a<b>", "second": Inline(b"x")}))
    inner = found["first"]
    for _ in range(depth):
        inner = inner["in"][0]

    assert inner == prefix + base64.b64encode(data).decode()
    assert found["second"] == "eA=="


def test_base64_that_exists_is_moved_and_not_copied() -> None:
    """The very buffer that was received goes out."""
    received = memoryview(base64.b64encode(PICTURE))
    kind, pieces = encode(JSON({"image": Inline(b"", base64=received), "n": 1}))

    assert kind == "application/json"
    assert any(piece is received for piece in pieces)


def test_no_text_can_take_the_place_of_an_image() -> None:
    """The marker is random and found only where it was put."""
    texts = {f"t{i}": f"<{i:016x}>" for i in range(50)}

    assert json.loads(joined({**texts, "i": Inline(b"x")})) == {**texts, "i": "eA=="}


def test_half_a_surrogate_pair_is_replaced() -> None:
    """An upstream's broken text never costs the image beside it."""
    assert json.loads(joined({"a": "x\ud800y", "i": Inline(b"x")})) == {"a": "x?y", "i": "eA=="}


def test_a_plain_document_is_filled_the_same_way() -> None:
    """Base64 stands where its place was, the very buffer; broken text costs itself alone."""
    digits = memoryview(b"eA==")
    for text, written in (("x\ud800y", "x?y"), ('"\u00e9<', '"\u00e9<')):
        pieces = filled(plain({"a": text, "data": [{"b": PLACE}, {"b": PLACE}], "n": 1}), [digits, b"eQ=="])

        assert pieces[1] is digits
        found = json.loads(b"".join(map(bytes, pieces)))
        assert found == {"a": written, "data": [{"b": "eA=="}, {"b": "eQ=="}], "n": 1}
    assert filled(plain({"n": 1}), []) == [b'{"n":1}']


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(value: float) -> None:
    """It has no JSON form."""
    with pytest.raises(ValueError, match=r".+"):
        joined({"n": value})


def test_a_value_without_json_form_is_refused() -> None:
    """A programming error is not sent."""
    with pytest.raises(TypeError, match="bytes"):
        joined({"n": b"x"})


def test_a_form_is_read_by_others_as_it_was_written() -> None:
    """Names, values, files and types arrive in order; file bytes are the very buffer."""
    view = memoryview(PICTURE)
    form = Form(
        [
            Part("prompt", 'a "kite" \r\n--b\u00e9'),
            Part("image[]", view, ImageFormat.PNG),
            Part("mask", b"123", ImageFormat.WEBP, "own.webp"),
        ]
    )
    kind, pieces = encode(form)
    message = message_from_bytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + b"".join(map(bytes, pieces)))
    parts = message.get_payload()
    assert isinstance(parts, list)
    found = [(part.get_param("name", header="content-disposition"), part.get_filename()) for part in parts]  # type: ignore[union-attr]  # parts are messages

    assert any(piece is view for piece in pieces)
    assert found == [("prompt", None), ("image[]", "image.png"), ("mask", "own.webp")]
    assert [part.get_content_type() for part in parts[1:]] == ["image/png", "image/webp"]  # type: ignore[union-attr]  # as above


def test_a_boundary_is_random_unless_given() -> None:
    """No prompt can hold it."""
    form = Form([Part("a", "b")])
    kinds = {encode(form)[0] for _ in range(5)}

    assert len(kinds) == 5
    assert encode(form, "fixed")[0] == "multipart/form-data; boundary=fixed"
    assert b"".join(map(bytes, encode(form, "fixed")[1])) == (
        b'--fixed\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--fixed--\r\n'
    )
