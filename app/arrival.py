"""A request at the image routes, as it arrived: what of HTTP its handlers read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.types import Receive


@dataclass(frozen=True, slots=True)
class Arrival:
    """`headers` by name in lower case; `label` is the request id; `model` the one that the path names.

    `state` is what the layers outside of the handler read afterwards.
    """

    headers: Mapping[str, str]
    receive: Receive
    label: str
    state: dict[str, Any]
    model: str = ""

    @classmethod
    def of(cls, request: Request) -> Arrival:
        """What came by way of FastAPI."""
        state: dict[str, Any] = request.scope["state"]
        model = request.path_params.get("model", "")
        return cls(named(request.scope["headers"]), request.receive, state["request_id"], state, model)


def named(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name; of several with one name the first counts."""
    found: dict[str, str] = {}
    for name, value in headers:
        found.setdefault(str(name, "latin-1"), str(value, "latin-1"))
    return found
