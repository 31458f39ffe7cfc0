"""What gateways left that were killed: the settlement files that nobody holds, and what they say of a row."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from app.ledger.presence import DIED
from app.ledger.protocol import State
from app.ledger.settlements import FORM, Line, machine
from app.ledger.tables import requests

NOTED: Final = frozenset({"document", "handed"})
OPEN: Final = frozenset({State.RESERVED.value, State.UNKNOWN.value})
ENDING: Final = frozenset({"state", "settled", "error"})

Columns = Mapping[str, Any]


@dataclass(slots=True)
class Left:
    """What one gateway left.

    `here`: its lock tells that it is dead; else only its heartbeat can. `strange`: another release wrote it, or
    nothing of it can be read. `sent` counts the callers to whom a request's answer went out whole and who are not
    known to have left without it; `taken` are the requests whose answers are known to have arrived.
    """

    instance: str
    here: bool = True
    strange: bool = False
    settled: dict[str, Columns] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    taken: set[str] = field(default_factory=set)
    _held: list[tuple[int, Path]] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The requests that it tells of."""
        return [*self.settled.keys() | self.notes.keys()]

    @property
    def written(self) -> float:
        """When the last of it was written, in Unix seconds."""
        return max((os.fstat(number).st_mtime for number, _ in self._held), default=0.0)

    def changes(self, name: str, row: Columns) -> Columns:
        """What is to be written to the row of a request; nothing where the row knows better.

        What was delivered and neither sent, nor taken, nor kept for a repeat, is nobody's: unknown. Tasks that the
        row still holds stay there: who goes on with them gets the same images again.
        """
        known = self.settled.get(name)
        found: dict[str, Any] = {}
        if known is not None and row["state"] in OPEN:
            found = {**known}
            if known["state"] == State.RESERVED:  # a step on its way: the end is not its to tell
                found = {column: value for column, value in known.items() if column not in ENDING}
        noted = {column: value for column, value in self.notes.get(name, {}).items() if row[column] != value}
        if row["handed"]:
            noted.pop("handed", None)
        if found.get("state", row["state"]) == State.DELIVERED and known is not None and not self._heard(name, row):
            if self.sent[name] > 0:
                noted["handed"] = False
            else:
                found.pop("tasks", None)
                found |= {"state": State.UNKNOWN.value, "error": DIED}
        return found | noted

    def done(self) -> None:
        """All of it is in the database."""
        for _, path in self._held:
            with contextlib.suppress(OSError):  # a folder that cannot be written now: the same is found again
                path.unlink()
        self.release()

    def release(self) -> None:
        """Leave it to whoever comes next."""
        for number, _ in self._held:
            os.close(number)
        self._held = []

    def hold(self, path: Path) -> bool:
        """Take one of its files; False: somebody else has it."""
        try:
            number = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        except OSError:  # what it says is missing then
            return False
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(number)
            return False
        if not os.fstat(number).st_nlink:  # its gateway let go of it, and lives
            os.close(number)
            return True
        self._held.append((number, path))
        return True

    def read(self) -> bool:
        """What the files say that were taken; False: there are none."""
        for number, _ in self._held:
            with os.fdopen(os.dup(number), "rb") as file:
                head = _document(file.readline())
                if not isinstance(head, dict) or head.get("form") != FORM:
                    self.here, self.strange = False, True
                    continue
                self.here = self.here and head.get("machine") == machine()
                for line in file:
                    self._take(_document(line), head.get("names"))
        return bool(self._held)

    def _heard(self, name: str, row: Columns) -> bool:
        told = {"document": row["document"], **self.notes.get(name, {})}
        return name in self.taken or bool(told["document"] or told.get("handed")) or row["handed"] is not None

    def _take(self, line: Any, names: Any) -> None:
        match line:
            case [Line.SETTLED, str(name), *values] if isinstance(names, list) and len(values) == len(names):
                found = {column: value for column, value in zip(names, values, strict=True) if column in requests.c}
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    State(found["state"])
                    found["links"] = json.loads(found["links"])
                    self.settled[name] = found
            case [Line.NOTED, str(name), dict(noted)]:
                known = self.notes.setdefault(name, {})
                known |= {column: value for column, value in noted.items() if column in NOTED}
            case [Line.SENT, str(name)]:
                self.sent[name] += 1
            case [Line.UNSENT, str(name)]:
                self.sent[name] -= 1
            case [Line.TAKEN, str(name)]:
                self.taken.add(name)


def left(folder: Path) -> Iterator[Left]:
    """What the dead left in a folder, each held until it is released."""
    files = sorted(folder.glob("*.jsonl"))
    for instance, paths in groupby(files, key=lambda path: path.name.partition(".")[0]):
        found, pages = Left(instance), [*paths]
        held = all(found.hold(path) for path in pages)
        # One more since: its gateway turned the page and died.
        if held and {*folder.glob(f"{instance}.*.jsonl")} <= {*pages} and found.read():
            yield found
        else:
            found.release()


def _document(line: bytes) -> Any:
    """None for what is torn, or no line of ours."""
    try:
        return json.loads(line.strip(b"\0\n"))  # a file system may fill up with zeros after a crash
    except (ValueError, RecursionError):
        return None
