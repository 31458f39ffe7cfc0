"""Properties of lifting: whatever the document, it means what a strict parser says it means."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.kit.lift import Lifted, LiftError, lift
from tests.providers.kit.test_lift import IMAGE, texts

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

    assert texts(lift(text.encode("utf-8", "surrogatepass") if ascii_only else text.encode())) == json.loads(text)


@given(st.binary(max_size=300))
@settings(max_examples=400, deadline=None)
def test_random_bytes_raise_nothing_but_lift_errors(body: bytes) -> None:
    """Whatever arrives is a document or a LiftError."""
    try:
        lift(body)
    except LiftError:
        return
    json.loads(body)


ESCAPES = {
    "/": ["/", "\\/", "\\u002f", "\\u002F"],
    "+": ["+", "\\u002b", "\\u002B"],
    "=": ["=", "\\u003d", "\\u003D"],
}


@given(st.binary(min_size=12, max_size=90), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_every_mixture_of_escapes_is_undone(image: bytes, random: Any) -> None:
    """However the sender escapes the three marks, the image is lifted and the same."""
    text = base64.b64encode(image + b"\xff\xfb\xef").decode()
    escaped = "".join(random.choice(ESCAPES.get(letter, [letter])) for letter in text)

    (found,) = lift(f'["{escaped}"]'.encode(), threshold=16)

    assert isinstance(found, Lifted)
    assert found.decode() == base64.b64decode(text)


def strictly(body: bytes) -> Any:
    """What the standard parser gives under the same rules; raises ValueError."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("duplicate")
        return dict(pairs)

    return json.loads(body.decode(), parse_constant=refuse, object_pairs_hook=members)


FRAGMENTS = [
    r"AAAAAAAA",
    r"data:a/b;base64,",
    r'"',
    r"\"",
    r"\\",
    r"\/",
    r"\u003d",
    r":",
    r",",
    r"{",
    r"}",
    r"[",
    r"]",
    r"1",
    r"=",
    r"é",
    r"null",
    r'["',
    r'"]',
    r'"AAAAAAAA"',
    r'{"AAAAAAAA":',
    r'"AAAAAAAA\\"',
]


@given(st.lists(st.sampled_from([*FRAGMENTS, " "]), max_size=14).map("".join))
@settings(max_examples=1500, deadline=None)
def test_lift_accepts_what_a_strict_parser_accepts(text: str) -> None:
    """Quotes, escapes and base64 in any order: the same documents are read, the same are refused."""
    body = text.encode()
    try:
        wanted = strictly(body)
    except ValueError:
        with pytest.raises(LiftError):
            lift(body, threshold=4)
        return
    assert texts(lift(body, threshold=4)) == wanted


@given(DOCUMENTS, st.data())
@settings(max_examples=400, deadline=None)
def test_a_damaged_document_is_read_as_a_strict_parser_reads_it(document: Any, data: st.DataObject) -> None:
    """Bytes changed anywhere lead to the same document or to a refusal, never to a third thing."""
    body = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b'"', b"\\", b",", b":", b"", b"\xff"])
        )
        body = body or bytearray(b"0")
    try:
        wanted = strictly(bytes(body))
    except ValueError:
        with pytest.raises(LiftError):
            lift(body)
        return
    assert texts(lift(body)) == wanted
