"""Judge a request against a model spec: every parameter ends in exactly one of six fates.

`validate` reads the rejected ones and `plan` the rest, so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from providers.core import inputs, judges, output
from providers.core.errors import Violation
from providers.core.fate import Decision, Fate
from providers.core.inputs import Fit
from providers.core.output import Output
from providers.core.sizes import Resolution
from providers.core.spec import ModelSpec
from providers.core.types import ImageRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Every parameter's fate and, where nothing is rejected, what the model will be told."""

    fates: tuple[Decision, ...]
    n: int
    resolution: Resolution
    quality: str | None
    options: Mapping[str, Any]
    output: Output
    composite: bool
    mask_remade: bool
    fits: tuple[Fit | None, ...]
    partial_images: int

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Everything that is wrong with the request, at once."""
        return tuple(decision.violation for decision in self.fates if decision.violation)


def decide(request: ImageRequest, spec: ModelSpec) -> Decisions:
    """Judge `request` against `spec` under the request's policy."""
    quality = judges.quality(request, spec)
    fitting = inputs.judge(request, spec)
    first = fitting.fits[0] if fitting.fits else None
    mask = judges.mask(request, spec, first.size if first else None)
    sized = judges.size_around_mask if mask.value else judges.size
    size = sized(request, spec, quality.value)
    words = spec.quality_rule(request.operation)
    if words and words.tiers:
        quality = judges.as_drawn(quality, size.value)
    count = judges.n(request, spec)
    partials = judges.partial_images(request, spec)
    encoding = output.judge(request, spec)
    chosen, options = judges.options(request, spec)
    fates = (
        judges.operation(request, spec),
        judges.prompt(request, spec),
        *fitting.fates,
        *(judged.decision for judged in (mask, quality, size, count, partials)),
        *encoding.fates,
        *options,
        *judges.plain(request),
        *judges.unknown(request),
    )
    found = tuple(decision for decision in fates if decision)
    return Decisions(
        fates=tuple(judges.unemulated(fate, spec) for fate in found) if request.forbid_emulation else found,
        n=count.value,
        resolution=size.value,
        quality=quality.value,
        options={**chosen, **encoding.options},
        output=encoding.output,
        composite=mask.value,
        mask_remade=_remade(request, spec, mask.decision),
        fits=fitting.fits,
        partial_images=partials.value,
    )


def _remade(request: ImageRequest, spec: ModelSpec, fate: Decision | None) -> bool:
    """Whether the model gets another mask than the caller's file: of plain alpha, another size, or white holes."""
    if request.mask is None or fate is None or fate.fate not in {Fate.MAPPED, Fate.HONOURED}:
        return False
    return fate.fate is Fate.MAPPED or bool(spec.inputs and spec.inputs.white_mask)
