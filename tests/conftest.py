"""Fixtures that every suite may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway import Gateway, running


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One sandbox gateway for the whole run: no key, no network, every catalogued model."""
    with running(tmp_path_factory.mktemp("sandbox")) as gateway:
        yield gateway


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A fresh data folder."""
    return tmp_path / "data"
