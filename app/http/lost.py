"""What is said at a path or with a method that nobody serves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

ROUTES: Final = (
    "/images/generations/explain",
    "/images/edits/explain",
    "/images/generations",
    "/images/edits",
    "/models",
)
METHODS: Final = ("GET", "HEAD", "POST", "DELETE")
SHOWN: Final = 200


def nothing_at(path: str) -> str:
    """For one who asks at a path that nothing lives at: the route that was meant, where that can be seen."""
    plain = re.sub("/+", "/", path.lower()).rstrip("/")
    meant = next((route for route in ROUTES if plain.endswith(route)), None)
    if meant is not None:
        return f"Nothing lives at {path[:SHOWN]}; /v1{meant} may be meant."
    return (
        f"Nothing lives at {path[:SHOWN]}. Images are made at /v1/images/generations and /v1/images/edits; "
        "/docs tells what else there is."
    )


def allowed(routes: Iterable[BaseRoute], scope: Scope) -> str:
    """The methods of a path: it may have a route for each."""
    known = [*routes]
    return ", ".join(
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in known)
    )
