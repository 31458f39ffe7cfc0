"""Several calls for one request: together, bounded, and what succeeds is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from providers.core.errors import Refused, UpstreamFailure
from providers.core.plan import Call
from providers.core.prices import Usage
from providers.core.provider import Completed

TOGETHER: Final = 8


async def fan_out(
    calls: Sequence[Call], perform: Callable[[Call], Awaitable[Completed]], together: int = TOGETHER
) -> Completed:
    """One Completed of all calls, in their order, with the failures of those that failed.

    Raises the most telling UpstreamFailure when every call failed.
    """
    if len(calls) == 1:
        return await perform(calls[0])
    gate = asyncio.Semaphore(together)

    async def one(call: Call) -> Completed | UpstreamFailure:
        async with gate:
            try:
                return await perform(call)
            except UpstreamFailure as error:
                return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(call)) for call in calls]
    return merged([task.result() for task in tasks])


def merged(results: Sequence[Completed | UpstreamFailure]) -> Completed:
    """The results of a fan-out as one."""
    done = [result for result in results if isinstance(result, Completed)]
    failed = [result for result in results if isinstance(result, UpstreamFailure)]
    if not done:
        raise _most_telling(failed)
    usages = [result.usage for result in done]
    usage: Usage | None = None
    if all(part is not None for part in usages):
        usage = sum((part for part in usages if part is not None), start=Usage())
    ids = [result.upstream_request_id for result in done if result.upstream_request_id]
    return Completed(
        images=tuple(image for result in done for image in result.images),
        usage=usage,
        failures=(*(f for result in done for f in result.failures), *failed),
        upstream_request_id=ids[0] if ids else None,
        resolved=dict(set.intersection(*(set(result.resolved.items()) for result in done))),
    )


def _most_telling(failures: Sequence[UpstreamFailure]) -> UpstreamFailure:
    """A refusal tells the caller most; then whatever may have cost money.

    Whichever it is, it stands for all: where one call may have been billed, the request must not be repeated.
    """
    told = max(failures, key=lambda error: (isinstance(error, Refused), error.billed))
    told.billed = any(error.billed for error in failures)
    return told
