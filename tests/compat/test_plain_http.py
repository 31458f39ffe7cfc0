"""Requests as people write them by hand: every spelling of a form, JSON edits, bare paths, odd methods."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.wire import BOUNDARY, EDIT, GENERATE, Piece, Reply, ask, data_url, form, post
from tests.compat.looking import HOLE, MASK, PHOTO, SECOND, as_jpeg, decoded, fetched, same_outside, seen
from tests.gateway import Gateway

CANVAS = "sandbox/canvas"
ASKED = (Piece("model", CANVAS), Piece("prompt", "A hat"), Piece("size", "128x128"))
BASE64 = Piece("response_format", "b64_json")


def picture(reply: Reply) -> bytes:
    """The first image of an answer."""
    assert reply.status == 200, reply.body
    (first, *_) = reply.json()["data"]
    return fetched(first["url"]) if "url" in first else decoded(first["b64_json"])


def edit(gateway: Gateway, *pieces: Piece, path: str = EDIT, **headers: str) -> Reply:
    """A form, sent for a picture."""
    return form(gateway, *pieces, path=path, **headers)


def as_file(name: str, data: bytes, kind: str | None = "image/png", filename: str = "a.png") -> Piece:
    """A file part that declares this type, or none."""
    return Piece(name, data, filename, (f"Content-Type: {kind}",) if kind else ())


spellings: dict[str, tuple[str, ...]] = {
    "image": ("image",),
    "image[] for one": ("image[]",),
    "image twice": ("image", "image"),
    "image[] twice": ("image[]", "image[]"),
    "images[] twice": ("images[]", "images[]"),
    "both names": ("image", "image[]"),
}


@pytest.mark.parametrize("spelling", spellings)
def test_every_name_of_an_image_part(sandbox: Gateway, spelling: str) -> None:
    """Bare, bracketed and repeated names hold the same images in the same order."""
    names = spellings[spelling]
    parts = [as_file(name, data) for name, data in zip(names, (PHOTO, SECOND), strict=False)]
    usual = [as_file("image[]", data) for data in (PHOTO, SECOND)[: len(names)]]

    assert picture(edit(sandbox, *ASKED, *parts)) == picture(edit(sandbox, *ASKED, *usual))


@pytest.mark.parametrize(
    ("kind", "filename"),
    [
        ("application/octet-stream", "upload"),
        ("application/octet-stream", "unknown_file"),
        (None, "blob"),
        ("image/jpeg", "a.jpg"),
        ("text/plain", "a.txt"),
        ("image/svg+xml", "a.svg"),
    ],
)
def test_the_bytes_decide_what_a_file_is(sandbox: Gateway, kind: str | None, filename: str) -> None:
    """A declared type or an extension that is missing or wrong changes nothing."""
    reply = edit(sandbox, *ASKED, as_file("image", PHOTO, kind, filename))

    assert picture(reply) == picture(edit(sandbox, *ASKED, as_file("image", PHOTO)))


def test_files_may_stand_first(sandbox: Gateway) -> None:
    """Parts may come in any order."""
    reply = edit(sandbox, as_file("mask", MASK), as_file("image", PHOTO), *ASKED[:2], BASE64)

    assert same_outside(PHOTO, picture(reply), HOLE)


def test_a_jpeg_and_a_png_together(sandbox: Gateway) -> None:
    """Images of one request may have different forms."""
    reply = edit(sandbox, *ASKED, as_file("image[]", as_jpeg(PHOTO)), as_file("image[]", SECOND))

    assert seen(picture(reply)).width == 128


@pytest.mark.parametrize("field", ["n", "quality", "user", "seed", "background", "mask", "response_format", "stream"])
def test_the_word_null_in_a_form_is_nothing(sandbox: Gateway, field: str) -> None:
    """Clients that cannot leave a text part out send the word null: it is the same as nothing."""
    if field == "mask":
        reply = edit(sandbox, *ASKED, as_file("image", PHOTO), Piece("mask", ""))
    else:
        reply = edit(sandbox, *ASKED, as_file("image", PHOTO), Piece(field, "null"))

    assert picture(reply) == picture(edit(sandbox, *ASKED, as_file("image", PHOTO)))


def test_numbers_and_booleans_in_a_form_are_text(sandbox: Gateway) -> None:
    """`2`, `false` and `0` are read as what they say."""
    more = (Piece("n", "2"), Piece("stream", "false"), Piece("partial_images", "0"), Piece("seed", "7"), BASE64)
    reply = edit(sandbox, *ASKED, *more, as_file("image", PHOTO))

    assert len(reply.json()["data"]) == 2


def test_null_in_json_is_nothing(sandbox: Gateway) -> None:
    """Every parameter may be null, as clients in other languages send what they do not set."""
    names = (
        "n size quality response_format output_format output_compression background moderation style stream "
        "partial_images user safety_identifier negative_prompt seed prompt_extend watermark input_fidelity "
        "search_prompt"
    )
    reply = post(sandbox, {"prompt": "A boat", "model": CANVAS, **dict.fromkeys(names.split())}, GENERATE)

    assert seen(picture(reply)).width == 1024
    assert "pinhole-adjustments" not in reply.headers


def test_an_edit_in_json(sandbox: Gateway) -> None:
    """Data URLs of any declared type and a mask make the same picture as the form does."""
    body = {
        "model": CANVAS,
        "prompt": "A hat",
        "images": [{"image_url": data_url(PHOTO, "image/jpeg")}],
        "mask": {"image_url": data_url(MASK)},
        "response_format": "b64_json",
    }
    formed = edit(sandbox, *ASKED[:2], as_file("image", PHOTO), as_file("mask", MASK), BASE64)

    assert picture(post(sandbox, body, EDIT)) == picture(formed)
    assert same_outside(PHOTO, picture(formed), HOLE)


def test_several_images_in_json(sandbox: Gateway) -> None:
    """`images` may hold several, and their order is kept."""
    asked = {"model": CANVAS, "prompt": "A hat", "size": "128x128"}
    urls = [{"image_url": data_url(data)} for data in (PHOTO, SECOND)]
    formed = edit(sandbox, *ASKED, as_file("image", PHOTO), as_file("image", SECOND))

    assert picture(post(sandbox, {**asked, "images": urls}, EDIT)) == picture(formed)
    assert picture(post(sandbox, {**asked, "images": urls[::-1]}, EDIT)) != picture(formed)


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_the_prefix_is_optional(sandbox: Gateway, prefix: str) -> None:
    """Every route answers with and without /v1."""
    body = {"prompt": "A boat", "model": CANVAS, "size": "64x64"}

    assert picture(post(sandbox, body, f"{prefix}/images/generations"))
    assert post(sandbox, body, f"{prefix}/images/generations/explain").json()["model"] == CANVAS
    assert picture(edit(sandbox, *ASKED, as_file("image", PHOTO), path=f"{prefix}/images/edits"))
    assert ask(sandbox, "GET", f"{prefix}/models").json()["object"] == "list"
    assert ask(sandbox, "GET", f"{prefix}/models/sandbox/canvas").json()["id"] == CANVAS
    assert ask(sandbox, "GET", f"{prefix}/models/sandbox%2Fcanvas").json()["id"] == CANVAS


@pytest.mark.parametrize("query", ["api-version=2026-10-01-preview", "foo=bar&foo=baz", "model=x&n=99", "%zz"])
def test_unknown_query_parameters_are_ignored(sandbox: Gateway, query: str) -> None:
    """What some clients append to every address changes nothing."""
    body = {"prompt": "A boat", "model": CANVAS, "size": "64x64"}

    assert len(post(sandbox, body, f"{GENERATE}?{query}").json()["data"]) == 1
    assert ask(sandbox, "GET", f"/v1/models?{query}").status == 200
    assert picture(edit(sandbox, *ASKED, as_file("image", PHOTO), path=f"{EDIT}?{query}"))


@pytest.mark.parametrize("given", ["mine-1", "A.b_c-9", "x" * 128])
def test_a_request_id_is_echoed(sandbox: Gateway, given: str) -> None:
    """The caller's own id comes back on success and on errors."""
    body = {"prompt": "A boat", "model": CANVAS, "size": "64x64"}

    assert post(sandbox, body, GENERATE, x_request_id=given).headers["x-request-id"] == given
    assert ask(sandbox, "GET", "/nowhere", x_request_id=given).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["has space", "x" * 129, "a/b", "é", "<b>", ""])
def test_a_request_id_of_another_form_is_replaced(sandbox: Gateway, given: str) -> None:
    """What does not fit in a log line is never echoed."""
    found = ask(sandbox, "GET", "/healthz", x_request_id=given).headers["x-request-id"]

    assert found.startswith("req_")


@pytest.mark.parametrize("path", ["/v1/models", "/models", "/v1/models/gpt-image-2"])
def test_models_answer_head(sandbox: Gateway, path: str) -> None:
    """HEAD has GET's headers and no body."""
    head, whole = ask(sandbox, "HEAD", path), ask(sandbox, "GET", path)

    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", GENERATE, 405, "POST"),
        ("OPTIONS", GENERATE, 405, "POST"),
        ("PUT", EDIT, 405, "POST"),
        ("DELETE", "/v1/models/gpt-image-2", 405, "GET, HEAD"),
        ("OPTIONS", "/v1/models", 405, "GET, HEAD"),
        ("GET", "/openai/deployments/gpt-image-2/images/generations", 405, "POST"),
        ("POST", "/v1/images/variations", 404, None),
        ("POST", "/v1/chat/completions", 404, None),
        ("GET", "/nowhere", 404, None),
        ("GET", "/v1/models/nothing", 404, None),
    ],
)
def test_other_methods_and_paths(sandbox: Gateway, method: str, path: str, status: int, allow: str | None) -> None:
    """An error stands in the envelope, a wrong method names the right one, and no other site's browser is let in."""
    reply = ask(sandbox, method, path, origin="https://elsewhere.example")

    assert reply.status == status
    assert reply.error["type"] == "invalid_request_error"
    assert reply.headers.get("allow") == allow
    assert not [name for name in reply.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("path", [GENERATE, "/nowhere"])
def test_head_has_no_body(sandbox: Gateway, path: str) -> None:
    """HEAD gets the status alone."""
    reply = ask(sandbox, "HEAD", path)

    assert reply.status in {404, 405}
    assert reply.body == b""


def trickle(data: bytes, size: int = 65536) -> Iterator[bytes]:
    """A body in pieces, so that it goes out chunked."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def test_a_chunked_generation(sandbox: Gateway) -> None:
    """A body without Content-Length is read."""
    body = json.dumps({"prompt": "A boat", "model": CANVAS, "size": "64x64"}).encode()
    reply = ask(sandbox, "POST", GENERATE, trickle(body, 10), content_type="application/json; charset=utf-8")

    assert seen(picture(reply)).width == 64


def test_a_chunked_edit(sandbox: Gateway) -> None:
    """A form without Content-Length is read, wherever its pieces are cut."""
    parts = b"".join(piece.encoded() for piece in (*ASKED, as_file("image", PHOTO)))
    body = parts + f"--{BOUNDARY}--\r\n".encode()
    kind = f'multipart/form-data; boundary="{BOUNDARY}"'
    replies = [ask(sandbox, "POST", EDIT, trickle(body, size), content_type=kind) for size in (997, 65536)]

    assert len({picture(reply) for reply in replies}) == 1


@pytest.mark.parametrize("chunked", [True, False])
def test_a_generation_over_a_mebibyte(sandbox: Gateway, chunked: bool) -> None:
    """With and without Content-Length the answer is 413 in the envelope."""
    body = json.dumps({"prompt": "x" * (2**20), "model": CANVAS}).encode()
    sent: Any = trickle(body) if chunked else body
    reply = ask(sandbox, "POST", GENERATE, sent, content_type="application/json")

    assert (reply.status, reply.error["code"]) == (413, "request_too_large")


def test_the_same_wish_is_the_same_picture(sandbox: Gateway) -> None:
    """Form and JSON, base64 and link carry the same bytes."""
    body = {"prompt": "A boat", "model": CANVAS, "size": "64x64", "seed": 3}
    found = [post(sandbox, {**body, "response_format": form}, GENERATE) for form in ("url", "b64_json")]

    assert len({hashlib.sha256(picture(reply)).digest() for reply in found}) == 1
