"""The newest 1.x and 2.x of the official openai package, each in its own environment, against the sandbox."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.looking import ENVIRONMENTS, HERE, PHOTO, decoded, fetched, same_outside, seen, told, written
from tests.gateway import Gateway

ROOT = HERE.parents[1]


@pytest.fixture(scope="module", params=["1", "2"])
def report(request: pytest.FixtureRequest, sandbox: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What this major version saw in one run."""
    python = ROOT / f".cache/compat/openai-{request.param}/bin/python"
    assert python.exists(), ENVIRONMENTS
    files = written(tmp_path_factory.mktemp("older"))
    found = told([str(python), str(HERE / "scripts/openai_roundtrip.py"), sandbox.v1, *map(str, files)])
    assert found["version"].split(".")[0] == request.param
    return found


def test_it_generates(report: dict[str, Any]) -> None:
    """Base64 and links arrive, with usage and headers."""
    made = report["generations"]

    assert seen(decoded(made["png"])).width == 1024
    assert made["total_tokens"] > 0
    assert [seen(fetched(url)).width for url in made["urls"]] == [128, 128]
    assert made["headers"]["pinhole-model"] == "sandbox/canvas"
    assert made["headers"]["x-request-id"]


def test_it_edits(report: dict[str, Any]) -> None:
    """A mask bounds the edit; several images in several forms are taken."""
    edited = report["edits"]

    assert same_outside(PHOTO, decoded(edited["masked"]))
    assert seen(fetched(edited["several"])).width == 128


def test_it_streams(report: dict[str, Any]) -> None:
    """Both event families are read as they are sent."""
    streamed = report["streams"]

    for family in ("generation", "edit"):
        name = f"image_{family}"
        assert streamed[family] == [f"{name}.partial_image"] * 2 + [f"{name}.completed"]
    assert streamed["indexes"] == [0, 1]
    assert streamed["size"] == "128x128"


def test_it_names_errors(report: dict[str, Any]) -> None:
    """Each error has the class that applications catch, with parameter and code."""
    assert report["errors"] == {
        "size": ["BadRequestError", 400, "size", "invalid_value"],
        "model": ["NotFoundError", 404, "model", "model_not_found"],
        "refused": ["BadRequestError", 400, None, "moderation_blocked"],
        "limited": ["RateLimitError", 429, None, "rate_limit_exceeded"],
        "broken": ["InternalServerError", 502, None, "upstream_error"],
    }


def test_it_lists_models(report: dict[str, Any]) -> None:
    """The list is read, and one model by a name with a slash."""
    assert "gpt-image-2" in report["models"]
    assert report["one"] == "gpt-image-2"
