"""What happened on the wire for one request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from providers.core.plan import Call
from providers.core.provider import Completed, Image, Link, Poll
from providers.kit.deployment import Deployment
from providers.kit.hide import hidden, hide


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A call that an upstream accepted and works on: whom to ask for what becomes of it, and how."""

    deployment: Deployment
    call: Call
    poll: Poll


async def unheard(_: Accepted) -> None:
    """Nobody keeps what was accepted."""


@dataclass(slots=True)
class Journal:
    """Filled while calls run, read for headers, the ledger and the fetching of results.

    Without `patient` nothing is waited for: somebody else can serve sooner. `accepted` hears of each task before it
    is looked at. `began` and `ended` are the watch's.
    """

    attempts: int = 0
    patient: bool = True
    accepted: Callable[[Accepted], Awaitable[None]] = unheard
    upstream_request_ids: list[str] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0
    _holders: dict[str, Deployment] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From the first sending to the last outcome, waits included; 0 when nobody watched."""
        return max(0.0, self.ended - self.began)

    def note(self, request_id: str | None) -> None:
        """Keep an upstream's own request id."""
        if request_id and request_id not in self.upstream_request_ids:
            self.upstream_request_ids.append(request_id)

    def made(self, deployment: Deployment, completed: Completed) -> Completed:
        """Keep who made this, and pass it on: results are fetched where the call went."""
        self.note(hidden(completed.upstream_request_id or "", deployment))
        for failed in completed.failures:
            hide(failed, deployment)
        for image in completed.images:
            if isinstance(image.content, Link):
                self._holders[image.content.url] = deployment
        return completed

    def holder(self, image: Image) -> Deployment | None:
        """The deployment that made an image which lies at a link."""
        return self._holders.get(image.content.url) if isinstance(image.content, Link) else None
