"""The official openai package for Node, current, as a program of its own against the sandbox."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compat.looking import ENVIRONMENTS, HERE, PHOTO, decoded, fetched, same_outside, seen, told
from tests.gateway import Gateway

Run = Callable[[str], Any]


@pytest.fixture
def run(sandbox: Gateway, pictures: tuple[Path, Path]) -> Run:
    """Runs one script of the folder and gives its report."""
    node = shutil.which("node")
    assert node, f"node is missing: install it, then {ENVIRONMENTS}"
    assert (HERE / "node/node_modules/openai").exists(), ENVIRONMENTS

    def ran(script: str) -> Any:
        return told([node, str(HERE / "node" / script), sandbox.v1, *map(str, pictures)])

    return ran


def test_it_generates(run: Run) -> None:
    """Every default is accepted; base64, links, usage, request ids and models are read."""
    found = run("generate.mjs")

    assert seen(decoded(found["png"])).width == 1024
    assert found["size"] == "1024x1024"
    assert found["tokens"] > 0
    assert [seen(fetched(url)).width for url in found["urls"]] == [128, 128]
    assert found["requestId"] == found["header"]
    assert "gpt-image-2" in found["models"]
    assert found["one"] == "gpt-image-2"


def test_it_edits(run: Run) -> None:
    """Read streams without a length, files with right, wrong and no types, lists and masks are all taken."""
    found = run("edit.mjs")

    assert found["sent"] == [{"length": None, "kind": "ReadableStream"}]
    for way in ("chunked", "file", "untyped", "blob", "listOfOne", "masked", "nothing"):
        assert seen(decoded(found[way])).width == 256, way
    assert len({found[way] for way in ("chunked", "file", "untyped", "blob", "listOfOne", "nothing")}) == 1
    assert same_outside(PHOTO, decoded(found["masked"]))
    assert seen(decoded(found["several"])).width


def test_it_streams(run: Run) -> None:
    """Partial images and the end arrive on both routes, and the end alone from a model without streams."""
    found = run("stream.mjs")

    for family in ("generation", "edit"):
        name = f"image_{family}"
        assert [event["type"] for event in found[family]] == [f"{name}.partial_image"] * 2 + [f"{name}.completed"]
        assert [event.get("index") for event in found[family]] == [0, 1, None]
        assert {seen(decoded(event["image"])).width for event in found[family]} == {128}
    assert [event["type"] for event in found["plain"]] == ["image_generation.completed"]


def test_it_names_errors(run: Run) -> None:
    """Each error has the class that applications catch, with type, parameter, code and request id."""
    found = run("errors.mjs")

    shown = {name: (e["name"], e["status"], e.get("param"), e["code"]) for name, e in found.items()}
    assert shown == {
        "size": ("BadRequestError", 400, "size", "invalid_value"),
        "model": ("NotFoundError", 404, "model", "model_not_found"),
        "refused": ("BadRequestError", 400, None, "moderation_blocked"),
        "limited": ("RateLimitError", 429, None, "rate_limit_exceeded"),
        "broken": ("InternalServerError", 502, None, "upstream_error"),
        "streamed": ("RateLimitError", 429, None, "rate_limit_exceeded"),
        "image": ("BadRequestError", 400, "image", "invalid_image_file"),
        "mask": ("BadRequestError", 400, "mask", "invalid_mask"),
    }
    assert all(error["requestID"] for error in found.values())
    assert found["limited"]["retryAfter"] == "7"
