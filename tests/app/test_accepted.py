"""What a row holds of accepted tasks, for every model: enough to deliver the answer, no words of the caller."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.auth import ANONYMOUS, Keyring
from app.config import Config
from app.configured import Configured
from app.fallback import Fallbacks
from app.ledger import Entry
from app.registry import Registry
from app.resume.accepted import read, written
from app.settings import load
from app.spending import entry_of
from app.ticket import Ticket
from providers import discover
from providers.core.http import HTTPRequest
from providers.core.plan import Plan, plan
from providers.core.provider import Poll
from providers.core.spec import ModelSpec
from providers.core.types import AspectRatio, ImageFormat, ImageRequest, InputImage, Operation, Policy, Size
from providers.kit.journal import Accepted

KEYS = ("OPENAI_API_KEY", "GEMINI_API_KEY", "DASHSCOPE_API_KEY", "MINIMAX_API_KEY", "ZAI_API_KEY")
ENVIRON = dict.fromkeys((*KEYS, "STABILITY_API_KEY", "REPLICATE_API_TOKEN"), "sk-secret-of-ours")
SETTINGS = load(ENVIRON)
REGISTRY = Registry(discover(), SETTINGS, Config())
CONFIGURED = Configured(
    config=Config(), registry=REGISTRY, fallbacks=Fallbacks(REGISTRY, {}), keyring=Keyring([], admin_key=None)
)
WISH = ImageRequest(
    operation=Operation.GENERATE,
    prompt="words of the caller",
    n=3,
    policy=Policy.LENIENT,
    options={"seed": 7, "negative_prompt": "more words of the caller", "search_prompt": "words"},
    output_format=ImageFormat.WEBP,
    output_compression=40,
)


def ticket_of(request: ImageRequest) -> Ticket:
    """A request on its way."""
    return Ticket(
        request_id="id",
        caller=ANONYMOUS,
        request=request,
        form=None,
        configured=CONFIGURED,
        started=0,
        seconds=60,
        label="label",
        fingerprint="print",
    )


def kept(request: ImageRequest) -> tuple[Plan, Entry]:
    """The plan of a request, and its row after every call of it was accepted."""
    ticket = ticket_of(request)
    route = REGISTRY.resolve(request, ANONYMOUS)
    planned = plan(request, route.spec, route.noted)
    poll = Poll(request=HTTPRequest(method="GET", url="/tasks/1"), after=1, task_id="1")
    tasks = [Accepted(deployment=route.deployments[0], call=call, poll=poll) for call in planned.calls]
    way = route, planned
    return planned, replace(entry_of(ticket, way, 0), tasks=written(ticket, way, tasks))


def size_of(spec: ModelSpec) -> list[Size | AspectRatio | None]:
    return [None, Size(1024, 1024), AspectRatio(16, 9)]


@pytest.mark.parametrize("spec", REGISTRY.specs, ids=str)
def test_the_calls_come_back_without_what_the_caller_wrote(spec: ModelSpec) -> None:
    """Calls, output and adjustments of a plan are the same after the row; texts and pictures are not in it."""
    if Operation.GENERATE not in spec.operations:
        pytest.skip("edits only")
    for size in size_of(spec):
        planned, entry = kept(replace(WISH, model=spec.id, size=size))
        found = read(entry, CONFIGURED, 0, 60)
        assert found is not None
        again = found.way[1]
        assert entry.tasks is not None
        assert "words" not in entry.tasks
        assert "secret" not in entry.tasks
        assert [replace(call, options=dict(call.options)) for call in again.calls] == [
            replace(
                call,
                prompt="",
                stream=False,
                resolution=replace(call.resolution, exact=True),  # what was said of it is among the adjustments
                options={name: v for name, v in call.options.items() if not name.endswith("_prompt")},
            )
            for call in planned.calls
        ]
        assert (again.output, again.adjustments, again.cost, again.n) == (
            planned.output,
            planned.adjustments,
            planned.cost,
            planned.n,
        )
        assert sorted(found.tasks) == [call.index for call in planned.calls]


def test_an_edit_keeps_how_many_pictures_it_had_and_none_of_them() -> None:
    """Prices count input images; their bytes stay out of the row."""
    picture = InputImage(data=b"colours", format=ImageFormat.PNG, width=1024, height=1024)
    request = replace(WISH, operation=Operation.EDIT, model="wan2.7-image", images=(picture,) * 2, n=1)
    _, entry = kept(request)
    found = read(entry, CONFIGURED, 0, 60)

    assert found is not None
    assert [image.size for image in found.way[1].calls[0].images] == [Size(1024, 1024)] * 2
    assert "colours" not in (entry.tasks or "")


def test_a_row_that_this_gateway_cannot_ask_for_is_left_alone(tmp_path: Path) -> None:
    """Another release's text, an account or a model that is not configured: nothing is claimed."""
    _, entry = kept(replace(WISH, model="wan2.7-image"))
    document = json.loads(entry.tasks or "")
    other = {**document, "form": 99}
    elsewhere = {**document, "tasks": [{**task, "deployment": "gone"} for task in document["tasks"]]}
    texts = [json.dumps(other), json.dumps(elsewhere), "{", "[]", "{}"]

    assert [read(replace(entry, tasks=text), CONFIGURED, 0, 60) for text in texts] == [None] * len(texts)
    assert read(replace(entry, model="unheard-of"), CONFIGURED, 0, 60) is None
