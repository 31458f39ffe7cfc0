"""Bodies in memory and in files: the same bytes, and a budget that always comes back."""

from __future__ import annotations

import gc
import resource
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from providers.kit.lift import lift
from providers.kit.room import SMALL, STEP, Body, Memory, Spool, cool, portions
from tests.machines import walk

MIB = 2**20


@dataclass
class Counted:
    """A budget that counts."""

    limit: int
    held: int = 0
    files: int = 0
    troubles: list[OSError] = field(default_factory=list)

    def take(self, amount: int) -> bool:
        assert amount > 0
        if self.held + amount > self.limit:
            return False
        self.held += amount
        return True

    def force(self, amount: int) -> None:
        self.held += amount

    def give(self, amount: int) -> None:
        self.held -= amount
        assert self.held >= 0

    def spooled(self, change: int) -> None:
        self.files += change
        assert self.files >= 0


def spool(budget: Counted, folder: Path) -> Spool:
    return Spool(budget, folder, budget.troubles.append)


def filled(body: Body, text: bytes, step: int) -> memoryview:
    with body:
        for start in range(0, len(text), step):
            body.write(text[start : start + step])
        return body.whole()


@pytest.mark.parametrize("expected", [0, MIB])
@pytest.mark.parametrize("limit", [0, 300_000, 4 * MIB])
def test_same_bytes_wherever_they_lie(tmp_path: Path, limit: int, expected: int) -> None:
    """A body reads the same from memory and from a file, and both give everything back."""
    budget = Counted(limit)
    text = bytes(range(256)) * (MIB // 256)
    whole = filled(spool(budget, tmp_path).body(expected), text, 64_000)
    assert bytes(whole) == text
    assert (budget.held, budget.files) == ((MIB, 0) if limit > MIB else (0, 1))
    piece = whole[10:20]
    del whole
    assert bytes(piece) == text[10:20]
    assert budget.held + budget.files > 0, "a slice keeps the body"
    del piece
    assert (budget.held, budget.files) == (0, 0)


def test_no_file_is_left_behind(tmp_path: Path) -> None:
    """A spooled body has no name in its folder, while it lives and after."""
    whole = filled(spool(Counted(0), tmp_path).body(), bytes(MIB), STEP)
    assert list(tmp_path.iterdir()) == []
    assert len(whole) == MIB


def test_small_bodies_cost_nothing(tmp_path: Path) -> None:
    """An error envelope is neither counted nor written to a file."""
    budget = Counted(0)
    whole = filled(spool(budget, tmp_path).body(), b"x" * SMALL, 4096)
    assert (len(whole), budget.held, budget.files) == (SMALL, 0, 0)


def broken_off(body: Body, size: int) -> None:
    with body:
        body.write(bytes(size))
        raise ConnectionError


@pytest.mark.parametrize("size", [STEP, 3 * MIB])
def test_a_body_that_breaks_off_gives_everything_back(tmp_path: Path, size: int) -> None:
    """Neither an error nor a spilled beginning keeps a byte of the budget."""
    budget = Counted(MIB)
    with pytest.raises(ConnectionError):
        broken_off(spool(budget, tmp_path).body(), size)
    assert (budget.held, budget.files) == (0, 0)


def test_without_a_disk_nothing_is_lost(tmp_path: Path) -> None:
    """Where no file can be made, the body stays in memory, over the budget, and the trouble is told."""
    budget = Counted(0)
    text = bytes(range(256)) * 8192
    whole = filled(spool(budget, tmp_path / "missing").body(), text, STEP)
    assert bytes(whole) == text
    assert len(budget.troubles) == 1
    assert budget.held == len(text)
    del whole
    assert budget.held == 0


def test_a_disk_that_fills_up_loses_nothing(tmp_path: Path) -> None:
    """What a file took before there was no more room comes back to memory."""
    budget = Counted(0)
    text = bytes(range(256)) * 8192
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB + 1000, hard))
    try:
        whole = filled(spool(budget, tmp_path).body(), text, STEP)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert bytes(whole) == text
    assert (len(budget.troubles), budget.files) == (1, 0)
    del whole
    assert budget.held == 0


def test_a_disk_without_room_for_the_beginning_loses_nothing(tmp_path: Path) -> None:
    """There is always a place for the next bytes, also where the file takes less than memory had held."""
    budget = Counted(300_000)
    text = bytes(range(256)) * 8192
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with spool(budget, tmp_path).body() as body:
            left = memoryview(text)
            while left:
                with body.room() as place:
                    count = min(len(place), len(left))
                    assert count
                    place[:count] = left[:count]
                body.wrote(count)
                left = left[count:]
            whole = body.whole()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert bytes(whole) == text
    assert (len(budget.troubles), budget.files) == (1, 0)
    del whole
    assert budget.held == 0


def test_lift_reads_a_spooled_body(tmp_path: Path) -> None:
    """Images are cut out of a mapped file as out of memory, also after its pages were let go."""
    digits = b"QUJD" * 50_000
    whole = filled(spool(Counted(0), tmp_path).body(), b'{"b64_json":"' + digits + b'","n":1}', STEP)
    document: Any = lift(whole)
    cool(whole)
    assert bytes(document["b64_json"].base64) == digits
    assert document["n"] == 1


def test_only_a_spooled_body_is_sent_in_slices(tmp_path: Path) -> None:
    """What lies in memory goes out as it is; of a file one slice at a time is in memory, and all bytes are there."""
    data = bytes(range(256)) * 4096
    for limit, slices in ((2 * MIB, 1), (0, 4)):
        with Spool(Counted(limit), tmp_path, lambda _: None).body() as body:
            body.write(data)
            whole = body.whole()
        found = [bytes(piece) for piece in portions(whole, MIB // 4)]
        assert len(found) == slices
        assert b"".join(found) == data


def test_memory_is_the_default_room() -> None:
    """Without a budget a body is a buffer."""
    assert bytes(filled(Memory().body(), b"abc", 1)) == b"abc"


class Bodies(RuleBasedStateMachine):
    """Any order of growing, finishing, breaking off and letting go."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Counted(4 * STEP)
        self.room = Spool(self.budget, Path("/tmp"), self.budget.troubles.append)  # noqa: S108 - unlinked files
        self.open: list[tuple[Body, bytearray]] = []
        self.done: list[tuple[memoryview, bytes]] = []

    @rule(expected=st.sampled_from([0, 0, STEP, 3 * STEP, 100 * STEP]))
    def begin(self, expected: int) -> None:
        self.open.append((self.room.body(expected), bytearray()))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), size=st.sampled_from([1, 1000, SMALL, STEP, 3 * STEP]))
    def grow(self, data: st.DataObject, size: int) -> None:
        body, model = data.draw(st.sampled_from(self.open))
        chunk = bytes([len(model) % 251]) * size
        body.write(chunk)
        model += chunk

    @precondition(lambda self: self.open)
    @rule(data=st.data(), broken=st.booleans())
    def end(self, data: st.DataObject, broken: bool) -> None:
        at = data.draw(st.integers(0, len(self.open) - 1))
        body, model = self.open.pop(at)
        with body:
            if not broken:
                whole = body.whole()
                assert bytes(whole) == bytes(model)
                self.done.append((whole[len(whole) // 2 :], bytes(model[len(whole) // 2 :])))

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        view, model = self.done.pop(data.draw(st.integers(0, len(self.done) - 1)))
        assert bytes(view) == model

    @invariant()
    def within_the_budget(self) -> None:
        """No more is held than there is."""
        assert 0 <= self.budget.held <= self.budget.limit

    def teardown(self) -> None:
        """Everything comes back."""
        for body, _ in self.open:
            with body:
                pass
        self.open.clear()
        self.done.clear()
        gc.collect()
        assert (self.budget.held, self.budget.files) == (0, 0)


def test_bodies() -> None:
    """Bodies that grow, finish and break off in any order keep to the budget, and give all of it back."""
    walk(Bodies)
