"""Fixtures that every suite may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.gateway import Gateway, running

# A run says the same twice, on any machine; `make fuzz` is where chance has its place.
settings.load_profile("default" if "PINHOLE_FUZZ_EXAMPLES" in os.environ else "ci")


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One sandbox gateway for the whole run: no key, no network, every catalogued model."""
    with running(tmp_path_factory.mktemp("sandbox")) as gateway:
        yield gateway


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A fresh data folder."""
    return tmp_path / "data"
