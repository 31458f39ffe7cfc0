"""The targets of `make fuzz` on their own seeds, so that a target that is broken is seen without the fuzzer."""

from __future__ import annotations

import pytest

from tests.fuzz.__main__ import NAMES
from tests.fuzz.targets import TARGETS

SEEDS = [(name, seed) for name, target in TARGETS.items() for seed in target.seeds]


@pytest.mark.parametrize(("name", "seed"), SEEDS, ids=[f"{name}-{len(seed)}" for name, seed in SEEDS])
def test_a_seed_holds_whole_and_cut(name: str, seed: bytes) -> None:
    """Each property holds for its seeds, and for every beginning of them."""
    for end in {len(seed), *range(0, len(seed), max(1, len(seed) // 40))}:
        TARGETS[name].check(seed[:end])


def test_every_target_can_be_named() -> None:
    """The command knows the targets without importing what it wants to instrument."""
    assert tuple(TARGETS) == NAMES
