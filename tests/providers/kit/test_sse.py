"""Server-sent events are the same however the bytes arrive."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.core.errors import UpstreamError
from providers.core.http import Event
from providers.kit.sse import events

STREAM = b'\xef\xbb\xbf: hello\r\nevent: one\r\ndata: {"a": 1}\r\n\r\ndata: x\ndata: y\n\nid: 7\n\ndata: last'
FOUND = [Event("one", b'{"a": 1}'), Event("", b"x\ny"), Event("", b"last")]


async def read(pieces: list[bytes], limit: int = 1000) -> list[Event]:
    """All events of a stream that arrives in these pieces."""

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [event async for event in events(chunks(), limit)]


async def test_events_comments_and_ends() -> None:
    """Comments and ids are passed over, lines of one event are joined, the last needs no blank line."""
    assert await read([STREAM]) == FOUND


@given(cuts=st.lists(st.integers(3, len(STREAM)), max_size=12))
@settings(max_examples=300, deadline=None)
async def test_chunking_changes_nothing(cuts: list[int]) -> None:
    """Wherever the stream is cut, empty pieces included, the events are the same."""
    at = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(at)]

    assert await read(pieces) == FOUND


async def test_an_event_is_bounded() -> None:
    """Neither one endless line nor endless lines of one event fill the memory."""
    for pieces in ([b"data: " + b"x" * 200], [b"data: x\n"] * 200):
        with pytest.raises(UpstreamError):
            await read(pieces, limit=100)
