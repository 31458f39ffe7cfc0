"""What a ledger row holds of tasks that an upstream works on, so that another process can bring their images.

No prompt, no key and no byte of an image: of each call what its answer is read with, of the plan what its delivery
needs. A mask that the gateway does itself needs the caller's picture: its images cannot be delivered from a row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from app.auth import Caller
from app.configured import Configured
from app.fallback import Way
from app.ledger import Entry
from app.registry import Route
from app.ticket import Ticket
from providers.core.errors import ModelNotFound
from providers.core.fate import Fate, honoured
from providers.core.http import HTTPRequest
from providers.core.options import Text
from providers.core.output import Output
from providers.core.plan import Adjustment, Call, Kind, Plan
from providers.core.provider import Poll
from providers.core.sizes import Resolution
from providers.core.spec import ModelSpec
from providers.core.types import (
    AUTO,
    AskedSize,
    AspectRatio,
    ImageFormat,
    ImageRequest,
    InputImage,
    Operation,
    ResponseFormat,
    Size,
)
from providers.kit.journal import Accepted

FORM: Final = 1  # of the text; one that another release wrote otherwise is left to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """A request whose gateway is gone, ready to be carried on. `tasks` are by the index of their call."""

    ticket: Ticket
    way: Way
    entry: Entry
    tasks: Mapping[int, Accepted]
    deliverable: bool


def written(ticket: Ticket, way: Way, tasks: Iterable[Accepted], noted: tuple[Adjustment, ...] = ()) -> str | None:
    """The text for a row; None while there is no task that can be asked for by its address alone.

    `noted` is what became of the request beyond its plan.
    """
    route, plan = way
    form = ticket.form or route.spec.response_format
    found = [_task(task) for task in tasks if task.poll.request.body is None]
    document = {
        "form": FORM,
        "response_format": form.value,
        "deliverable": not plan.composite,
        "output": {**_shown(plan.output), "format": plan.output.format and plan.output.format.value},
        "sized": any(fate.param == "size" and fate.fate is Fate.HONOURED for fate in plan.fates),
        "adjustments": [[each.param, each.kind.value, each.asked, each.used] for each in (*plan.adjustments, *noted)],
        "calls": [_call(call) for call in plan.calls],
        "tasks": found,
    }
    return json.dumps(document) if found else None


def read(entry: Entry, configured: Configured, started: float, seconds: float) -> Resumption | None:
    """What a row comes to under this config; None when this gateway cannot ask for it."""
    caller = Caller(id=entry.caller, name=entry.caller_name)
    request = ImageRequest(operation=Operation(entry.operation), prompt="", model=entry.model)
    try:
        document = json.loads(entry.tasks or "{}")
        if not isinstance(document, dict) or document.get("form") != FORM:
            return None
        route = configured.registry.resolve(request, caller)
        plan = _plan(document, entry, route.spec)
        tasks = _tasks(document, plan, route)
    except (ModelNotFound, ValueError, KeyError, TypeError):
        return None
    if route.spec.id != entry.model or not tasks:
        return None
    ticket = Ticket(
        request_id=entry.request_id,
        caller=caller,
        request=request,
        form=ResponseFormat(document["response_format"]),
        configured=configured,
        started=started,
        seconds=seconds,
        label=entry.label,
        fingerprint=entry.fingerprint,
        idempotency=entry.idempotency,
    )
    way = replace(route, asked=entry.model_asked), plan
    return Resumption(ticket=ticket, way=way, entry=entry, tasks=tasks, deliverable=document["deliverable"])


def _shown(output: Output) -> dict[str, Any]:
    return {"compression": output.compression, "convert": output.convert, "flatten": output.flatten}


def _task(task: Accepted) -> dict[str, Any]:
    return {
        "call": task.call.index,
        "deployment": task.deployment.label,
        "method": task.poll.request.method,
        "url": task.poll.request.url,
        "headers": dict(task.poll.request.headers),
        "after": task.poll.after,
        "id": task.poll.task_id,
    }


def _call(call: Call) -> dict[str, Any]:
    """Free text among the options is the caller's, as its prompt is."""
    rules = {name: call.spec.option(name, call.operation) for name in call.options}
    return {
        "n": call.n,
        "index": call.index,
        "quality": call.quality,
        "wire": None if call.resolution.wire is None else str(call.resolution.wire),
        "pixels": None if call.resolution.pixels is None else str(call.resolution.pixels),
        "tier": call.resolution.tier,
        "options": {name: value for name, value in call.options.items() if not isinstance(rules[name], Text)},
        "images": [[image.format.value, image.width, image.height] for image in call.images],
    }


def _plan(document: Mapping[str, Any], entry: Entry, spec: ModelSpec) -> Plan:
    output = document["output"]
    calls = tuple(_read_call(each, spec, Operation(entry.operation)) for each in document["calls"])
    return Plan(
        spec=spec,
        operation=Operation(entry.operation),
        calls=calls,
        n=sum(call.n for call in calls),
        fates=(honoured("size"),) if document["sized"] else (),
        adjustments=tuple(
            Adjustment(param=param, kind=Kind(kind), asked=asked, used=used)
            for param, kind, asked, used in document["adjustments"]
        ),
        output=Output(**{**output, "format": output["format"] and ImageFormat(output["format"])}),
        cost=entry.cost,
        quality=calls[0].quality,
    )


def _read_call(document: Mapping[str, Any], spec: ModelSpec, operation: Operation) -> Call:
    pixels = document["pixels"]
    return Call(
        spec=spec,
        operation=operation,
        prompt="",
        n=document["n"],
        resolution=Resolution(
            wire=_wire(document["wire"]), pixels=Size.parse(pixels) if pixels else None, tier=document["tier"]
        ),
        quality=document["quality"],
        options=document["options"],
        images=tuple(
            InputImage(data=b"", format=ImageFormat(kind), width=width, height=height)
            for kind, width, height in document["images"]
        ),
        index=document["index"],
    )


def _wire(text: str | None) -> AskedSize | None:
    return None if text is None else Size.parse(text) or AspectRatio.parse(text) or AUTO


def _tasks(document: Mapping[str, Any], plan: Plan, route: Route) -> dict[int, Accepted]:
    """Those whose account is still there, under its name."""
    accounts = {deployment.label: deployment for deployment in route.deployments}
    calls = {call.index: call for call in plan.calls}
    return {
        task["call"]: Accepted(
            deployment=accounts[task["deployment"]],
            call=calls[task["call"]],
            poll=Poll(
                request=HTTPRequest(method=task["method"], url=task["url"], headers=task["headers"]),
                after=task["after"],
                task_id=task["id"],
            ),
        )
        for task in document["tasks"]
        if task["deployment"] in accounts
    }
