"""Who left, and who only seemed to have its answer: the callers of equal requests at one gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.app.test_receipts import KEY, again, arrived, ask, leave, read
from tests.gateway import running
from tests.upstreams.openai import OpenAIStandIn

RETRY_SECONDS = 3.0  # so long an SDK may say that it did not have what it seemed to take


@pytest.fixture
def upstream() -> Iterator[OpenAIStandIn]:
    """A provider."""
    with OpenAIStandIn(KEY) as found:
        yield found


@pytest.fixture
def url(tmp_path: Path, upstream: OpenAIStandIn) -> Iterator[str]:
    """A gateway before it."""
    environ = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{upstream.url}/v1"}
    with running(tmp_path, environ) as gateway:
        yield gateway.url


def test_a_retry_that_fails_too_leaves_the_picture_to_the_next(url: str, upstream: OpenAIStandIn) -> None:
    """The first seemed to have it, its retry says that it did not: whatever becomes of that, it is paid once."""
    with closing(ask(url, "x-stainless-retry-count: 0\r\n")) as connection:
        read(connection)
    time.sleep(0.5)
    retry = ask(url, "x-stainless-retry-count: 1\r\n")
    arrived(retry)
    leave(retry)
    time.sleep(RETRY_SECONDS)
    third = again(url, x_stainless_retry_count="2")

    assert third.headers.get("pinhole-replayed") == "true"
    assert upstream.paid == 1
