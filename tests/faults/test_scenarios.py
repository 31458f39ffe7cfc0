"""Every provider through every fault: what was paid, written, leased, kept and answered must agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.ledger import State
from providers.kit.images import inspect
from tests.faults.bench import Ask, Bench, Reply, benched
from tests.faults.fault import Stage
from tests.faults.proxy import Passage
from tests.faults.scenarios import PLENTY_S, SCENARIOS, Cost, Scenario, Where
from tests.matrix.vendors import VENDORS, Vendor

ROUTES = ("generate", "edit", "generate-stream")
WINDOW_S = 61.0
STATES = {
    (Cost.NOTHING, Where.NOWHERE): State.FAILED,
    (Cost.ONCE, Where.ANSWER): State.DELIVERED,
    (Cost.ONCE, Where.LATER): State.DELIVERED,
    (Cost.MAYBE, Where.NOWHERE): State.UNKNOWN,
}


@pytest.fixture(scope="module", params=VENDORS, ids=lambda vendor: vendor.name)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One gateway for each provider; its clock does not wait for retries."""
    vendor: Vendor = request.param
    with benched(vendor, tmp_path_factory.mktemp(vendor.name)) as found:
        yield found


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_books_agree(bench: Bench, scenario: Scenario, route: str) -> None:
    """After a fault the paid calls, ledger row, leases, kept result, answer and repeat are those of the table."""
    scenario = as_told(bench, scenario, route)
    bench.clock.skip(WINDOW_S)  # what the scenario before did to breakers and budgets is over
    ask = bench.begin(scenario, route)
    rows, paid, mark = len(bench.gateway.ledger.entries), bench.server.paid, len(bench.proxy.passages)
    answer = bench.send(ask, deadline_s=scenario.deadline_s, patience_s=scenario.patience_s)
    bench.proxy.release()
    settled = bench.rows(rows)
    submits = [passage for passage in bench.proxy.passages[mark:] if passage.stage is Stage.SUBMIT]

    check_answer(scenario, answer, submits)
    assert [row.state for row in settled] == [STATES[scenario.cost, scenario.where]]
    assert settled[0].images_delivered == (scenario.cost is Cost.ONCE)
    assert settled[0].attempts == len(submits) or scenario.account
    assert bench.server.paid - paid == sum(passage.reached for passage in submits)
    assert bench.server.paid - paid <= (scenario.cost is not Cost.NOTHING)
    assert not bench.leases()
    check_afterwards(bench, scenario, ask)
    assert not bench.leases()


def as_told(bench: Bench, scenario: Scenario, route: str) -> Scenario:
    """The scenario for this provider: skipped where it means nothing; a task that is late is cancelled."""
    if route.startswith("edit") and bench.vendor.edits is None:
        pytest.skip("the provider has no edits")
    if route.endswith("stream") and not scenario.streams:
        pytest.skip("a stream is no other case")
    stages = bench.stages(route)
    if scenario.stage not in stages:
        pytest.skip(f"the provider has no {scenario.stage}")
    if scenario.where is Where.LATER and scenario.status is not None and Stage.LOOK in stages:
        return replace(scenario, cost=Cost.MAYBE, where=Where.NOWHERE)
    return scenario


def check_answer(scenario: Scenario, answer: Reply | None, submits: list[Passage]) -> None:
    """Status, envelope and headers say what happened."""
    assert len(submits) == scenario.tries
    if scenario.status is None:
        assert answer is None
        return
    assert answer is not None
    assert (answer.status, answer.code) == (scenario.status, scenario.code)
    assert ("x-should-retry" in answer.headers) == (scenario.code is not None and scenario.cost is not Cost.NOTHING)
    assert answer.headers.get("x-should-retry", "false") == "false"
    assert answer.headers.get("retry-after") == scenario.retry_after
    assert "pinhole-replayed" not in answer.headers
    if scenario.deadline_s == PLENTY_S:
        assert answer.attempts == max(len(submits), 1 if not scenario.account else 3)
    if scenario.where is Where.ANSWER:
        check_picture(answer)


def check_afterwards(bench: Bench, scenario: Scenario, ask: Ask) -> None:
    """What the same request gets once more, and what is kept: nothing is paid twice, and what was made is there."""
    if scenario.where is Where.ANSWER:
        return
    bench.script.clear()
    mark = bench.proxy.submits
    if scenario.cost is Cost.NOTHING:
        bench.clock.skip(WINDOW_S)  # a pause that the provider asked for
        again = bench.send(ask, deadline_s=PLENTY_S)
        assert again is not None
        assert "pinhole-replayed" not in again.headers
        assert again.status == (scenario.status if scenario.account else 200)
        assert bench.proxy.submits - mark == (0 if scenario.account else 1)
        return
    by_route = scenario.where is Where.NOWHERE or not (ask.edit or ask.stream)
    by_repeat = scenario.where is Where.NOWHERE or not by_route  # a picture that was had is not there for a repeat
    found = [bench.kept(ask)] if by_route else []
    found += [again] if by_repeat and (again := bench.send(ask, deadline_s=PLENTY_S)) else []

    assert found
    assert bench.proxy.submits == mark
    assert found[-1].headers.get("pinhole-replayed") == "true" or not by_repeat
    for answer in found:
        if scenario.where is Where.LATER:
            check_picture(answer)
            continue
        assert (answer.status, answer.code) == (scenario.ends or (scenario.status, scenario.code))
        assert answer.headers["x-should-retry"] == "false"


def check_picture(answer: Reply) -> None:
    """It is a success, and a sound image is in it."""
    assert answer.status == 200
    assert answer.picture
    assert inspect(answer.picture).bytes == len(answer.picture)
