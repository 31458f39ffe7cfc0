"""The reader of server-sent events against a reading of the whole text, line by line."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from providers.core.errors import UpstreamError
from providers.core.http import Event
from providers.kit.sse import events
from tests.fuzz.strategies import CUTS, effort, pieces

WORDS = [
    b"data",
    b"event",
    b"id",
    b":",
    b" ",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"{}",
    b"[DONE]",
    b"\x00",
    b"\xff",
    b"data: x",
]
STREAMS = st.one_of(st.lists(st.sampled_from(WORDS), max_size=40).map(b"".join), st.binary(max_size=200))


def read(chunks: Sequence[bytes], limit: int = 2**20) -> list[Event]:
    """Every event of a stream that comes in these chunks."""

    async def given_out() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def collected() -> list[Event]:
        return [event async for event in events(given_out(), limit)]

    return asyncio.run(collected())


def plainly(stream: bytes) -> list[Event]:
    """The same from the whole text; an event at the end of the stream needs no blank line."""
    found: list[Event] = []
    name, data = "", list[bytes]()
    for line in [*re.split(rb"\r\n|\r|\n", stream), b""]:
        if line == b"":
            if data:
                found.append(Event(name, b"\n".join(data)))
            name, data = "", []
        match = re.fullmatch(rb"(data|event)(?:: ?(.*))?", line, re.DOTALL)
        if match and match[1] == b"data":
            data.append(match[2] or b"")
        elif match:
            name = (match[2] or b"").decode(errors="replace")
    return found


@given(stream=STREAMS, cuts=CUTS)
@effort
def test_pieces_make_no_difference(stream: bytes, cuts: list[float]) -> None:
    """A stream cut anywhere, between CR and LF too, gives the events of the whole."""
    assert read(pieces(stream, cuts)) == plainly(stream)


@given(stream=STREAMS)
@effort
def test_a_stream_byte_by_byte_is_the_same_stream(stream: bytes) -> None:
    """The smallest pieces give the events of the whole."""
    assert read([bytes([byte]) for byte in stream]) == plainly(stream)


@given(stream=STREAMS, cuts=CUTS, limit=st.integers(1, 32))
@effort
def test_an_event_is_bounded(stream: bytes, cuts: list[float], limit: int) -> None:
    """Beyond the limit there is one error, and what came before it stands."""
    try:
        assert read(pieces(stream, cuts), limit) == plainly(stream)
    except UpstreamError:
        assert len(stream) > limit
