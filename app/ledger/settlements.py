"""The settlement file: what is settled and not in the database yet, and who has the answer, survives the process.

A settlement is committed a moment after its answer may be on its way. A line of it is written before, by one call
and without waiting for a disk: it is for a killed process; a power cut is what the database's own care is for. The
file is locked while its process lives, so an unlocked one is a dead gateway's: app.ledger.recovery brings its lines
in. It begins with a head; each line begins with its line break, so that a torn one costs itself alone. Lines are

    ["settled", "request id", values of the columns of SETTLED ...]
    ["noted", "request id", {"document": ..., "handed": ...}]
    ["sent", "request id"]       all of the answer is the kernel's, and the caller is there
    ["unsent", "request id"]     one that it was sent to left without it
    ["taken", "request id"]      the caller has it

A settlement is written with what comes next of it, and before its row: nobody has what is settled as delivered and
neither sent, taken, nor noted to be kept.

Nothing here ever stops a request: what cannot be kept is told once, and is as safe as the database is fast.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic_core import to_json

from app.ledger.protocol import LedgerWatch, State
from app.ledger.rows import SETTLED, Change
from providers.kit.clock import Clock

FORM: Final = 2
FULL: Final = 2**20
OWED_BYTES: Final = 2**18  # what a full disk did not take, and may take later
# A receipt comes within a second, of a slow caller within half a minute: its line belongs beside its settlement's.
KEPT_SECONDS: Final = 60.0
STATE: Final = SETTLED.index("state")
BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Line:
    """What a line tells, its first word."""

    SETTLED: Final = "settled"
    NOTED: Final = "noted"
    SENT: Final = "sent"
    UNSENT: Final = "unsent"
    TAKEN: Final = "taken"


def machine() -> str:
    """Names the running system: locks of another one, and of the time before a reboot, may not be seen here."""
    with contextlib.suppress(OSError):
        return BOOT.read_text().strip()
    return platform.node()


@dataclass(slots=True)
class Page:
    """One file. It goes when `last` changes are in the database, and some time has passed since it was full.

    Not before it is known who has the answers that it calls delivered: `unheard` of them are open.
    """

    number: int
    path: Path
    size: int = 0
    last: int = 0
    until: float = 0.0
    unheard: int = 0


class Settlements:
    """Of one process; without a folder nothing is kept. Called in the event loop alone."""

    def __init__(
        self, folder: Path | None, instance: str, clock: Clock, watch: LedgerWatch | None = None, *, full: int = FULL
    ) -> None:
        self._folder = folder
        self._instance = instance
        self._clock = clock
        self._watch = watch
        self._full = full
        self._pages: list[Page] = []
        self._number = -1
        self._lines: list[bytes] = []
        self._unheard: dict[str, Page] = {}
        self._failing = False
        self._made = self._added = self._written = 0

    def add(self, change: Change) -> None:
        """Keep a change until it is `written`. In the file with the next `flush`, as all but what says otherwise."""
        self._added += 1
        if change.names is SETTLED:
            self._say((Line.SETTLED, change.request_id, *change.values))
            if change.values[STATE] == State.DELIVERED and self._pages:
                self._unheard[change.request_id] = self._pages[-1]
                self._pages[-1].unheard += 1
        else:
            self._heard(change.request_id)
            self._say((Line.NOTED, change.request_id, dict(zip(change.names, change.values, strict=True))))

    def sent(self, request_id: str) -> None:
        """The last bytes of its answer go to the kernel now, or are there: in the file when this returns."""
        self._say((Line.SENT, request_id))
        self.flush()

    def unsent(self, request_id: str) -> None:
        """A caller that it was sent to left without it: in the file when this returns."""
        self._say((Line.UNSENT, request_id))
        self.flush()

    def taken(self, request_id: str) -> None:
        """Its caller has the answer."""
        self._heard(request_id)
        self._say((Line.TAKEN, request_id))

    def flush(self) -> None:
        """What was said goes to the file. What that does not take now is tried again, up to a bound."""
        if not self._lines:
            return
        data, self._lines = b"".join(self._lines), []
        try:
            count = os.write(self._number, data)
        except OSError as error:
            self._owe(data, error)
            return
        page = self._pages[-1]
        page.size += count
        if count < len(data):
            self._owe(data[count:], OSError(errno.ENOSPC, "a part was written"))
            return
        self._failing = False
        if page.size > self._full:
            self._turn()

    def written(self, count: int) -> None:
        """So many more changes are in the database."""
        self._written += count

    def tidy(self) -> None:
        """Called now and then: let go of what is not needed any more, and begin where that was not possible.

        In their order: a later page tells who has what an earlier one settles.
        """
        if self._number < 0:
            self._turn()
        now = self._clock.now()
        for page in self._pages[:-1]:
            if page.unheard or self._written < page.last or now < page.until:
                break
            self._drop(page)

    def close(self) -> None:
        """What the database has not got stays for the next start."""
        self.flush()
        for page in [*self._pages]:
            if self._written >= self._added:
                self._drop(page)
            else:
                os.close(page.number)
        self._pages, self._number = [], -1

    def _say(self, values: tuple[object, ...]) -> None:
        if self._number < 0:
            return
        try:
            self._lines.append(b"\n" + to_json(values))
        except ValueError as error:
            self._failed(error)

    def _heard(self, request_id: str) -> None:
        page = self._unheard.pop(request_id, None)
        if page is not None:
            page.unheard -= 1

    def _owe(self, data: bytes, error: OSError) -> None:
        self._lines = [data] if len(data) <= OWED_BYTES else []
        self._failed(error)

    def _turn(self) -> None:
        """The next page, or the first one."""
        if self._folder is None:
            return
        try:
            page = self._begun(self._folder)
        except OSError as error:
            if self._pages:
                self._pages[-1].size = 0  # after another page's length it is tried again
            self._failed(error)
            return
        if self._pages:
            self._pages[-1].last, self._pages[-1].until = self._added, self._clock.now() + KEPT_SECONDS
        self._pages.append(page)
        self._number = page.number

    def _begun(self, folder: Path) -> Page:
        """Locked before anybody else can find it under its name."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._made += 1
        path = folder / f"{self._instance}.{self._made:08d}.jsonl"
        hidden = path.with_suffix(".new")
        number = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(number, to_json({"form": FORM, "machine": machine(), "names": SETTLED}) + b"\n")
            hidden.rename(path)
        except OSError:
            os.close(number)
            with contextlib.suppress(OSError):
                hidden.unlink()
            raise
        return Page(number, path)

    def _drop(self, page: Page) -> None:
        self._pages.remove(page)
        with contextlib.suppress(OSError):  # the next start finds nothing new in it
            page.path.unlink()
        os.close(page.number)

    def _failed(self, error: Exception) -> None:
        if self._watch:
            self._watch.unkept(error, again=self._failing)
        self._failing = True
