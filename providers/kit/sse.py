"""Server-sent events, read from chunks as they come (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from providers.core.errors import UpstreamError
from providers.core.http import Event

# A partial image in base64 is easily over 1 MiB; a final 4K PNG can reach 40 MiB.
MAX_EVENT_BYTES = 64 * 2**20
BOM = b"\xef\xbb\xbf"


async def events(chunks: AsyncIterator[bytes], limit: int = MAX_EVENT_BYTES) -> AsyncIterator[Event]:
    """Every event with data; comments and unknown fields are passed over. Raises UpstreamError beyond `limit`."""
    name = ""
    data: list[bytes] = []
    size = 0
    async for line in _lines(chunks, limit):
        if not line:
            if data:
                yield Event(name, b"\n".join(data))
            name, data, size = "", [], 0
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
            size += len(value)
            if size > limit:
                raise _too_long(limit)
        elif field == b"event":
            name = value.decode(errors="replace")
    if data:
        yield Event(name, b"\n".join(data))


async def _lines(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Lines without their ends (LF, CRLF or CR); each byte is looked at once, however small the chunks."""
    pending: list[bytes] = []
    size = 0
    after_cr = False
    first = True
    async for received in chunks:
        raw = received.removeprefix(BOM) if first else received
        if not raw:
            continue
        first = False
        chunk = raw[1:] if after_cr and raw.startswith(b"\n") else raw
        after_cr = raw.endswith(b"\r")
        lines = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines[:-1]:
            yield b"".join([*pending, line])
            pending, size = [], 0
        if lines[-1]:
            pending.append(lines[-1])
            size += len(lines[-1])
            if size > limit:
                raise _too_long(limit)
    if pending:
        yield b"".join(pending)


def _too_long(limit: int) -> UpstreamError:
    return UpstreamError(f"The upstream sent an event of more than {limit} bytes.")
