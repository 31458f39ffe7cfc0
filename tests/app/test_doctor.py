"""`pinhole doctor` with real parts: what is well is said so, and each thing that is broken is found and named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.commands.doctor import Finding, Level, examined
from tests.services import RedisServer, free_port, postgres
from tests.upstreams import qwen, replicate
from tests.upstreams.openai import OpenAIStandIn

NOTHING: Mapping[str, str] = {}
KEY = "sk-nobody-may-read-this-one"
SECRETS = (KEY, qwen.KEY, replicate.KEY, "hunter2-of-the-database")


@pytest.fixture
def openai() -> Iterator[OpenAIStandIn]:
    """A provider."""
    with OpenAIStandIn(KEY) as upstream:
        yield upstream


async def found(folder: Path, environ: Mapping[str, str] = NOTHING, *, asking: bool = False) -> list[Finding]:
    """All findings, none of which may hold a secret."""
    base = {"PINHOLE_DATA_DIR": str(folder), "OPENAI_API_KEY": KEY}
    findings = [finding async for finding in examined({**base, **environ}, asking=asking)]
    told = json.dumps([finding.document() for finding in findings])
    assert not [secret for secret in SECRETS if secret in told]
    return findings


def levels(findings: list[Finding], check: str) -> list[Level]:
    """What was found by one check."""
    return [finding.level for finding in findings if finding.check == check]


async def test_a_fresh_folder_is_well(tmp_path: Path) -> None:
    """Nothing is wrong with an environment of one key; nothing but a probe is written, and it is removed."""
    findings = await found(tmp_path / "data")

    assert {finding.level for finding in findings} == {Level.OK}
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


async def test_what_serve_would_not_start_with_is_the_only_problem_told(tmp_path: Path) -> None:
    """A broken setting, a broken file and an open door stop the examination, with their own sentences."""
    config = tmp_path / "config.yaml"
    config.write_text("limits: {requests_per_hour: 3}")
    for environ, word in (
        ({"PINHOLE_PORT": "many"}, "PINHOLE_PORT"),
        ({"PINHOLE_CONFIG": str(config)}, "line 1"),
        ({"PINHOLE_HOST": "0.0.0.0"}, "PINHOLE_API_KEYS"),  # noqa: S104 - what is refused
    ):
        findings = await found(tmp_path, environ)
        assert [(each.check, each.level) for each in findings] == [("configuration", Level.PROBLEM)]
        assert word in findings[0].said


async def test_folders_and_secrets_that_others_can_read(tmp_path: Path) -> None:
    """A secret of mode 0644 is a warning with the command; a file in place of the folder is a problem."""
    (tmp_path / "secret").write_bytes(b"x" * 32)
    (tmp_path / "secret").chmod(0o644)
    (tmp_path / "file").touch()
    open_ = await found(tmp_path)
    nowhere = await found(tmp_path / "file" / "data")

    assert levels(open_, "secret") == [Level.WARNING]
    assert any(each.remedy == f"chmod 600 {tmp_path / 'secret'}" for each in open_)
    assert levels(nowhere, "data folder") == [Level.PROBLEM]
    assert levels(nowhere, "storage") == [Level.PROBLEM]


async def test_links_that_nobody_could_follow(tmp_path: Path) -> None:
    """A public URL that is none, of this machine alone, or without encryption."""
    told = [
        levels(await found(tmp_path, {"PINHOLE_API_KEYS": "k" * 20, **environ}), "public URL")
        for environ in (
            {"PINHOLE_PUBLIC_URL": "images.example.com"},
            {"PINHOLE_HOST": "0.0.0.0"},  # noqa: S104 - what it warns of
            {"PINHOLE_PUBLIC_URL": "http://images.example.com"},
            {"PINHOLE_PUBLIC_URL": "https://images.example.com"},
        )
    ]

    assert told == [[Level.PROBLEM], [Level.WARNING], [Level.WARNING], [Level.OK]]


async def test_a_database_that_is_behind_or_away(tmp_path: Path) -> None:
    """PostgreSQL without tables names the command; one that is away is a problem, and its password is not told."""
    with postgres() as url:
        behind = await found(tmp_path, {"DATABASE_URL": url})
    away = f"postgresql://pinhole:hunter2-of-the-database@127.0.0.1:{free_port()}/pinhole"
    nowhere = await found(tmp_path, {"DATABASE_URL": away})

    assert levels(behind, "ledger") == levels(nowhere, "ledger") == [Level.PROBLEM]
    assert any(each.remedy == "Run: pinhole db upgrade" for each in behind)
    assert "warning" in levels(behind, "secret")


async def test_redis_is_looked_at_whole(tmp_path: Path) -> None:
    """Version, scripts and time of a real one; one that evicts is a warning, one that is away a problem."""
    with RedisServer(tmp_path / "well") as server:
        well = await found(tmp_path, {"REDIS_URL": server.url})
    with RedisServer(tmp_path / "evicts", "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as server:
        evicts = await found(tmp_path, {"REDIS_URL": server.url})
    with RedisServer(tmp_path / "reads", "--requirepass", "other") as server:
        locked = await found(tmp_path, {"REDIS_URL": server.url})
    away = await found(tmp_path, {"REDIS_URL": f"redis://:hunter2-of-the-database@127.0.0.1:{free_port()}/0"})

    assert levels(well, "redis") == [Level.OK] * 2
    assert levels(well, "clock") == [Level.OK]
    assert Level.WARNING in levels(evicts, "redis")
    assert levels(locked, "redis") == levels(away, "redis") == [Level.PROBLEM]


async def test_providers_are_asked_for_nothing_that_costs(tmp_path: Path, openai: OpenAIStandIn) -> None:
    """Only when asked to, by GET alone: a good key, a refused one, and an address where nobody is."""
    environ = {"OPENAI_BASE_URL": f"{openai.url}/v1"}
    await found(tmp_path, environ)
    unasked = len(openai.exchanges)
    good = await found(tmp_path, environ, asking=True)
    bad = await found(tmp_path, {**environ, "OPENAI_API_KEY": "sk-of-somebody-else"}, asking=True)
    away = await found(tmp_path, {"OPENAI_BASE_URL": f"http://127.0.0.1:{free_port()}/v1"}, asking=True)
    none = await found(tmp_path, {"OPENAI_API_KEY": ""})

    assert unasked == 0
    assert [levels(each, "account openai") for each in (good, bad, away)] == [
        [Level.OK],
        [Level.PROBLEM],
        [Level.PROBLEM],
    ]
    assert {exchange.method for exchange in openai.exchanges} == {"GET"}
    assert openai.paid == 0
    assert levels(none, "accounts") == [Level.PROBLEM]


async def test_each_provider_with_a_free_request_takes_its_key(tmp_path: Path) -> None:
    """The state of a task that nobody knows shows whether DashScope takes a key."""
    with qwen.Qwen() as upstream:
        told, refused = [
            await found(tmp_path, {"DASHSCOPE_API_KEY": key, "DASHSCOPE_BASE_URL": upstream.url}, asking=True)
            for key in (qwen.KEY, "sk-other")
        ]

    assert levels(told, "account qwen") == [Level.OK]
    assert levels(refused, "account qwen") == [Level.PROBLEM]


def ran(folder: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    """The command as an operator types it."""
    command = [sys.executable, "-c", "from app.cli import main; main()", "doctor", *arguments]
    env = {"PATH": os.environ["PATH"], "PINHOLE_DATA_DIR": str(folder), **environ}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - ours
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_command_has_an_exit_code_and_a_document(tmp_path: Path) -> None:
    """One line a finding, 0 when all is well, 1 on a problem; `--json` says the same."""
    well, lines = ran(tmp_path, OPENAI_API_KEY=KEY)
    bad, text = ran(tmp_path, "--json")
    document: dict[str, Any] = json.loads(text)

    assert (well, bad) == (0, 1)
    assert all(line.split()[0] in set(Level) for line in lines.splitlines())
    assert document["ok"] is False
    assert [each["remedy"] for each in document["checks"] if each["level"] == "problem"] == [
        "Set a provider's key, such as OPENAI_API_KEY, or PINHOLE_SANDBOX=true."
    ]
