"""`lift` and the base64 path against the standard library."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from providers.kit.lift import Lifted, LiftError, lift
from tests.fuzz.strategies import Damage, damaged, damages, effort

THRESHOLD = 16
IMAGES = st.binary(min_size=9, max_size=90).map(lambda data: base64.b64encode(data).decode())
STRINGS = st.one_of(st.text(max_size=40), IMAGES, IMAGES.map(lambda text: f"data:image/png;base64,{text}"))
DOCUMENTS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), STRINGS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(STRINGS, inner, max_size=4)),
    max_leaves=12,
)
WRECKING = st.sampled_from(
    [b"", b'"', b"\\", b"\\/", b"\\u003d", b"=", b":", b",", b"{", b"]", b"A", b"\xff", b"\n", b"NaN"]
)
DIGITS = st.text("ABab01+/=-_ \n\u00e9", max_size=40)


def plain(value: Any) -> Any:
    """A document with its lifted strings as text again."""
    if isinstance(value, Lifted):
        return value.text
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def strictly(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the standard library's, without duplicate keys."""
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("the same key twice")
    return dict(pairs)


def refuse(name: str) -> None:
    """NaN and Infinity are no JSON."""
    raise ValueError(name)


def standard(body: bytes) -> Any:
    """The document as the standard library reads it. Raises ValueError."""
    return json.loads(body.decode(), object_pairs_hook=strictly, parse_constant=refuse)


@given(document=DOCUMENTS, done=damages(WRECKING), ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
@effort
def test_a_damaged_document_is_read_as_the_library_reads_it(
    document: Any, done: list[Damage], ascii_only: bool, indent: int | None
) -> None:
    """Lifting refuses exactly what a strict parser refuses, and changes no value of the rest."""
    body = damaged(json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode(errors="replace"), done)
    try:
        expected = standard(body)
    except ValueError:
        expected = ValueError
    try:
        found = plain(lift(body, threshold=THRESHOLD))
    except LiftError:
        found = ValueError

    assert found == expected


@given(body=st.binary(max_size=200))
@effort
def test_noise_is_refused_as_the_library_refuses_it(body: bytes) -> None:
    """Bytes that are no document raise LiftError and nothing else."""
    try:
        expected = standard(body)
    except ValueError:
        expected = ValueError
    try:
        found = plain(lift(body, threshold=1))
    except LiftError:
        found = ValueError

    assert found == expected


@given(text=st.one_of(DIGITS, IMAGES, IMAGES.map(lambda text: text.rstrip("="))), n=st.integers(0, 70))
@effort
def test_base64_is_judged_as_the_library_judges_it(text: str, n: int) -> None:
    """Standard alphabet, padding right or absent, no white space; head, size and bytes agree with each other."""
    try:
        padded = text if "=" in text else text + "=" * (-len(text) % 4)
        expected: bytes | None = base64.b64decode(padded.encode("ascii"), validate=True)
        if len(padded) % 4:  # the library passes over one "=" behind whole quantums
            expected = None
    except (binascii.Error, UnicodeEncodeError):
        expected = None
    try:
        handle = Lifted.of(text)
    except LiftError:
        assert not expected
        return

    assert handle.decode() == expected
    assert handle.size == len(handle.decode())
    assert handle.head(n) == handle.decode()[:n]
