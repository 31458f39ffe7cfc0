"""Older Python SDKs and the Node SDK, each in its own environment, against the sandbox."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.upstreams.images import mask_png, png

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """A photo and a mask as files."""
    photo, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    photo.write_bytes(png(256, 256))
    mask.write_bytes(mask_png(256, 256, (64, 64, 192, 192)))
    return photo, mask


def told(command: list[str]) -> dict[str, Any]:
    """What a client printed as JSON."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - our clients
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("major", ["1", "2"])
def test_older_python_sdks(sandbox: Gateway, pictures: tuple[Path, Path], major: str) -> None:
    """The newest 1.x and 2.x of the official package work unmodified."""
    python = ROOT / f".cache/compat/openai-{major}/bin/python"
    assert python.exists(), "run tests/compat/environments.sh"
    script = str(HERE / "scripts_roundtrip.py")
    found = told([str(python), script, sandbox.v1, *map(str, pictures)])

    assert found["version"].startswith(f"{major}.")
    assert found["generated"] > 1000
    assert found["edited"] > 1000
    assert found["several"] == 1
    assert found["refused"] == [400, "size", "invalid_value"]
    assert found["kinds"] == ["image_generation.partial_image", "image_generation.completed"]


def test_the_node_sdk(sandbox: Gateway, pictures: tuple[Path, Path]) -> None:
    """openai-node: generations, a chunked edit of a read stream, several images with a mask, a stream, an error."""
    node = shutil.which("node")
    assert node, "node is missing: install it, then run tests/compat/environments.sh"
    assert (HERE / "node/node_modules/openai").exists(), "run tests/compat/environments.sh"
    found = told([node, str(HERE / "node/roundtrip.mjs"), sandbox.v1, *map(str, pictures)])

    assert found["generated"] > 1000
    assert found["url"].startswith(sandbox.url)
    assert found["streamed"] > 1000
    assert found["several"] > 1000
    assert found["refused"] == [400, "size", "invalid_value"]
    assert found["kinds"][-1] == "image_generation.completed"
