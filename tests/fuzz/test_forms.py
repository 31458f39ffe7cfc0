"""The multipart reader on sound forms in any pieces, and on damaged ones."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from app.http.arrival import Arrival
from app.http.bodies import read_form
from app.http.forms import IMAGE_FIELDS, Upload
from providers.core.errors import PinholeError
from tests.fuzz.strategies import CUTS, Damage, damaged, damages, effort, pieces

BOUNDARY = "----fuzz"
LIMIT = 2**20
NAMES = st.sampled_from(["prompt", "model", "n", "mask", *sorted(IMAGE_FIELDS)])
# A value may hold everything but the boundary, and does like to hold its beginning.
VALUES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=50).map(str.encode),
    st.sampled_from([b"", b"\r\n", b"\r\n--", b"\r\n------fuz", b"--", b"\r", b"\n", b"\r\n\r\n"]),
)
PARTS = st.lists(st.tuples(NAMES, VALUES), max_size=8)
WRECKING = st.sampled_from(
    [b"", b"\r\n", b"\r", b"--", b'"', b"; name=", b"------fuzz", b"\r\n------fuzz--", b"\x00", b"\xff"]
)


def form(parts: Sequence[tuple[str, bytes]]) -> bytes:
    """The form as a browser writes it."""
    body = b""
    for name, value in parts:
        file = '; filename="a.png"\r\nContent-Type: image/png' if name in IMAGE_FIELDS or name == "mask" else ""
        body += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n"
        )
    return body + f"--{BOUNDARY}--\r\n".encode()


def read(chunks: Sequence[bytes]) -> Upload | str:
    """What the reader makes of it: an upload, or the name of one of the gateway's own errors with its message."""
    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting)

    headers = [(b"content-type", f"multipart/form-data; boundary={BOUNDARY}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "state": {"request_id": "fuzz"}}
    try:
        return asyncio.run(read_form(Arrival.of(Request(scope, receive)), LIMIT))
    except PinholeError as error:
        return type(error).__name__


@given(parts=PARTS, cuts=CUTS)
@effort
def test_a_form_is_read_whole_in_any_pieces(parts: list[tuple[str, bytes]], cuts: list[float]) -> None:
    """Texts, images and mask arrive to the byte; a text that is not UTF-8, or has two values, is refused by name."""
    texts = [(name, value) for name, value in parts if name not in IMAGE_FIELDS and name != "mask"]
    found = read(pieces(form(parts), cuts))

    try:
        expected = {name: value.decode() for name, value in texts}
    except UnicodeDecodeError:
        assert found == "InvalidRequest"
        return
    masks = [value for name, value in parts if name == "mask"]
    if len(set(texts)) > len(expected) or len(set(masks)) > 1:
        assert found == "InvalidRequest"
        return
    assert isinstance(found, Upload)
    assert found.fields == expected
    assert [bytes(image.data) for image in found.images] == [value for name, value in parts if name in IMAGE_FIELDS]
    assert (bytes(found.mask.data) if found.mask is not None else None) == (masks[-1] if masks else None)
    assert all(image.digest == blake3(image.data).hexdigest() for image in found.images)


@given(parts=PARTS, done=damages(WRECKING), cuts=CUTS)
@effort
def test_a_damaged_form_is_read_or_refused(
    parts: list[tuple[str, bytes]], done: list[Damage], cuts: list[float]
) -> None:
    """Damage ends in an upload or an error of the gateway's own, and pieces make no difference."""
    body = damaged(form(parts), done)

    assert read(pieces(body, cuts)) == read([body])


@given(body=st.binary(max_size=400), cuts=CUTS)
@effort
def test_noise_is_no_form(body: bytes, cuts: list[float]) -> None:
    """Noise that does not begin with the boundary is refused."""
    found = read(pieces(body, cuts))

    assert body.lstrip(b"\r\n").startswith(f"--{BOUNDARY}".encode()) or found == "BadInput"
