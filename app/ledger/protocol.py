"""What is written of a request: before the paid call, and after it. Never prompts, keys or bytes of images."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, Protocol

from providers.core.valueclass import changed, valueclass


class State(StrEnum):
    """How far a request came. `unknown` may have been billed and delivered nothing."""

    RESERVED = "reserved"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"


@valueclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request. Times are Unix seconds, money is micro-dollars (None: unknown).

    `label` is the caller's request id, `fingerprint` and `idempotency` are digests: by them a repeat is recognised
    after the gateway that served the first died. `tasks` is app.resume.accepted's text while an upstream works on it;
    `instance`, the gateway that the row belongs to, is the ledger's to fill.
    """

    request_id: str
    caller: str
    caller_name: str
    end_user: str | None
    model_asked: str
    model: str
    provider: str
    operation: str
    images_asked: int
    created: float
    state: State = State.RESERVED
    images_delivered: int = 0
    megapixels: float = 0.0
    cost: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    settled: float | None = None
    upstream_request_id: str | None = None
    attempts: int = 0
    adjustments: str = ""
    error: str = ""
    links: tuple[str, ...] = ()
    label: str = ""
    fingerprint: str = ""
    idempotency: str = ""
    tasks: str | None = None
    instance: str = ""

    def but(self, **changes: Any) -> Entry:
        """The same row with other values in some columns."""
        return changed(self, changes)


@valueclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a row tells of a request that may be repeated.

    `document` names its kept answer; None: none was wanted, empty: one was wanted and is not there. `handed` says
    whether its caller got it, `unheard` that its gateway was killed before that was known, `pending` that an upstream
    works on it (or did, when its gateway ended).
    """

    request_id: str
    caller: str
    label: str
    fingerprint: str
    idempotency: str
    state: State
    created: float
    error: str
    document: str | None = None
    handed: bool = False
    unheard: bool = False
    pending: bool = False


class LedgerWatch(Protocol):
    """Told of what a ledger does by itself."""

    def unwritten(self, rows: int) -> None:
        """A group of rows could not be written."""

    def swept(self, rows: int) -> None:
        """Rows of gateways that died became unknown."""

    def recovered(self, rows: int) -> None:
        """Rows of gateways that were killed are as their settlement files say."""

    def unkept(self, error: Exception, *, again: bool) -> None:
        """The settlement file cannot be written, or brought in; `again`: that was told already."""


class Entries(Protocol):
    """What a request's account needs of a ledger."""

    async def open(self, entry: Entry) -> None:
        """Write the row; returns when it is safe to spend."""

    async def settle(self, entry: Entry) -> None:
        """Write what became of it. Only noted here and written soon: a slow database holds no answer up."""


class Ledger(Entries, Protocol):
    """The truth about what was spent."""

    async def start(self) -> None:
        """Begin, inside the event loop that will use it."""

    async def note(self, request_id: str, *, document: str | None = None, handed: bool = False) -> None:
        """Write beside a row where its answer is kept, or that its caller got it. Not awaited, like settling."""

    def sent(self, request_id: str) -> None:
        """All of its answer goes to the kernel now, and its caller is there.

        This and the next two are for the case that this process is killed now, and noted nowhere else.
        """

    def unsent(self, request_id: str) -> None:
        """A caller that it was sent to left without it."""

    def taken(self, request_id: str) -> None:
        """Its caller took the answer."""

    async def past(self, since: float, *, request_id: str | None = None) -> list[Past]:
        """Rows since a Unix time (or one of them) that bear a fingerprint, oldest first."""

    async def abandoned(self, since: float, most: int, seen: Collection[str] = ()) -> list[Entry]:
        """Rows since a Unix time that hold tasks and whose gateway is gone, oldest first, without those `seen`."""

    async def claim(self, entry: Entry) -> bool:
        """Make an abandoned row this gateway's own; False when another was faster."""

    async def ready(self) -> bool:
        """Whether rows can be written now."""

    async def spent(self, columns: Mapping[str, str], since: float) -> int:
        """Micro-dollars since a Unix time of rows with these values: what was settled, is reserved, or is unknown."""

    async def usage(self, since: float, until: float, group_by: str) -> list[dict[str, Any]]:
        """Sums of rows between two Unix times, by a column; a cost of None is known of nothing that was delivered."""

    async def close(self) -> None:
        """Write what is left and let go."""
