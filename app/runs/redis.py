"""The index on Redis (7 or newer): one script call a decision, so that any number of gateways agree.

A gateway is alive while its one key is; where it is not, its runs are unknown and its claims are free.
An ordinary request costs one call before the upstream is asked (its record must be there before money is spent, else
no other gateway could join it), and one after, which its caller does not wait for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from app.redis import Line, Lost, Script, bulk
from app.runs.protocol import (
    DOCUMENT_BYTES,
    FREE_SECONDS,
    KEPT_SECONDS,
    LEASE_SECONDS,
    REPEAT_SECONDS,
    Doubtful,
    IndexLost,
    Record,
    Reused,
    State,
    Unheard,
)
from providers.kit.clock import Clock

SCRIPT: Final = Path(__file__).with_name("runs.lua").read_text()
PREFIX: Final = bulk("{pinhole}:runs")  # the hash tag of the limiter: in a cluster all of it lives on one node
ONE_KEY: Final = bulk(1)
BEGUN: Final = 8


class RedisIndex:
    """Every method is one script; a lost reply is asked for once more, which no script minds. Raises IndexLost.

    `begin` raises Unheard when Redis lost its data, or this gateway stood still for longer than its lease.
    """

    shared = True

    def __init__(self, instance: str, line: Line, clock: Clock, *, document_bytes: int = DOCUMENT_BYTES) -> None:
        self.instance = instance
        self._line = line
        self._clock = clock
        self._document_bytes = document_bytes
        self._script = Script(line, SCRIPT)
        times = (LEASE_SECONDS, KEPT_SECONDS, REPEAT_SECONDS, FREE_SECONDS)
        self._mine = (bulk(instance), *(bulk(_milliseconds(value)) for value in times))

    async def start(self) -> object:
        return await self.beat(told=True)

    async def begin(self, record: Record, *, retry: int, patience: float, waited: float = 0.0) -> Record | None:
        until = _milliseconds(self._clock.time() + patience)
        reply = await self._run("begin", *_written(record)[:BEGUN], retry, until, _milliseconds(waited))
        if reply[0] == "unheard":
            raise Unheard
        if reply[0] == "reused":
            raise Reused
        if reply[0] == "doubt":
            raise Doubtful(int(reply[1]) / 1000)
        return _read(reply[1]) if reply[0] == "found" else None

    async def put(self, record: Record) -> tuple[str, ...]:
        return await self._put(record, absent=False)

    async def restore(self, record: Record) -> None:
        """Write a record that is not there."""
        await self._put(record, absent=True)

    async def get(self, name: str) -> Record | None:
        reply = await self._run("get", name)
        return _read(reply) if reply else None

    async def find(self, caller: str, name: str) -> Record | None:
        reply = await self._run("find", caller, name)
        return _read(reply) if reply else None

    async def claimed(self, name: str) -> bool:
        return bool(await self._run("claimed", name))

    def sent(self, name: str) -> None:
        """Redis knows who took an answer; on its way it is its own gateway's."""

    def unsent(self, name: str) -> None:
        """As `sent`."""

    async def alone(self, name: str) -> None:
        await self._run("alone", name)

    async def delivered(self, name: str) -> bool:
        return bool(await self._run("delivered", name))

    async def release(self, name: str, asker: str) -> None:
        await self._run("release", name, asker)

    async def forget(self, name: str) -> None:
        await self._run("forget", name)

    async def beat(self, *, told: bool = False) -> bool:
        """As Index has it. `told`: Redis has heard of all that this gateway runs, and may decide for it again."""
        return bool(await self._run("beat", int(told)))

    async def close(self) -> None:
        """Tells Redis when it is there, and lets go of the connection."""
        with contextlib.suppress(IndexLost):
            await self._run("close")
        await self._line.close()

    async def _put(self, record: Record, *, absent: bool) -> tuple[str, ...]:
        gone = await self._run("put", *_written(record), self._document_bytes, int(absent))
        return tuple(name for name in gone if name)

    async def _run(self, command: str, *arguments: object) -> Any:
        now = bulk(_milliseconds(self._clock.time()))
        words = [bulk(word) for word in arguments]
        try:
            return await self._script.run(ONE_KEY, PREFIX, bulk(command), now, *self._mine, *words)
        except Lost as error:
            raise IndexLost(str(error)) from error


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _written(record: Record) -> list[Any]:
    """The fields in the order that the script reads; those that a run begins with stand first."""
    return [
        record.id,
        record.caller,
        record.label,
        record.fingerprint,
        record.key,
        _milliseconds(record.started),
        record.owner,
        record.state.value,
        int(record.alone),
        int(record.delivered),
        record.document,
        record.size,
        record.failure,
    ]


def _read(fields: Sequence[str]) -> Record:
    names = ("id", "caller", "label", "fingerprint", "key", "started", "owner", "state", "alone", "delivered")
    found: dict[str, Any] = dict(zip((*names, "document", "size", "failure"), fields, strict=True))
    return Record(
        **found
        | {
            "started": int(found["started"]) / 1000,
            "state": State(found["state"]),
            "alone": found["alone"] == "1",
            "delivered": found["delivered"] == "1",
            "size": int(found["size"]),
        }
    )
