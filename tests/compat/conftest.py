"""Gateways and clients that several suites here use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.compat.looking import written
from tests.gateway import Gateway, running

KEYS = """
keys:
  - {name: team-a, key: sk-team-a, models: ["sandbox/*"]}
  - {name: team-b, key: sk-team-b, limits: {requests_per_minute: 1}}
"""


@pytest.fixture(scope="package")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A sandbox that wants a key: one may call some models only, the other one request a minute."""
    with running(tmp_path_factory.mktemp("keyed"), config=KEYS) as gateway:
        yield gateway


@pytest.fixture
def client(sandbox: Gateway) -> Iterator[openai.OpenAI]:
    """The official SDK as applications make it, but for retries."""
    with openai.OpenAI(base_url=sandbox.v1, api_key="any", max_retries=0) as found:
        yield found


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """A photo and its mask as files."""
    return written(tmp_path)
