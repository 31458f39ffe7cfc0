"""`pinhole` in the sandbox: pictures in files, and a sentence for whatever goes wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import cli
from providers.kit.images import inspect
from tests.gateway import Gateway
from tests.services import postgres
from tests.upstreams.images import mask_png, png

PROGRAM = Path(sys.executable).with_name("pinhole")


@pytest.fixture
def pinhole(tmp_path: Path) -> Any:
    """Runs the command in an empty folder; variables of ours that the machine has set are not seen."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "SYSTEMROOT"}}
        env = {
            **kept,
            "PINHOLE_SANDBOX": "true",
            "PINHOLE_DATA_DIR": str(tmp_path / "data"),
            "COLUMNS": "200",
            **environ,
        }
        command: Sequence[str] = [str(PROGRAM), *arguments]
        return subprocess.run(  # noqa: S603 - our own program
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_generate_writes_its_pictures(pinhole: Any, tmp_path: Path) -> None:
    """Several go to numbered files; each line says where, how large, by whom, at what cost and what was changed."""
    done = pinhole("generate", "a boat", "--n", "2", "--size", "3:2", "--model", "gpt-image-2", "-o", "boat.png")

    assert done.returncode == 0, done.stderr
    for name in ("boat-1.png", "boat-2.png"):
        assert inspect((tmp_path / name).read_bytes()).width > 0
        assert name in done.stdout
    assert "model gpt-image-2 by sandbox" in done.stdout
    assert "cost " in done.stdout
    assert "adjusted size;kind=mapped" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("model", "out", "written"),
    [
        ("gpt-image-2", ("-o", "a.jpg"), "a.jpg"),
        ("gemini-3-pro-image", ("-o", "a.png"), "a.png"),
        ("gemini-3-pro-image", ("-o", "a"), "a.jpg"),
        ("gemini-3-pro-image", (), "image.jpg"),
        ("gpt-image-2", (), "image.png"),
    ],
)
def test_a_files_name_tells_its_format(
    pinhole: Any, tmp_path: Path, model: str, out: tuple[str, ...], written: str
) -> None:
    """A name that was given is kept to; a name without a suffix, or none at all, takes what the model makes."""
    done = pinhole("generate", "a", "--model", model, *out)

    assert done.returncode == 0, done.stderr
    assert inspect((tmp_path / written).read_bytes()).format.suffix == written.rpartition(".")[2]


def test_the_version_is_told(pinhole: Any) -> None:
    """For whoever reports a mistake."""
    assert re.fullmatch(r"pinhole \d+\.\d+\.\d+\n", pinhole("--version").stdout)


def test_other_parameters_are_set_by_name(pinhole: Any, tmp_path: Path) -> None:
    """`--set` takes JSON values and words alike."""
    more = ("--set", "output_format=jpeg", "--set", "output_compression=50", "--size", "64x64")
    done = pinhole("generate", "a boat", "--model", "sandbox/canvas", *more, "-o", "a.jpg")

    assert done.returncode == 0, done.stderr
    assert inspect((tmp_path / "a.jpg").read_bytes()).format.value == "jpeg"


def test_edit_keeps_what_the_mask_keeps(pinhole: Any, tmp_path: Path) -> None:
    """An image and a mask go in, one file comes out in the image's size."""
    (tmp_path / "in.png").write_bytes(png(96, 64))
    (tmp_path / "mask.png").write_bytes(mask_png(96, 64, (0, 0, 20, 20)))
    files = ("--image", "in.png", "--mask", "mask.png", "-o", "out.png")
    done = pinhole("edit", "a hat", "--model", "sandbox/canvas", *files)
    facts = inspect((tmp_path / "out.png").read_bytes())

    assert done.returncode == 0, done.stderr
    assert (facts.width, facts.height) == (96, 64)


def test_explain_prints_the_dry_run(pinhole: Any, tmp_path: Path) -> None:
    """It is JSON on the standard output, for generations and edits."""
    (tmp_path / "in.png").write_bytes(png(64, 64))
    generation = json.loads(pinhole("explain", "a boat", "--model", "dall-e-3").stdout)
    edit = json.loads(pinhole("explain", "a hat", "--model", "gpt-image-2", "--image", "in.png").stdout)

    assert generation["calls"][0]["url"] == "https://api.openai.com/v1/images/generations"
    assert edit["calls"][0]["url"] == "https://api.openai.com/v1/images/edits"


def test_models_lists_what_can_be_called(pinhole: Any) -> None:
    """A line for each model; `--json` is the route's own form, `--all` the whole catalogue."""
    lines = pinhole("models").stdout.splitlines()
    document = json.loads(pinhole("models", "--json").stdout)
    bare = pinhole("models", PINHOLE_SANDBOX="false").stdout
    catalogue = pinhole("models", "--all", PINHOLE_SANDBOX="false").stdout

    assert len(lines) == len(document["data"]) > 20
    assert document["object"] == "list"
    assert "gpt-image-2" not in bare
    assert "gpt-image-2" in catalogue
    assert "retired 2026-05-12" in catalogue


def test_check_shows_no_secret(pinhole: Any, tmp_path: Path) -> None:
    """What environment and file come to is printed as JSON, keys masked."""
    (tmp_path / "pinhole.yaml").write_text("keys: [{name: team, key: '${TEAM}'}]\nlimits: {usd_per_day: 2}\n")
    done = pinhole(
        "check", PINHOLE_CONFIG="pinhole.yaml", TEAM="sk-hidden", OPENAI_API_KEY="sk-hidden", PINHOLE_SANDBOX="false"
    )
    found = json.loads(done.stdout)

    assert done.returncode == 0
    assert "hidden" not in done.stdout + done.stderr
    assert found["providers_with_credential"] == ["openai", "sandbox"]
    assert found["config"]["limits"]["usd_per_day"] == 2
    assert found["config"]["server"]["drain_seconds"] == 310
    assert found["config"]["storage"] == {"ttl_seconds": 3600}


def letters(text: str) -> str:
    """Letters and digits only."""
    return re.sub(r"[^A-Za-z0-9]", "", text)


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (("check",), {"PINHOLE_PORT": "http"}, "PINHOLE_PORT is 'http'"),
        (("check",), {"PINHOLE_CONFIG": "absent.yaml"}, "absent.yaml cannot be read"),
        (("check",), {"PINHOLE_CONFIG": "bad.yaml"}, "bad.yaml, line 2: wibble"),
        (("check",), {"PINHOLE_CONFIG": "doubled.yaml"}, "keys: two entries have the same key"),
        (("check",), {"PINHOLE_HOST": "0.0.0.0"}, "PINHOLE_API_KEYS"),  # noqa: S104 - refused
        (("generate", "a", "--size", "1x1", "--model", "dall-e-3"), {}, "1024x1024, 1792x1024, 1024x1792"),
        (("generate", "a", "--model", "absent"), {}, "'absent' does not exist. (404 model_not_found)"),
        (("generate", "a"), {"PINHOLE_SANDBOX": "false"}, "OPENAI_API_KEY"),
        (("generate", "a"), {"PINHOLE_SANDBOX": "false"}, "--url, such as http://127.0.0.1:8080"),
        (("generate", "a", "--model", "sandbox/refuse"), {}, "moderation_blocked"),
        (("generate", "a", "--url", "http://127.0.0.1:1"), {}, "http://127.0.0.1:1 cannot be reached"),
        (("generate", "a", "--url", "nonsense"), {}, "nonsense cannot be reached"),
        (("generate", "a", "--model", "sandbox/canvas", "-o", "no/a.png"), {}, "a.png cannot be written: no image"),
        (("edit", "a", "--image", "bad.yaml", "--model", "gpt-image-2"), {}, "not an image"),
        (("edit", "a", "--image", "absent.png"), {}, "absent.png"),
        (("generate", "a", "--n", "99"), {}, "'--n'"),
        (("generate", "a", "--set", "seed"), {}, "NAME=VALUE"),
        (("generate",), {}, "prompt"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...], environ: dict[str, str], said: str
) -> None:
    """Exit status 2, what is wrong on the standard error, no trace of the program's inside, nothing written."""
    (tmp_path / "bad.yaml").write_text("limits: {}\nwibble: 1\n")
    (tmp_path / "doubled.yaml").write_text("keys: [{name: a, key: sk}, {name: b, key: sk}]\n")
    files = [str(tmp_path / word) if "." in word and ":" not in word else word for word in arguments]
    env = {"PINHOLE_SANDBOX": "true", "PINHOLE_DATA_DIR": str(tmp_path / "data"), **environ}
    if "PINHOLE_CONFIG" in env:
        env["PINHOLE_CONFIG"] = str(tmp_path / env["PINHOLE_CONFIG"])
    done = CliRunner().invoke(cli, files, env=env)

    assert done.exit_code == 2, done.output
    assert letters(said) in letters(done.stderr)  # a narrow terminal breaks words and draws boxes
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PINHOLE_HOST": "0.0.0.0"}, "PINHOLE_API_KEYS"),  # noqa: S104 - refused
        ({"PINHOLE_DATA_DIR": "a-file"}, "PINHOLE_DATA_DIR"),
        ({"REDIS_URL": "nonsense"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://127.0.0.1/0?socket_timeout=5"}, "REDIS_URL"),
        ({"REDIS_URL": "rediss://127.0.0.1/0?ssl_ca_certs=/not/there"}, "REDIS_URL"),
        ({"DATABASE_URL": "postgresql://pinhole@127.0.0.1:1/pinhole"}, "DATABASE_URL"),
    ],
)
def test_a_gateway_that_cannot_run_does_not_start(
    pinhole: Any, tmp_path: Path, environ: dict[str, str], said: str
) -> None:
    """`serve` ends with status 2 and one line that names the variable."""
    (tmp_path / "a-file").touch()
    done = pinhole("serve", **environ)

    assert done.returncode == 2
    assert letters(said) in letters(done.stderr)  # a narrow terminal breaks words and draws boxes
    assert len(done.stderr.splitlines()) == 1


def test_a_database_that_is_behind_says_what_to_run(pinhole: Any) -> None:
    """The one line of the refused start is the command that mends it."""
    with postgres() as url:
        done = pinhole("serve", DATABASE_URL=url)

        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].endswith("Run: pinhole db upgrade")
        assert pinhole("db", "upgrade", DATABASE_URL=url).returncode == 0


def test_a_running_gateway_is_asked_over_http(pinhole: Any, sandbox: Gateway, tmp_path: Path) -> None:
    """With `--url`, or PINHOLE_URL, the command is only a caller; a trailing /v1 does no harm."""
    wish = ("generate", "a", "--model", "sandbox/canvas", "--size", "64x64", "-o")
    by_option = pinhole(*wish, "a.png", "--url", sandbox.v1)
    by_variable = pinhole(*wish, "b.png", PINHOLE_URL=sandbox.url)

    assert (by_option.returncode, by_variable.returncode) == (0, 0), by_option.stderr + by_variable.stderr
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_help_names_every_command(pinhole: Any) -> None:
    """Nothing asked, everything shown."""
    text = pinhole("--help").stdout

    for command in ("serve", "check", "models", "explain", "generate", "edit", "keys", "usage", "db"):
        assert command in text
