"""How long the properties run, and the damage that is done to sound bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

LONG = "PINHOLE_FUZZ_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("PINHOLE_FUZZ_EXAMPLES", "100"))
effort = settings(
    max_examples=EXAMPLES,
    derandomize=not LONG,
    database=None,
    deadline=2000,  # milliseconds: no input may take out of proportion
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclass(frozen=True, slots=True)
class Damage:
    """At a place (a share of the length) some bytes go and others come."""

    at: float
    removed: int
    added: bytes

    def done(self, data: bytes) -> bytes:
        """The damaged copy."""
        start = int(self.at * len(data))
        return data[:start] + self.added + data[start + self.removed :]


def damages(alphabet: st.SearchStrategy[bytes] | None = None) -> st.SearchStrategy[list[Damage]]:
    """A few places where bytes are changed, cut out or put in; `alphabet` makes what is put in."""
    removed = st.sampled_from([0, 1, 1, 2, 4, 64, 10**9])
    added = st.binary(max_size=8) if alphabet is None else alphabet
    return st.lists(st.builds(Damage, st.floats(0, 1), removed, added), min_size=1, max_size=4)


def damaged(data: bytes, done: Sequence[Damage]) -> bytes:
    """The bytes after every damage."""
    for damage in done:
        data = damage.done(data)
    return data


def pieces(data: bytes, cuts: Sequence[float]) -> list[bytes]:
    """The same bytes as a network might hand them out."""
    places = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


CUTS = st.lists(st.floats(0, 1), max_size=12)
