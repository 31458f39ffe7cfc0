"""Fetching by URL: public addresses only, resolved once and pinned, no way around by spelling, name or redirect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from providers.core.errors import InvalidRequest, UpstreamError
from providers.core.http import HTTPResponse
from providers.kit.clock import SystemClock
from providers.kit.deployment import Deployment
from providers.kit.fetch import Fetcher, public
from providers.kit.transport import Answer, WireRequest
from providers.openai import PROVIDER
from tests.clock import StillClock
from tests.upstreams.images import png

PUBLIC = "93.184.216.34"
PICTURE = png(64, 64)


class Wire:
    """A transport that answers from a list and keeps what it was asked."""

    def __init__(self, *answers: HTTPResponse, takes: float = 0.0, clock: StillClock | None = None) -> None:
        self.asked: list[WireRequest] = []
        self.allowed: list[float] = []
        self._answers = list(answers)
        self._takes = takes
        self._clock = clock or StillClock()

    async def send(self, request: WireRequest, seconds: float, limit: int = 0) -> HTTPResponse:
        self.asked.append(request)
        self.allowed.append(seconds)
        self._clock.at += self._takes
        return self._answers.pop(0) if self._answers else HTTPResponse(status=200, body=PICTURE)

    @asynccontextmanager
    async def open(self, request: WireRequest, seconds: float) -> AsyncIterator[Answer]:
        raise AssertionError("images are fetched whole")
        yield

    async def close(self) -> None:
        return None


class Clock(SystemClock):
    """Waits take no time."""

    async def sleep(self, seconds: float) -> None:
        del seconds


def fetcher(wire: Wire, *addresses: list[str]) -> Fetcher:
    """One whose name server gives these answers, one after the other, the last again and again."""
    given = list(addresses) or [[PUBLIC]]

    async def resolve(host: str, port: int) -> list[str]:
        return given.pop(0) if len(given) > 1 else given[0]

    return Fetcher(wire, Clock(), resolve)


def link(url: str) -> HTTPResponse:
    """A redirect."""
    return HTTPResponse(status=302, headers={"location": url})


PRIVATE = [
    "127.0.0.1", "10.0.0.1", "172.16.9.9", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "224.0.0.1",
    "255.255.255.255", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2001:db8::1", "not an address",
    "::7f00:1", "::127.0.0.1", "::ffff:0:7f00:1", "fec0::1", "64:ff9b:1::7f00:1", "64:ff9b:1::808:808", "192.0.0.8",
    "100::1", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_told_in_every_form(address: str) -> None:
    """Loopback, private, link-local, metadata, multicast, and v4 wrapped into v6."""
    assert not public(address)


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses_pass(address: str) -> None:
    """What anybody can reach."""
    assert public(address)


async def test_a_name_is_resolved_once_and_pinned() -> None:
    """The connection goes to the address that was checked, under the host's name: rebinding gets no second look."""
    wire = Wire()
    data = await fetcher(wire, [PUBLIC], ["127.0.0.1"]).image("https://pictures.example/a.png?x=1", 10**6)

    assert data == PICTURE
    (asked,) = wire.asked
    assert asked.url == f"https://{PUBLIC}:443/a.png?x=1"
    assert (asked.headers["host"], asked.sni) == ("pictures.example", "pictures.example")
    assert "authorization" not in asked.headers


async def test_a_name_with_one_private_address_is_refused() -> None:
    """All addresses of a name must be public."""
    wire = Wire()
    with pytest.raises(InvalidRequest, match="public"):
        await fetcher(wire, [PUBLIC, "10.0.0.1"]).image("https://pictures.example/a.png", 10**6)

    assert wire.asked == []


async def test_a_redirect_to_a_private_address_is_not_followed() -> None:
    """Each hop is checked like the first; too many of them end it."""
    wire = Wire(link("http://metadata.example/latest"))
    with pytest.raises(InvalidRequest, match="public"):
        await fetcher(wire, [PUBLIC], ["169.254.169.254"]).image("https://pictures.example/a.png", 10**6)
    loop = Wire(*[link("/again")] * 9)
    with pytest.raises(InvalidRequest, match="redirects"):
        await fetcher(loop).image("https://pictures.example/a.png", 10**6)

    assert len(wire.asked) == 1
    assert len(loop.asked) == 4


async def test_a_redirect_to_what_is_no_url_is_refused() -> None:
    """What another server sends is no reason for a failure of ours."""
    with pytest.raises(InvalidRequest, match="not a URL"):
        await fetcher(Wire(link("http://["))).image("https://pictures.example/a.png", 10**6)


async def test_a_name_that_cannot_be_one_is_refused() -> None:
    """Labels that are too long, or of letters that no name has."""
    for host in ("\u00fc" * 80, "\u2f00\u0660.example"):
        with pytest.raises(InvalidRequest, match=r"no address|only plain"):
            await Fetcher(Wire(), Clock()).image(f"https://{host}/a.png", 10**6)


async def test_all_hops_share_one_time() -> None:
    """A chain of slow redirects takes no longer than one slow server."""
    clock = StillClock(at=1000)
    wire = Wire(link("/b"), link("/c"), takes=8.0, clock=clock)

    async def resolve(host: str, port: int) -> list[str]:
        return [PUBLIC]

    await Fetcher(wire, clock, resolve).image("https://pictures.example/a.png", 10**6)
    assert wire.allowed == [20.0, 12.0, 4.0]


@pytest.mark.parametrize(
    "url", ["ftp://a.example/x", "https://u:p@a.example/x", "https:///x", "https://a b/x", "https://[::/x"]
)
async def test_only_plain_web_addresses_are_fetched(url: str) -> None:
    """Other schemes, credentials in the URL and broken hosts are refused, and no password is repeated."""
    wire = Wire()
    with pytest.raises(InvalidRequest) as caught:
        await fetcher(wire).image(url, 10**6)

    assert wire.asked == []
    assert "u:p" not in caught.value.message


async def test_what_is_no_image_is_refused() -> None:
    """A page behind the URL is not passed on, and neither is a server's error."""
    for answer in (HTTPResponse(status=200, body=b"<html>"), HTTPResponse(status=404, body=PICTURE)):
        with pytest.raises(InvalidRequest):
            await fetcher(Wire(answer)).image("https://pictures.example/a.png", 10**6)


async def test_a_result_is_tried_three_times() -> None:
    """A paid picture is not given up for a passing fault; after three it is a billed 502."""
    flaky = Wire(HTTPResponse(status=503), HTTPResponse(status=500))
    own = Deployment(provider=PROVIDER, base_url="http://127.0.0.1:9/v1", key="sk-own")
    elsewhere = "https://results.example/1.png"

    assert bytes(await fetcher(flaky).result(elsewhere, own, 1e12)) == PICTURE
    with pytest.raises(UpstreamError) as caught:
        await fetcher(Wire(*[HTTPResponse(status=500)] * 3)).result(elsewhere, own, 1e12)
    assert caught.value.billed


async def test_a_result_whose_host_has_no_address_for_a_moment_is_fetched() -> None:
    """A name server that fails once costs no picture."""
    own = Deployment(provider=PROVIDER, base_url="http://127.0.0.1:9/v1", key="sk-own")
    failures = [OSError("try again")]

    async def resolve(host: str, port: int) -> list[str]:
        if failures:
            raise failures.pop()
        return [PUBLIC]

    found = Fetcher(Wire(), Clock(), resolve)
    assert bytes(await found.result("https://results.example/1.png", own, 1e12)) == PICTURE


@pytest.mark.parametrize("url", ["https://[", "https://a.example:99999/1.png", "/1.png", "https://a:b/"])
async def test_a_link_that_is_no_url_is_the_upstreams_fault(url: str) -> None:
    """An upstream may call anything a link."""
    own = Deployment(provider=PROVIDER, base_url="http://127.0.0.1:9/v1", key="sk-own")
    with pytest.raises(UpstreamError) as caught:
        await fetcher(Wire()).result(url, own, 1e12)
    assert caught.value.billed


async def test_our_credential_goes_to_our_own_origin_only() -> None:
    """The deployment's own origin is allowed even when private; another origin never sees the key."""
    own = Deployment(provider=PROVIDER, base_url="http://127.0.0.1:9/v1", key="sk-own")
    wire = Wire()
    await fetcher(wire).result("http://127.0.0.1:9/files/1.png", own, 1e12)
    await fetcher(wire).result("https://results.example/1.png", own, 1e12)
    with pytest.raises(UpstreamError):
        await fetcher(wire, ["127.0.0.1"]).result("http://127.0.0.1:10/1.png", own, 1e12)

    assert wire.asked[0].headers["authorization"] == "Bearer sk-own"
    assert "authorization" not in wire.asked[1].headers
    assert len(wire.asked) == 2
