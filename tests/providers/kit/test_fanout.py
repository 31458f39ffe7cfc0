"""Fan-out: together, bounded, in order, and what succeeds is kept."""

from __future__ import annotations

import asyncio

import pytest

from providers.core.errors import Refused, UpstreamError, UpstreamFailure, UpstreamRateLimited, UpstreamUnavailable
from providers.core.plan import Call
from providers.core.prices import Usage
from providers.core.provider import Completed, Image, Link
from providers.kit.fanout import fan_out, merged
from tests.providers.kit.fakes import calls


def made(name: str, usage: Usage | None = None, failures: tuple[UpstreamFailure, ...] = ()) -> Completed:
    """One image."""
    images = (Image(content=Link(name)),)
    return Completed(images=images, usage=usage, failures=failures, upstream_request_id=f"id-{name}")


def names(completed: Completed) -> list[str]:
    """The images by their links."""
    return [image.content.url for image in completed.images if isinstance(image.content, Link)]


async def test_images_come_in_the_order_of_their_calls() -> None:
    """Whoever is done first."""

    async def perform(call: Call) -> Completed:
        await asyncio.sleep(0.01 * (5 - call.index))
        return made(str(call.index))

    assert names(await fan_out(calls(5), perform)) == ["0", "1", "2", "3", "4"]


async def test_no_more_than_allowed_run_together() -> None:
    """And at once as many as that."""
    running = most = 0

    async def perform(call: Call) -> Completed:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        return made(str(call.index))

    await fan_out(calls(10), perform, together=3)
    assert most == 3


async def test_what_succeeds_is_kept_and_what_fails_is_told() -> None:
    """One failure of three leaves two images, and the failure beside them."""

    async def perform(call: Call) -> Completed:
        if call.index == 1:
            raise UpstreamError("broke off")
        return made(str(call.index))

    done = await fan_out(calls(3), perform)
    assert names(done) == ["0", "2"]
    assert [str(error) for error in done.failures] == ["broke off"]


async def test_one_call_is_not_wrapped() -> None:
    """Its error is its own, its answer the very value."""
    answer = made("a")

    async def perform(_: Call) -> Completed:
        return answer

    async def fail(_: Call) -> Completed:
        raise Refused("no")

    assert await fan_out(calls(), perform) is answer
    with pytest.raises(Refused):
        await fan_out(calls(), fail)


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ((UpstreamRateLimited, Refused, UpstreamError), Refused),
        ((UpstreamRateLimited, UpstreamError, UpstreamUnavailable), UpstreamError),
        ((UpstreamUnavailable, UpstreamRateLimited), UpstreamUnavailable),
    ],
)
def test_when_all_fail_the_most_telling_error_is_raised(
    kinds: tuple[type[UpstreamFailure], ...], told: type[UpstreamFailure]
) -> None:
    """A refusal first, then what may have been billed, then the first."""
    with pytest.raises(told):
        merged([kind("no") for kind in kinds])


@pytest.mark.parametrize(("other", "billed"), [(UpstreamError, True), (UpstreamRateLimited, False)])
def test_what_one_call_may_have_cost_the_request_may_have_cost(other: type[UpstreamFailure], billed: bool) -> None:
    """A refusal that cost nothing does not hide a call beside it that may have been billed."""
    with pytest.raises(Refused) as caught:
        merged([Refused("no"), other("no")])

    assert caught.value.billed is billed


def test_usage_is_whole_or_absent() -> None:
    """Tokens of all calls are added; where one does not say, nobody does."""
    one, two = Usage(input_text=1, output_image=10), Usage(input_text=2, output_image=20)

    assert merged([made("a", one), made("b", two)]).usage == one + two
    assert merged([made("a", one), made("b")]).usage is None


def test_failures_within_a_call_are_kept() -> None:
    """Images that a call of several did not make stand beside calls that failed."""
    inner, outer = UpstreamError("inner"), UpstreamError("outer")

    assert merged([made("a", failures=(inner,)), outer]).failures == (inner, outer)


async def test_a_fault_of_ours_ends_all_calls() -> None:
    """What is no upstream's failure is not taken for one, and nothing runs on."""
    ended: list[int] = []

    async def perform(call: Call) -> Completed:
        if call.index == 0:
            raise ZeroDivisionError
        try:
            await asyncio.sleep(10)
        finally:
            ended.append(call.index)
        return made("never")

    with pytest.raises(ExceptionGroup):
        await fan_out(calls(3), perform)
    assert sorted(ended) == [1, 2]
