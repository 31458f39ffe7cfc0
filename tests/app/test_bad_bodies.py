"""Bodies and forms over their limits, cut off, lying about themselves, or simply too slow."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from app.errors import BadInput, RequestTimeout
from app.http.arrival import Arrival
from app.http.bodies import GENERATION_BYTES, Pace, Whole, pour, read_form, read_json
from app.http.forms import MASK_BYTES
from providers.core.errors import PinholeError
from providers.kit.room import Memory
from tests.app.wire import BOUNDARY, EDIT, GENERATE, Piece, ask, form, host, post, raw
from tests.gateway import Gateway, running
from tests.upstreams.images import png

PROMPT = (Piece("model", "gpt-image-2"), Piece("prompt", "a red hat"))
IMAGE = Piece("image", png(64, 64), "image.png")
JSON = "application/json"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that takes bodies of at most 1 MiB, sent in at most half a second."""
    environ = {"PINHOLE_SANDBOX": "true", "PINHOLE_MAX_BODY_MB": "1"}
    folder = tmp_path_factory.mktemp("small")
    with running(folder, environ, pace=Pace(seconds=0.5, rate=2**20)) as gateway:
        yield gateway


def zeros(size: int) -> Iterator[bytes]:
    """A body of that many bytes in pieces."""
    while size > 0:
        yield b"0" * min(size, 65536)
        size -= 65536


def test_a_generation_of_more_than_a_mebibyte_is_413(sandbox: Gateway) -> None:
    """With Content-Length it is told by the header, without by the count; just below it is read."""
    long = b'{"prompt":"' + b"a" * GENERATION_BYTES + b'"}'
    below = b'{"prompt":"' + b"a" * (GENERATION_BYTES - 13) + b'"}'

    assert post(sandbox, long).error["code"] == "request_too_large"
    assert post(sandbox, long).status == 413
    chunked = ask(sandbox, "POST", f"{GENERATE}/explain", zeros(GENERATION_BYTES + 1), content_type=JSON)
    assert (chunked.status, chunked.error["code"]) == (413, "request_too_large")
    assert post(sandbox, below).error["param"] == "prompt"


@pytest.mark.parametrize("kind", [JSON, f"multipart/form-data; boundary={BOUNDARY}"])
def test_an_edit_over_the_body_limit_is_413(small: Gateway, kind: str) -> None:
    """PINHOLE_MAX_BODY_MB holds for forms and JSON, with Content-Length and without."""
    body = b"".join(zeros(2**20 + 1))
    for sent in (body, zeros(len(body))):
        answer = ask(small, "POST", EDIT, sent, content_type=kind)
        assert answer.status in {413, 400}
        if kind == JSON or isinstance(sent, bytes):
            assert (answer.status, answer.error["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(("path", "length"), [(GENERATE, 2**20 + 1), (EDIT, 200 * 2**20 + 1), (EDIT, 10**18)])
def test_too_large_is_told_before_a_byte_is_sent(sandbox: Gateway, path: str, length: int) -> None:
    """A Content-Length over the limit is answered at once, so that nobody uploads in vain."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\n\r\n"
    started = time.monotonic()
    answer = raw(sandbox, head.encode())

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - started < 2


def test_expect_continue_is_answered_before_the_upload(sandbox: Gateway) -> None:
    """A client that asks first is told 413 without an invitation to send."""
    head = (
        f"POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n"
        "Expect: 100-continue\r\nContent-Length: 9000000\r\n\r\n"
    )

    assert raw(sandbox, head.encode()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: -5\r\n",
        "Content-Length: five\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: \xb2\r\n",
    ],
)
def test_a_content_length_that_lies_harms_nobody(sandbox: Gateway, lines: str) -> None:
    """The connection ends or is answered 4xx, and the gateway goes on."""
    head = f"POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n{lines}\r\n"
    answer = raw(sandbox, head.encode("latin-1") + b'{"a":1}')

    assert not answer or answer[9:10] == b"4"
    assert ask(sandbox, "GET", "/healthz").status == 200


def test_a_body_shorter_than_it_says_is_not_a_request(sandbox: Gateway) -> None:
    """A caller that leaves in the middle of its body starts nothing."""
    before = len(sandbox.ledger.entries)
    head = f"POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\nContent-Length: 500\r\n\r\n"
    with socket.create_connection(host(sandbox), timeout=5) as connection:
        connection.sendall(head.encode() + b'{"model":"sandbox/canvas","prompt":"a boat"}')

    assert ask(sandbox, "GET", "/healthz").status == 200
    assert len(sandbox.ledger.entries) == before


@pytest.mark.parametrize("path", [GENERATE, EDIT])
def test_a_body_that_trickles_is_408(small: Gateway, path: str) -> None:
    """A byte now and then does not keep a place: the answer is 408 within the pace, and the connection ends."""
    kind = JSON if path == GENERATE else f"multipart/form-data; boundary={BOUNDARY}"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 500\r\n\r\n"
    begun = b"{" if path == GENERATE else Piece("prompt", "").encoded()[:-2]
    started = time.monotonic()
    with socket.create_connection(host(small), timeout=5) as connection:
        connection.sendall(head.encode() + begun)
        connection.settimeout(0.05)
        found = b""
        while b"request_timeout" not in found and time.monotonic() - started < 3:
            connection.sendall(b" ")
            try:
                found += connection.recv(65536)
            except TimeoutError:
                continue

    assert found.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in found.lower()
    assert time.monotonic() - started < 2


def request_of(*pieces: bytes, content_type: str = "", gap: float = 0.0, ends: bool = True) -> Arrival:
    """A request whose body comes in these pieces, `gap` seconds apart; without `ends` the caller leaves."""
    left = list(pieces)

    async def receive() -> Message:
        await asyncio.sleep(gap)
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not ends}
        return {"type": "http.disconnect"}

    headers = [(b"content-type", content_type.encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "state": {"request_id": "test"}}
    return Arrival.of(Request(scope, receive))


async def test_a_fast_body_earns_its_time() -> None:
    """Progress at the pace's rate keeps a long upload alive; the same without progress ends."""
    pace = Pace(seconds=0.05, rate=1000)
    with Memory().body() as body:
        await pour(request_of(*[b"x" * 100] * 8, gap=0.02), Whole(body, 10_000), pace)
        fast = body.whole()
    with pytest.raises(RequestTimeout, match="too slowly"), Memory().body() as body:
        await pour(request_of(*[b"x"] * 8, gap=0.02), Whole(body, 10_000), pace)

    assert fast == b"x" * 800


async def test_a_caller_that_leaves_is_bad_input() -> None:
    """A body without its end is never read as if it were whole."""
    with pytest.raises(BadInput, match="ended before"):
        await read_json(request_of(b'{"prompt":"a"}', content_type=JSON, ends=False), 1000)


@pytest.mark.parametrize(
    ("boundary", "body"),
    [
        ("", b""),
        ("boundary=", b""),
        ("boundary=x", b""),
        ("boundary=x", b"--x"),
        ("boundary=x", b"--y\r\n\r\n--y--\r\n"),
        ("boundary=x", b"--x\r\nContent-Disposition: form-data; name=prompt\r\n\r\nhello"),
        ("boundary=x", b"--x\r\nContent-Disposition: form-data; name=prompt\r\n\r\nhello\r\n--x\r\n"),
        ("boundary=x", b"--x\r\nno colon here\r\n\r\nhello\r\n--x--\r\n"),
        ("boundary=x", b"--x\r\n\r\nhello\r\n--x--\r\n"),
        ("boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nhello\r\n--x--\r\n"),
        ("boundary=x", b"--x\r\nContent-Disposition: form-data; name=\r\n\r\nhello\r\n--x--\r\n"),
        (f"boundary={'x' * 300}", b""),
        ("boundary=x", b"\x00" * 100),
    ],
)
def test_a_form_that_cannot_be_read_is_400(sandbox: Gateway, boundary: str, body: bytes) -> None:
    """No boundary, a wrong one, or an end too early: 400 invalid_multipart, never a half-read form."""
    answer = ask(sandbox, "POST", EDIT, body, content_type=f"multipart/form-data; {boundary}")

    assert (answer.status, answer.error["code"]) == (400, "invalid_multipart")


@pytest.mark.parametrize(
    ("pieces", "status", "param"),
    [
        ([*PROMPT, IMAGE, *[Piece(f"f{i}", "1") for i in range(98)]], 400, "body"),
        ([Piece(f"f{i}", "1") for i in range(10_000)], 400, "body"),
        ([*PROMPT, *[Piece("image[]", png(64, 64), "a.png")] * 17], 400, "image"),
        ([*PROMPT, IMAGE, Piece("mask", b"0" * (MASK_BYTES + 1), "mask.png")], 413, "mask"),
        ([*PROMPT, IMAGE, Piece("user", "u" * (2**20 + 1))], 413, "user"),
        ([*PROMPT, Piece("image", b"", "empty.png")], 400, "image"),
        ([*PROMPT, Piece("image", "")], 400, "image"),
        ([*PROMPT, IMAGE, Piece("mask", b"", "empty.png")], 400, "mask"),
        ([*PROMPT], 400, "image"),
        ([IMAGE, Piece("model", "gpt-image-2")], 400, "prompt"),
        ([*PROMPT, IMAGE, Piece("user", b"\xff\xfe")], 400, "user"),
        ([*PROMPT, IMAGE, Piece("n", "many")], 400, "n"),
        ([*PROMPT, IMAGE, Piece("stream", "perhaps")], 400, "stream"),
        ([*PROMPT, IMAGE, Piece("svg[complexity]", "low")], 400, "svg[complexity]"),
        ([*PROMPT, IMAGE, Piece("frame_count", "3")], 400, "frame_count"),
        ([*PROMPT, IMAGE, Piece("wibble", "3")], 400, "wibble"),
        ([*PROMPT, IMAGE, Piece("file_id", "3")], 400, "file_id"),
        ([*PROMPT, IMAGE, Piece("n", "1"), Piece("n", "2")], 400, "n"),
        ([*PROMPT, IMAGE, *[Piece("mask", png(64, i), "mask.png") for i in (8, 9)]], 400, "mask"),
        ([*PROMPT, IMAGE, Piece("markup", png(64, 64), "markup.png")], 400, "markup"),
        ([*PROMPT, IMAGE, Piece("markup", b"0" * (2**20 + 1), "markup.png")], 400, "markup"),
        ([*PROMPT, IMAGE, Piece("reference", png(64, 64), "b.png")], 400, "reference"),
    ],
    ids=lambda value: "pieces" if isinstance(value, list) else str(value),
)
def test_a_form_over_a_limit_is_named(sandbox: Gateway, pieces: list[Piece], status: int, param: str) -> None:
    """Counts are 400, bytes are 413, and the part is named."""
    answer = form(sandbox, *pieces)

    assert (answer.status, answer.error["param"]) == (status, param)


def test_a_file_that_nobody_takes_is_dropped_and_told(sandbox: Gateway) -> None:
    """A lenient caller's unknown file is like any unknown field; text that comes as a file is text."""
    prompt = Piece("prompt", "a red hat", "prompt.txt")
    stray = Piece("reference", png(64, 64), "b.png")
    answer = form(sandbox, PROMPT[0], prompt, IMAGE, stray, pinhole_policy="lenient")

    assert answer.status == 200
    assert {"param": "reference", "kind": "dropped", "from": None, "to": None} in answer.json()["adjustments"]


def test_one_image_of_more_than_fifty_megabytes_is_413(sandbox: Gateway) -> None:
    """The limit is told while the part comes, also without Content-Length."""
    head = Piece("image", b"", "a.png").encoded()[:-2]
    answer = ask(
        sandbox,
        "POST",
        EDIT,
        iter([head, *zeros(50_100_000)]),
        content_type=f"multipart/form-data; boundary={BOUNDARY}",
    )

    assert (answer.status, answer.error["param"]) == (413, "image")


def test_a_form_at_its_limits_is_read(sandbox: Gateway) -> None:
    """A hundred parts, sixteen images, an unchosen mask and the word null are no mistakes."""
    images = [Piece("image[]", png(64, 64), f"{i}.png") for i in range(16)]
    empty = [Piece("mask", ""), Piece("size", "null")]
    filling = [Piece("user", "me")] * (100 - len(images) - len(empty) - len(PROMPT))

    assert form(sandbox, *PROMPT, *images, *empty, *filling).status == 200


@pytest.mark.parametrize(
    "head",
    [
        tuple(f"X-More-{i}: 1" for i in range(9)),
        (f"X-Long: {'a' * 10_000}",),
    ],
    ids=["nine", "long"],
)
def test_a_part_with_too_many_headers_is_400(sandbox: Gateway, head: tuple[str, ...]) -> None:
    """Headers of a part are bounded in number and length."""
    answer = form(sandbox, *PROMPT, Piece("image", png(64, 64), "a.png", head))

    assert (answer.status, answer.error["code"]) == (400, "invalid_multipart")


@pytest.mark.parametrize(
    "filename",
    ["a.png\\", "a%22; name=%22mask", "../../etc/passwd", "a\x0bb.png", 'a"; name="mask', "\xe9.png", "a" * 3000],
)
def test_a_file_name_is_never_more_than_a_name(sandbox: Gateway, filename: str) -> None:
    """What a caller calls its file changes nothing and is sent nowhere."""
    answer = form(sandbox, *PROMPT, Piece("image", png(64, 64), filename))

    assert answer.status in {200, 400}
    assert filename[:10].encode() not in answer.body
    if answer.status == 400:
        assert answer.error["param"] in {"image", "mask"}


def test_the_type_a_part_declares_is_not_believed(sandbox: Gateway) -> None:
    """An image is what its bytes are."""
    declared = ("Content-Type: text/html",)
    lied = form(sandbox, *PROMPT, Piece("image", b"<html>", "a.png", ("Content-Type: image/png",)))

    assert form(sandbox, *PROMPT, Piece("image", png(64, 64), "a.html", declared)).status == 200
    assert (lied.status, lied.error["code"]) == (400, "invalid_image_file")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
async def test_no_form_breaks_the_reader(data: st.DataObject) -> None:
    """Any bytes, cut anywhere, are a form or one of our errors."""
    whole = (
        b"".join(piece.encoded() for piece in (*PROMPT, Piece("image", b"123", "a.png"))) + b"--" + BOUNDARY.encode()
    )
    whole += b"--\r\n"
    at = data.draw(st.integers(0, len(whole)))
    junk = data.draw(
        st.one_of(st.binary(max_size=12), st.sampled_from([b"\r\n", b"--", b'"', b";", b"*=utf-8''%ff"]))
    )
    upto = data.draw(st.integers(at, len(whole)))
    body = whole[:at] + junk + whole[upto:]
    cut = data.draw(st.integers(0, len(body)))
    request = request_of(body[:cut], body[cut:], content_type=f"multipart/form-data; boundary={BOUNDARY}")
    with suppress(PinholeError):
        await read_form(request, 10_000)


def test_the_limit_is_that_of_the_settings(tmp_path: Path) -> None:
    """A gateway with room for more takes more."""
    body = b"".join(zeros(2 * 2**20))
    with running(tmp_path, {"PINHOLE_SANDBOX": "true", "PINHOLE_MAX_BODY_MB": "3"}) as gateway:
        assert ask(gateway, "POST", EDIT, body, content_type=JSON).status == 400
