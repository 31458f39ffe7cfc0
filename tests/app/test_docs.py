"""The generated pages say what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.docs import pages
from providers import discover

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["models.md", "errors.md", "metrics.md"])
def test_a_generated_page_is_current(name: str) -> None:
    """What is checked in is what `make docs` would write."""
    assert (DOCS / name).read_text() == pages(discover())[name]
