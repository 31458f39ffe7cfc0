"""One gateway for each provider, before its stand-in."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.gateway import HurriedClock, running
from tests.matrix.bench import Bench
from tests.matrix.vendors import VENDORS, Vendor


@pytest.fixture(scope="module", params=VENDORS, ids=lambda vendor: vendor.name)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One of each provider for the module."""
    vendor: Vendor = request.param
    clock = HurriedClock()
    with (
        vendor.make() as server,
        running(tmp_path_factory.mktemp(vendor.name), vendor.environ(server), clock=clock) as gateway,
        openai.OpenAI(base_url=gateway.v1, api_key="any", max_retries=0, timeout=60) as client,
    ):
        yield Bench(vendor, server, gateway, client, clock)


@pytest.fixture(autouse=True)
def rested(bench: Bench) -> None:
    """Pauses that the provider asked for, breakers and retry budgets of the test before are over."""
    bench.clock.skip(61.0)


@pytest.fixture(scope="module")
def misplaced(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The same provider behind a gateway with a wrong credential."""
    environ = bench.vendor.environ(bench.server) | {bench.vendor.key_env: "sk-wrong.key0"}
    with (
        running(tmp_path_factory.mktemp("bad"), environ) as gateway,
        openai.OpenAI(base_url=gateway.v1, api_key="any", max_retries=0) as client,
    ):
        yield Bench(bench.vendor, bench.server, gateway, client, bench.clock)


@pytest.fixture(params=["generate", "edit"])
def route(request: pytest.FixtureRequest, bench: Bench) -> str:
    """Both routes, where the provider edits."""
    if request.param == "edit" and bench.vendor.edits is None:
        pytest.skip("the provider has no edits")
    found: str = request.param
    return found
