"""Links to kept images: signed, expiring, and never anything but an image."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store import Links
from providers.kit.images import inspect
from tests.app.wire import GENERATE, Reply, ask, post
from tests.clock import StillClock
from tests.gateway import Gateway, running

NAME = "0" * 32 + ".png"


def link(gateway: Gateway, **fields: str) -> str:
    """The path and query of a fresh image's link."""
    body = {"model": "sandbox/canvas", "prompt": "a", "size": "64x64", "response_format": "url", **fields}
    url = urlsplit(post(gateway, body, GENERATE).json()["data"][0]["url"])
    return f"{url.path}?{url.query}"


def get(gateway: Gateway, path: str, method: str = "GET", **headers: str) -> Reply:
    """What lies there."""
    return ask(gateway, method, path, **headers)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_link_leads_to_its_image(sandbox: Gateway, form: str) -> None:
    """The type is the image's, and the browser is told to run nothing."""
    answer = get(sandbox, link(sandbox, output_format=form))

    assert (answer.status, answer.headers["content-type"]) == (200, f"image/{form}")
    assert inspect(answer.body).width == 64
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert "set-cookie" not in answer.headers


def test_a_link_starts_with_the_public_url_and_not_with_the_host_header(sandbox: Gateway) -> None:
    """Nobody can have links made that point elsewhere."""
    body = {"model": "sandbox/canvas", "prompt": "a", "size": "64x64", "response_format": "url"}
    answer = post(sandbox, body, GENERATE, host="localhost:1", x_forwarded_host="evil.example")

    assert answer.json()["data"][0]["url"].startswith(f"{sandbox.url}/files/")


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.partition("?")[0],
        lambda path: path.partition("&signature")[0],
        lambda path: path[:-1] + ("A" if path[-1] != "A" else "Q"),
        lambda path: path.replace("expires=", "expires=9"),
        lambda path: path.replace("expires=", "expires=-"),
        lambda path: path.replace("expires=", "expires=%D9%A1"),
        lambda path: path.replace("signature=", "signature=%00"),
        lambda path: path.replace("signature=", "signature=%F0%9F%99%82"),
        lambda path: path.replace("/files/", "/files/a"),
        lambda path: path.replace(".png", ".jpg"),
    ],
)
def test_a_link_that_was_changed_is_403(sandbox: Gateway, change: object) -> None:
    """A missing, wrong or transplanted signature opens nothing."""
    assert callable(change)
    answer = get(sandbox, change(link(sandbox)))

    assert (answer.status, answer.error["code"]) == (403, "permission_denied")


def test_a_signed_name_that_is_not_kept_is_404(tmp_path: Path) -> None:
    """What was swept away, and what never was an image, is not found; a link of yesterday is 403."""
    links = Links("", [b"shared"], StillClock(at=4_000_000_000), 60)
    late = Links("", [b"shared"], StillClock(at=1_700_000_000), 60)
    with running(tmp_path, {"PINHOLE_SANDBOX": "true", "PINHOLE_SECRET": "shared"}) as gateway:
        for name in (NAME, "0" * 32 + ".svg", "secret"):
            answer = get(gateway, links.url(name))
            assert (answer.status, answer.error["code"]) == (404, "not_found")
        expired = get(gateway, late.url(NAME))

    assert (expired.status, expired.error["code"]) == (403, "permission_denied")


@pytest.mark.parametrize(
    "path",
    [
        "/files/..%2f..%2fsecret",
        "/files/../secret",
        "/files/%2e%2e/secret",
        "/files/..%5c..%5csecret",
        "/files/%2e%2e%2fsecret",
        "/files/....//secret",
        "/files//etc/passwd",
        "/files/%00",
        "/files/secret",
        "/files/00/" + NAME,
        "/files/" + "a" * 5000,
        "/files/",
        "/files",
    ],
)
def test_no_path_leads_out_of_the_folder(sandbox: Gateway, path: str) -> None:
    """Dots, slashes and their encodings are 403 or 404 and tell nothing of the disk."""
    answer = get(sandbox, path)

    assert answer.status in {403, 404}
    assert answer.error["code"] in {"permission_denied", "not_found"}


def test_a_head_tells_what_a_get_would(sandbox: Gateway) -> None:
    """Clients that look before they fetch get the length and the type and no body."""
    path = link(sandbox)
    head, whole = get(sandbox, path, "HEAD"), get(sandbox, path)

    assert (head.status, head.body) == (200, b"")
    for name in ("content-length", "content-type", "etag", "x-content-type-options"):
        assert head.headers[name] == whole.headers[name]
    assert get(sandbox, path, "HEAD", range="bytes=0-9").status == 200
    assert get(sandbox, path[:-2], "HEAD").status == 403


def test_a_range_is_a_part(sandbox: Gateway) -> None:
    """Ranges are 206 with their bytes; one beyond the end is 416 in the envelope."""
    path = link(sandbox)
    whole = get(sandbox, path).body
    part, tail = get(sandbox, path, range="bytes=10-19"), get(sandbox, path, range="bytes=-5")
    beyond = get(sandbox, path, range=f"bytes={len(whole)}-")

    assert (part.status, part.body) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert (tail.status, tail.body) == (206, whole[-5:])
    assert beyond.status == 416
    assert beyond.error


def test_a_link_expires_to_the_second() -> None:
    """It is good while its time has not come, and the clock is the seam's."""
    clock = StillClock(at=1000)
    links = Links("https://images.example", [b"s"], clock, 60)
    url = urlsplit(links.url(NAME))
    query = parse_qs(url.query)
    shown = (NAME, query["expires"][0], query["signature"][0])

    assert url.geturl().startswith(f"https://images.example/files/{NAME}?")
    clock.at = 1059
    assert links.valid(*shown)
    clock.at = 1060
    assert not links.valid(*shown)


def test_the_first_secret_signs_and_all_verify() -> None:
    """A secret can be changed without breaking the links that are out; a third one knows none of them."""
    clock = StillClock(at=1000)
    old, both, other = (Links("", secrets, clock, 60) for secrets in ([b"old"], [b"new", b"old"], [b"other"]))
    query = parse_qs(urlsplit(old.url(NAME)).query)
    fresh = parse_qs(urlsplit(both.url(NAME)).query)

    assert both.valid(NAME, query["expires"][0], query["signature"][0])
    assert not other.valid(NAME, query["expires"][0], query["signature"][0])
    assert not old.valid(NAME, fresh["expires"][0], fresh["signature"][0])


def test_the_prefix_of_a_link_is_not_signed() -> None:
    """Several gateways, or one behind another name, serve each other's links."""
    clock = StillClock()
    here, there = Links("http://a", [b"s"], clock, 60), Links("https://b/images", [b"s"], clock, 60)
    query = parse_qs(urlsplit(here.url(NAME)).query)

    assert there.valid(NAME, query["expires"][0], query["signature"][0])


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=60))
def test_nothing_invented_is_valid(name: str, expires: str, signature: str) -> None:
    """Any text is simply not a signature."""
    assert not Links("", [b"s"], StillClock(), 60).valid(name, expires, signature)
