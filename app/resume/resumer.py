"""Goes on with what gateways left that ended: tasks that an upstream accepted are asked after to their end."""

from __future__ import annotations

import contextlib
from typing import Final

from app.configured import Current
from app.errors import Overloaded
from app.pipeline import Pipeline
from app.resume.accepted import Resumption, read
from app.runs import Record, Run, Runs
from app.seams import Seams
from app.telemetry import REQUEST_ID, Telemetry

LOOK_SECONDS: Final = 5.0
# Alibaba Cloud keeps tasks and their images for 24 hours (2026-11-22), Replicate its images for one.
AGE_SECONDS: Final = 86_400.0
TOGETHER: Final = 64


class Resumer:
    """Looks for abandoned rows at the start and every few seconds after; each becomes a run of this gateway.

    A row is claimed before it is asked for, so that one gateway alone goes on with it.
    """

    def __init__(
        self,
        chosen: Seams,
        seconds: float,
        *,
        runs: Runs,
        pipeline: Pipeline,
        current: Current,
        telemetry: Telemetry,
    ) -> None:
        """`seconds` is the deadline of what is resumed, from then on: nobody waits for it with the old one."""
        self._ledger = chosen.ledger
        self._runs = runs
        self._pipeline = pipeline
        self._current = current
        self._clock = chosen.clock
        self._telemetry = telemetry
        self._seconds = seconds
        self._going: list[Run] = []

    async def live(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(Overloaded):  # the ledger cannot be reached: what is abandoned waits
                await self.look()
            await self._clock.sleep(LOOK_SECONDS)

    async def look(self) -> int:
        """Go on with what is abandoned now; returns how many requests that are. Raises Overloaded."""
        self._going = [run for run in self._going if run.running]
        begun = 0
        since = self._clock.time() - AGE_SECONDS
        seen: frozenset[str] = frozenset()
        while len(self._going) < TOGETHER:
            page = await self._ledger.abandoned(since, TOGETHER, seen)
            for entry in page:
                found = read(entry, self._current.value, self._clock.now(), self._seconds)
                if found is not None and len(self._going) < TOGETHER and await self._ledger.claim(entry):
                    self._going.append(await self._carry(found))
                    begun += 1
            if len(page) < TOGETHER:
                break
            last = page[-1].created
            seen = frozenset(each.request_id for each in page if each.created == last) | (
                seen if last == since else frozenset()
            )
            since = last
        return begun

    async def _carry(self, found: Resumption) -> Run:
        entry = found.entry
        record = Record(
            id=entry.request_id,
            caller=entry.caller,
            label=entry.label,
            fingerprint=entry.fingerprint,
            key=entry.idempotency,
            started=entry.created,
            owner=self._runs.instance,
            alone=True,
        )
        before = REQUEST_ID.set(entry.label)  # the run's own task keeps it
        try:
            self._telemetry.resumed(entry)
            return await self._runs.resume(record, lambda _: self._pipeline.resume(found))
        finally:
            REQUEST_ID.reset(before)
