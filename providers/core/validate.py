"""Every violation of a request against a model spec, at once."""

from __future__ import annotations

from providers.core.decide import decide
from providers.core.errors import Violation
from providers.core.spec import ModelSpec
from providers.core.types import ImageRequest


def validate(request: ImageRequest, spec: ModelSpec) -> tuple[Violation, ...]:
    """All that is wrong; empty when `plan` can plan the request."""
    return decide(request, spec).violations
