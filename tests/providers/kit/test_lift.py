"""Long base64 strings are cut out of JSON as slices of the buffer; everything else is ordinary JSON."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from providers.kit.lift import Lifted, LiftError, lift
from providers.kit.strict import MAX_DEPTH

IMAGE = bytes(i * i * 31 % 251 for i in range(5000))
TEXT = base64.b64encode(IMAGE).decode()


def texts(value: Any) -> Any:
    """The document with each handle back as its text."""
    if isinstance(value, Lifted):
        return value.text
    if isinstance(value, dict):
        return {key: texts(item) for key, item in value.items()}
    return [texts(item) for item in value] if isinstance(value, list) else value


def test_an_image_is_a_slice_of_the_received_buffer() -> None:
    """Nothing of it is copied or decoded until somebody asks."""
    body = bytearray(json.dumps({"data": [{"b64_json": TEXT}], "created": 1}).encode())
    found = lift(body)
    image = found["data"][0]["b64_json"]

    assert isinstance(image, Lifted)
    assert image.base64.obj is body
    assert found["created"] == 1
    assert (image.size, image.head(16), image.decode()) == (len(IMAGE), IMAGE[:16], IMAGE)


def test_a_data_url_is_lifted_with_its_type() -> None:
    """The head of a data URL is told apart from the payload."""
    image = lift(json.dumps({"image_url": f"data:image/png;base64,{TEXT}"}).encode())["image_url"]

    assert isinstance(image, Lifted)
    assert image.media_type == "image/png"
    assert image.decode() == IMAGE


@pytest.mark.parametrize("escaped", [TEXT.replace("/", "\\/"), TEXT.replace("=", "\\u003d")])
def test_escapes_inside_base64_are_undone(escaped: str) -> None:
    """PHP writes slashes escaped, and some write equals signs so: the image is the same."""
    image = lift(f'{{"b64_json": "{escaped}"}}'.encode())["b64_json"]

    assert isinstance(image, Lifted)
    assert image.decode() == IMAGE


def test_a_long_prompt_stays_text() -> None:
    """Only base64 is lifted: words, quotes and other letters of any length are strings."""
    prompt = 'A "quoted" fox \\ with accents é and 日本 ' * 200
    found = lift(json.dumps({"prompt": prompt, "b64_json": TEXT}).encode())

    assert found["prompt"] == prompt
    assert isinstance(found["b64_json"], Lifted)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": 1,}',
        b'{"a": 1} x',
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "' + TEXT.encode(),
        b'["' + TEXT.encode() + b'" "' + TEXT.encode() + b'"]',
        b"[" * 100 + b"]" * 100,
        b"\x00",
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    """Malformed documents, duplicate keys, odd numbers and deep nesting have one error."""
    with pytest.raises(LiftError):
        lift(body)


@pytest.mark.parametrize("bad", [TEXT[:-4] + "!!!!", TEXT[:3001] + " " + TEXT[3001:], "A" * 5001])
def test_an_image_of_another_alphabet_or_length_is_refused_when_used(bad: str) -> None:
    """A lifted string that is not base64 is either left as text or refused by check and decode."""
    found = lift(json.dumps({"b64_json": bad}).encode())["b64_json"]

    if isinstance(found, Lifted):
        with pytest.raises(LiftError):
            found.check()
        with pytest.raises(LiftError):
            found.decode()
    else:
        assert found == bad


@pytest.mark.parametrize("length", [1020, 1024])
def test_the_threshold_counts_bytes_between_the_quotes(length: int) -> None:
    """A string of the threshold's length is lifted, a shorter one is text."""
    (found,) = lift(json.dumps(["A" * length]).encode())

    assert isinstance(found, Lifted) is (length >= 1024)
    assert isinstance(lift(b'["AAAA"]', threshold=4)[0], Lifted)
    with pytest.raises(ValueError, match="positive"):
        lift(b"[]", threshold=0)


@pytest.mark.parametrize(
    "buffer",
    [
        bytes,
        bytearray,
        memoryview,
        lambda body: memoryview(b"junk" + body + b"junk")[4:-4],
        lambda body: memoryview(bytearray(body + b'"'))[:-1],
    ],
)
def test_every_buffer_is_searched_alike(buffer: Callable[[bytes], Any]) -> None:
    """Bytes, bytearrays and parts of a larger buffer give the same document, images longer than a window included."""
    long = base64.b64encode(bytes(100_000)).decode()
    body = buffer(json.dumps({"a": [TEXT, "text"], "b": long, "c": "end"}).encode())

    found = lift(body)

    assert isinstance(found["b"], Lifted)
    assert found["b"].base64.readonly
    assert texts(found) == {"a": [TEXT, "text"], "b": long, "c": "end"}


@pytest.mark.parametrize(
    "text",
    [
        f'say "{TEXT}" twice',
        f'"{TEXT}"',
        f'\\"{TEXT}',
        f'{TEXT}"',
        f"{TEXT}\\",
        f"{TEXT}\n{TEXT}",
        f"data:image/png;base64,{TEXT}-",
        f"data:image/png,{TEXT}",
        f"http://host/{TEXT}.png",
        TEXT.replace("+", "-").replace("/", "_") + "-_",
        "\\" * 5001 + f'"{TEXT}',
        "\\" * 4096 + f'"{TEXT}" {TEXT}',
    ],
)
def test_base64_within_other_text_stays_text(text: str) -> None:
    """Only a whole string is lifted: not between escaped quotes, at a line break or in a URL."""
    assert lift(json.dumps([text, {"x": text}]).encode()) == [text, {"x": text}]


def test_a_backslash_before_the_closing_quote_is_no_escape_of_it() -> None:
    """An even run of backslashes ends a string, an odd one does not."""
    even, odd = lift(json.dumps(["\\\\", TEXT]).encode()), lift(json.dumps(['\\"', TEXT]).encode())

    assert [type(value) for value in even] == [type(value) for value in odd] == [str, Lifted]


@pytest.mark.parametrize("space", ["", " ", "\r\n\t "])
def test_a_key_is_never_lifted(space: str) -> None:
    """A long key stays text, and its repetition is seen."""
    key = json.dumps(TEXT)

    assert lift(f"{{{key}{space}:{space}1}}".encode()) == {TEXT: 1}
    with pytest.raises(LiftError, match="same key"):
        lift(f"{{{key}{space}: 1, {key}: 2}}".encode())


def test_a_token_cannot_be_written_by_the_sender() -> None:
    """A text that looks like the stand-in of an image is that text."""
    forged = [f"lifted-{'0' * 32}-0", "lifted-0", TEXT]

    assert texts(lift(json.dumps(forged).encode())) == forged


def test_depth_is_bounded() -> None:
    """64 levels are read, one more is not, and neither are as many as fill the stack."""
    assert lift(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(LiftError, match="deeper"):
            lift(b"[" * depth + b"]" * depth)
        with pytest.raises(LiftError, match="deeper"):
            lift(b'{"a":' * depth + b"1" + b"}" * depth)


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"-Infinity", b"9" * 5000])
def test_numbers_out_of_range_are_refused(number: bytes) -> None:
    """What could not be sent on as JSON is not taken in."""
    with pytest.raises(LiftError):
        lift(b"[" + number + b"]")


def test_text_besides_images_is_bounded() -> None:
    """A body may be large by its images alone."""
    body = json.dumps([TEXT, "words and words"]).encode()

    assert len(lift(body, text_limit=100)) == 2
    with pytest.raises(LiftError, match="more than 20 bytes"):
        lift(body, text_limit=20)


@pytest.mark.parametrize("length", range(900, 906))
@pytest.mark.parametrize("padded", [True, False])
def test_padding_is_optional(length: int, padded: bool) -> None:
    """Size, head and content are right for every remainder, with padding and without."""
    text = base64.b64encode(IMAGE[:length]).decode()
    handle = lift(json.dumps([text if padded else text.rstrip("=")]).encode())[0]

    assert (handle.size, handle.head(), handle.head(2000), handle.decode()) == (
        length,
        IMAGE[:64],
        IMAGE[:length],
        IMAGE[:length],
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "AAAAA",
        "AA=",
        "A===",
        "=AAA",
        "AA==AAAA",
        "AAAA====",
        "AA-_",
        "AA A",
        "AAA\n",
        "é",
        "data:image/png;base64,",
    ],
)
def test_what_is_not_base64_is_refused(text: str) -> None:
    """Length, alphabet and the place of padding are strict; an empty image is none."""
    with pytest.raises(LiftError):
        Lifted.of(text)


def test_padding_between_two_blocks_is_refused() -> None:
    """A long image is checked block by block, which hides no padding in its middle."""
    block = "A" * (128 << 10)
    text = block[:-2] + "==" + "AAAA"

    assert lift(json.dumps([text]).encode()) == [text]
    with pytest.raises(LiftError):
        Lifted(memoryview(text.encode())).check()


def test_a_short_string_becomes_the_same_handle() -> None:
    """Adapters read small images, which were not lifted, in the same way; what is no text is refused."""
    handle = Lifted.of("data:IMAGE/PNG;charset=x;base64,AAEC")

    assert (handle.media_type, handle.decode(), handle.size) == ("image/png", b"\0\1\2", 3)
    assert handle.text == "data:IMAGE/PNG;charset=x;base64,AAEC"
    assert Lifted.of(handle) is handle
    for value in (None, 1, ["AAAA"]):
        with pytest.raises(LiftError):
            Lifted.of(value)


def test_nothing_of_an_image_is_shown() -> None:
    """Neither a handle's repr nor an error quotes base64 or text."""
    assert "AAEC" not in repr(Lifted.of("AAEC"))
    with pytest.raises(LiftError) as refusal:
        lift(b'{"secret" "secret"}')
    assert "secret" not in str(refusal.value)


def test_lifting_is_several_times_as_fast_as_parsing() -> None:
    """An image of 1.5 MiB is searched and checked, not parsed."""
    body = json.dumps({"data": [{"b64_json": base64.b64encode(IMAGE * 315).decode()}]}).encode()

    def best(work: Callable[[bytes], Any]) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            work(body)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best(lift) * 4 < best(json.loads)


@pytest.mark.parametrize("digits", [128 << 10, (128 << 10) - 4, (128 << 10) + 4, (256 << 10) - 4, 256 << 10])
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_an_image_is_checked_across_blocks(digits: int, prefix: str) -> None:
    """Padding stands at the end of the whole alone, wherever the blocks of the check end."""
    whole = base64.b64encode(bytes(digits // 4 * 3 - 2))
    assert len(whole) == digits
    assert whole.endswith(b"==")
    found = lift(b'{"a":"' + prefix.encode() + whole + b'"}')["a"]
    assert isinstance(found, Lifted)
    assert bytes(found.base64) == whole
    for wrong in (whole + b"AAAA", whole[:-4] + b"=AAA", whole[:1000] + b"!" + whole[1001:], b"-" + whole[1:]):
        assert isinstance(lift(b'{"a":"' + prefix.encode() + wrong + b'"}')["a"], str)
