"""What cannot be done is refused before anything is sent: one envelope, what is allowed, the nearest value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.wire import EDIT, GENERATE, ask, data_url, post
from tests.gateway import Gateway, running
from tests.upstreams.images import png

PLAIN = {"model": "gpt-image-2", "prompt": "a boat"}
INVALID = "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "The body is empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{", "Expecting property name"),
        ('{"prompt": "a",}', "JSON"),
        ('{"prompt": "a", "prompt": "b"}', "same key twice"),
        ('{"prompt": "a", "x": {"y": 1, "y": 2}}', "same key twice"),
        ('{"prompt": "a", "n": NaN}', "NaN"),
        ('{"prompt": "a", "n": -Infinity}', "-Infinity"),
        ('{"prompt": "a", "n": 1e999}', "out of range"),
        ('{"prompt": "a", "n": 1' + "0" * 5000 + "}", "too many digits"),
        ('{"prompt": "\\ud800"}', "surrogate"),
        ('{"prompt": "a", "\\udfff": 1}', "surrogate"),
        (b'{"prompt": "\xff"}', "UTF-8"),
        ("[" * 50_000, "deeper than 64"),
        ("null", "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ('"prompt"', "must be a JSON object"),
        ("3", "must be a JSON object"),
    ],
)
@pytest.mark.parametrize("path", [f"{GENERATE}/explain", f"{EDIT}/explain", GENERATE, EDIT])
def test_a_body_that_is_no_json_object(sandbox: Gateway, body: str | bytes, said: str, path: str) -> None:
    """Malformed JSON, duplicate keys and numbers that are none are 400 with the reason."""
    answer = post(sandbox, body, path)

    assert answer.status == 400
    assert said in answer.error["message"]
    assert answer.error["type"] == INVALID


@pytest.mark.parametrize(
    ("given", "path", "wanted"),
    [
        ("text/plain", GENERATE, "application/json;"),
        ("application/x-www-form-urlencoded", GENERATE, "application/json;"),
        ("multipart/form-data; boundary=x", GENERATE, "application/json;"),
        ("", GENERATE, "no content type"),
        ("text/plain", EDIT, "application/json or multipart/form-data;"),
        ("image/png", EDIT, "application/json or multipart/form-data;"),
    ],
)
def test_another_content_type_is_415(sandbox: Gateway, given: str, path: str, wanted: str) -> None:
    """The message says what was sent and what the route reads."""
    headers = {"content_type": given} if given else {}
    answer = ask(sandbox, "POST", path, b'{"prompt": "a"}', **headers)

    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")
    assert wanted in answer.error["message"]


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": None}, "prompt", "required"),
    ({"prompt": ""}, "prompt", "required"),
    ({"prompt": " \n\t"}, "prompt", "required"),
    ({"prompt": 5}, "prompt", "expected a valid string, got int"),
    ({"prompt": ["a"]}, "prompt", "got list"),
    ({"prompt": "a" * 32_001}, "prompt", "32001 characters; 'gpt-image-2' takes at most 32000"),
    ({"n": 0}, "n", "The nearest allowed value is 1"),
    ({"n": -7}, "n", "The nearest allowed value is 1"),
    ({"n": 11}, "n", "1 to 10 images per request. The nearest allowed value is 10"),
    ({"n": "2"}, "n", "expected a valid integer, got the text '2'"),
    ({"n": 1.5}, "n", "got float"),
    ({"n": True}, "n", "got bool"),
    ({"n": 10**30}, "n", "more than fifteen digits"),
    ({"size": "1x1"}, "size", "The nearest allowed value is 816x816"),
    ({"size": "1000x1000"}, "size", "The nearest allowed value is 1008x1008"),
    ({"size": "99999x1"}, "size", "The nearest allowed value is"),
    ({"size": "100000x100000"}, "size", "use WIDTHxHEIGHT"),
    ({"size": "0x0"}, "size", "use WIDTHxHEIGHT"),
    ({"size": "banana"}, "size", "use WIDTHxHEIGHT"),
    ({"size": ""}, "size", "use WIDTHxHEIGHT"),
    ({"size": 1024}, "size", "got int"),
    ({"quality": "best"}, "quality", "Supported values are: auto, low, medium, high"),
    ({"quality": 3}, "quality", "Supported values are"),
    ({"model": "dall-e-3", "quality": "4k"}, "quality", "The nearest allowed value is hd"),
    ({"model": "dall-e-3", "n": 2}, "n", "The nearest allowed value is 1"),
    ({"model": "dall-e-3", "size": "512x512"}, "size", "1024x1024, 1792x1024, 1024x1792"),
    ({"model": "dall-e-2", "prompt": "a" * 1001}, "prompt", "at most 1000"),
    ({"response_format": "png"}, "response_format", "Supported values are: url, b64_json"),
    ({"output_format": "bmp"}, "output_format", "Supported values are: png, jpeg, webp."),
    ({"output_format": "svg"}, "output_format", "Supported values are: png, jpeg, webp."),
    ({"output_format": "gif"}, "output_format", "Supported values are: png, jpeg, webp."),
    ({"output_compression": 101}, "output_compression", "jpeg or webp"),
    ({"output_compression": 101, "output_format": "jpeg"}, "output_compression", "The nearest allowed value is 100"),
    ({"background": "pink"}, "background", "transparent, opaque, auto"),
    ({"background": "transparent", "output_format": "jpeg"}, "background", "png or webp"),
    ({"stream": "yes"}, "stream", "boolean"),
    ({"stream": True, "partial_images": 4}, "partial_images", "The nearest allowed value is 3"),
    ({"partial_images": 2}, "partial_images", "needs 'stream'"),
    ({"stream": True, "n": 2}, "n", "when streaming"),
    ({"user": 5}, "user", "got int"),
    ({"model": 7}, "model", "got int"),
    ({"seed": 1}, "seed", "does not support 'seed'"),
    ({"seed": "1"}, "seed", "got the text '1'"),
    ({"negative_prompt": "rain"}, "negative_prompt", "does not support"),
    ({"style": "cubist"}, "style", "does not support 'style'"),
    ({"svg": {"a": 1}}, "svg", "not supported"),
    ({"markup": "<b>"}, "markup", "not supported"),
    ({"frame_count": 3}, "frame_count", "not supported"),
    ({"frame_duration_ms": 40}, "frame_duration_ms", "not supported"),
    ({"wibble": 1}, "wibble", "Unknown parameter: 'wibble'"),
    ({"image": "x"}, "image", "Unknown parameter: 'image'"),
    ({"mask": {"image_url": "x"}}, "mask", "Unknown parameter: 'mask'"),
    ({"file_id": "file-1"}, "file_id", "Unknown parameter"),
    ({"x" * 5000: 1}, "x" * 80, "Unknown parameter"),
]


@pytest.mark.parametrize(("change", "param", "said"), BAD, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("path", [GENERATE, f"{GENERATE}/explain"])
def test_a_bad_value_is_named(sandbox: Gateway, change: dict[str, Any], param: str, said: str, path: str) -> None:
    """The answer is 400 with the parameter, what is allowed and, where there is one, the nearest allowed value."""
    before = len(sandbox.ledger.entries)
    answer = post(sandbox, {**PLAIN, **change}, path)

    assert answer.status == 400
    assert (answer.error["param"], answer.error["type"]) == (param, INVALID)
    assert said in answer.error["message"]
    assert len(sandbox.ledger.entries) == before


def test_every_problem_is_told_at_once(sandbox: Gateway) -> None:
    """Each violation has its own entry beside the first."""
    answer = post(sandbox, {**PLAIN, "n": 30, "size": "9x9", "wibble": 1})

    assert [found["param"] for found in answer.error["violations"]] == ["size", "n", "wibble"]


def test_lenient_drops_and_reports(sandbox: Gateway) -> None:
    """Under the lenient policy the same wishes are changed or dropped, and the caller can read how."""
    wish = {**PLAIN, "n": 30, "size": "9x9", "wibble": 1, "seed": 3}
    answer = post(sandbox, wish, pinhole_policy="Lenient")

    assert answer.status == 200
    told = {found["param"]: (found["kind"], found["to"]) for found in answer.json()["adjustments"]}
    assert told["n"] == ("mapped", 10)
    assert told["size"][0] == "mapped"
    assert told["wibble"] == ("dropped", None)
    assert told["seed"] == ("dropped", None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pinhole_policy", "relaxed"),
        ("pinhole_deadline", "soon"),
        ("pinhole_deadline", "0"),
        ("pinhole_deadline", "-1"),
        ("pinhole_deadline", "nan"),
        ("pinhole_deadline", "inf"),
        ("idempotency_key", "k" * 256),
    ],
)
def test_a_bad_header_is_named(sandbox: Gateway, name: str, value: str) -> None:
    """A header of ours with a value that means nothing is 400, not a guess."""
    answer = post(sandbox, PLAIN, GENERATE, **{name: value})

    assert answer.status == 400
    assert name.replace("_", "-") in answer.error["message"].lower()


@pytest.mark.parametrize(
    "name", ["no-such-model", "openai/no-such", "gpt-image-2/", "../gpt-image-2", "*", "a" * 9000]
)
def test_an_unknown_model_is_404(sandbox: Gateway, name: str) -> None:
    """The code is model_not_found, on both routes and in the list."""
    answer = post(sandbox, {**PLAIN, "model": name})

    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert len(answer.error["message"]) < 200


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway outside of the sandbox that has no credential at all."""
    with running(tmp_path_factory.mktemp("bare"), {"PINHOLE_SANDBOX": "false"}) as gateway:
        yield gateway


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("gpt-image-2", "OPENAI_API_KEY"),
        ("gemini-3-pro-image", "GEMINI_API_KEY"),
        ("cogview-4", "ZAI_API_KEY or ZHIPUAI_API_KEY"),
        ("image-01", "MINIMAX_API_KEY"),
        (None, "OPENAI_API_KEY"),
    ],
)
def test_a_model_without_credential_names_the_variable(bare: Gateway, model: str | None, variable: str) -> None:
    """A known model that cannot be called is 404, and the message says what to set."""
    answer = post(bare, {"prompt": "a boat", "model": model}, GENERATE)

    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert variable in answer.error["message"]


EDITS: list[tuple[dict[str, Any], str, str]] = [
    ({"images": None}, "images", "is required"),
    ({"images": []}, "images", "is required"),
    ({"images": "x"}, "images", "is required"),
    ({"images": {"image_url": "x"}}, "images", "is required"),
    ({"images": [{"image_url": data_url(png(8, 8))}] * 17}, "images", "At most 16"),
    ({"images": ["x"]}, "images[0]", "must be an object"),
    ({"images": [{"url": "x"}]}, "images[0]", "must be an object"),
    ({"images": [{}]}, "images[0]", "must be a data URL"),
    ({"images": [{"image_url": 4}]}, "images[0]", "must be a data URL"),
    ({"images": [{"file_id": "file-abc"}]}, "images[0].file_id", "not supported"),
    ({"images": [{"image_url": data_url(b"plain text")}]}, "image", "not an image"),
    ({"images": [{"image_url": "data:image/png;base64,***"}]}, "images[0]", "data URL"),
    ({"images": [{"image_url": "data:image/png,abc"}]}, "images[0]", "data URL"),
    ({"images": [{"image_url": "data:image/png;base64," + "A" * 4000}]}, "image", "not an image"),
    ({"images": [{"image_url": "javascript:alert(1)"}]}, "images[0]", "must be a data URL"),
    ({"images": [{"image_url": "file:///etc/passwd"}]}, "images[0]", "must be a data URL"),
    ({"images": [{"image_url": "ftp://example.org/a.png"}]}, "images[0]", "must be a data URL"),
    ({"mask": "x"}, "mask", "must be an object"),
    ({"mask": {"file_id": "f"}}, "mask.file_id", "not supported"),
    ({"image": "x"}, "image", "Unknown parameter"),
]


@pytest.mark.parametrize(("change", "param", "said"), EDITS, ids=lambda value: str(value)[:40])
def test_a_bad_json_edit_is_named(sandbox: Gateway, change: dict[str, Any], param: str, said: str) -> None:
    """References to images are read strictly, and what is wrong is named by its place."""
    plain = {**PLAIN, "images": [{"image_url": data_url(png(64, 64))}]}
    answer = post(sandbox, {**plain, **change}, f"{EDIT}/explain")

    assert (answer.status, answer.error["param"]) == (400, param)
    assert said in answer.error["message"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://localhost:8080/a.png",
        "http://2130706433/a.png",
        "http://0177.0.0.1/a.png",
        "http://0x7f000001/a.png",
        "http://0x7f.1/a.png",
        "http://127.1/a.png",
        "http://0/a.png",
        "http://[::1]/a.png",
        "http://[::ffff:127.0.0.1]/a.png",
        "http://[::ffff:7f00:1]/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/a.png",
        "http://user:secret@127.0.0.1/a.png",
        "http://127.0.0.1#@example.org/a.png",
        "http:///a.png",
        "http://[::1",
        "http://a:b:c/",
        "http://127.0.0.1:99999/",
        "https://",
    ],
)
def test_a_private_address_is_never_fetched(sandbox: Gateway, url: str) -> None:
    """However an address is written, one that is not public is 400 and no byte of what lies there is told."""
    answer = post(sandbox, {**PLAIN, "images": [{"image_url": url}]}, f"{EDIT}/explain")

    assert (answer.status, answer.error["code"]) == (400, "invalid_image_url")
    assert "secret" not in answer.error["message"]


def test_a_short_data_url_is_an_image_too(sandbox: Gateway) -> None:
    """A picture of a few hundred bytes is read like a large one, in a mask as well."""
    small = data_url(png(64, 64, (9, 9, 9)))
    assert len(small) < 1024
    answer = post(sandbox, {**PLAIN, "images": [{"image_url": small}]}, f"{EDIT}/explain")

    assert answer.status == 200


PATHS = st.one_of(
    st.sampled_from(
        ["/", "/v1", "/v1/images", "/v1/images/generations/", "/v1/images/results/", "/files/", "/admin"]
    ),
    st.lists(st.sampled_from(["v1", "images", "edits", "..", "%2e", "%00", "%ff", "a", ""]), max_size=5).map(
        lambda parts: "/" + "/".join(parts)
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#?"), max_size=30).map(
        lambda text: f"/{text}"
    ),
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(PATHS, METHODS)
def test_no_path_answers_in_another_form(sandbox: Gateway, path: str, method: str) -> None:
    """Whatever path and method, an error stands in the envelope and the framework's own form is never seen."""
    answer = ask(sandbox, method, path)

    assert answer.status < 500
    if answer.status >= 400:
        assert answer.error["code"]
    if answer.status == 405:
        assert answer.headers["allow"]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "prompt",
        "model",
        "n",
        "size",
        "quality",
        "response_format",
        "output_format",
        "output_compression",
        "background",
        "moderation",
        "style",
        "input_fidelity",
        "complexity",
        "stream",
        "partial_images",
        "user",
        "safety_identifier",
        "negative_prompt",
        "seed",
        "prompt_extend",
        "search_prompt",
        "watermark",
        "svg",
        "frame_count",
        "images",
        "mask",
    ]
)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(FIELDS, JSON_VALUES, max_size=4), st.sampled_from(["strict", "lenient"]))
def test_no_document_breaks_the_gateway(sandbox: Gateway, document: dict[str, Any], policy: str) -> None:
    """Any JSON values in any fields are either done or refused in the envelope; never a 500."""
    for path in (f"{GENERATE}/explain", f"{EDIT}/explain"):
        answer = post(sandbox, {**PLAIN, **document}, path, pinhole_policy=policy)
        assert answer.status in {200, 400, 404}
        assert answer.status == 200 or answer.error
