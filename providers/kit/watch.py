"""Who is told of attempts: one look at each, from its sending to its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self


class Times(Protocol):
    """What of a request's journal a watch reads and fills: the first sending and the last outcome, in its seconds."""

    attempts: int
    began: float
    ended: float


class Attempt(Protocol):
    """Entered before the request is composed, left with the outcome or its error."""

    status: int

    def __enter__(self) -> Self:
        """The attempt begins."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It came to its end."""

    def arrived(self) -> None:
        """An image is here; what its delivery takes from now on is not the upstream's time."""


class Watch(Protocol):
    """Told of each attempt at a call."""

    def attempt(self, provider: str, model: str, journal: Times) -> Attempt:
        """One attempt; its number is what the journal counts."""

    def again(self, provider: str, /) -> None:
        """What failed and cost nothing is sent once more."""


@dataclass(slots=True)
class _Unseen:
    status: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def arrived(self) -> None:
        return None


class Unwatched:
    """Nobody looks."""

    def attempt(self, *_: object) -> Attempt:
        return _Unseen()

    def again(self, _provider: str, /) -> None:
        return None


NOBODY: Final = Unwatched()
