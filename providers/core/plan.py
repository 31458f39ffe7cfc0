"""The plan: what will be sent, what it will cost, and what became of each wish. Pure, so it can be explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

from providers.core import judges
from providers.core.decide import Decisions, decide
from providers.core.errors import InvalidRequest
from providers.core.fate import Decision, Fate, Shown
from providers.core.inputs import Fit
from providers.core.options import IntRange
from providers.core.output import Output
from providers.core.sizes import Resolution
from providers.core.spec import ModelSpec
from providers.core.types import Auto, ImageRequest, InputImage, Operation, Size, nothing
from providers.core.valueclass import valueclass

LONGEST_WORD: Final = 64
DIFFERING: Final = frozenset({"seed", "negative_prompt", "search_prompt"})
_APART: Final = {"prompt", "model", "options", "unknown", "user", "safety_identifier", "images", "mask"}
_alike: Final = attrgetter(*(each.name for each in fields(ImageRequest) if each.name not in _APART))


class Kind(StrEnum):
    """How something was changed."""

    MAPPED = "mapped"
    EMULATED = "emulated"
    DEFAULTED = "defaulted"
    DROPPED = "dropped"
    DELIVERED = "delivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """One difference between what was asked and what was done. Enums, numbers and sizes only, never free text."""

    param: str
    kind: Kind
    asked: Shown = None
    used: Shown = None


@valueclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One upstream request in the model's own terms. An adapter sees this and never the caller's request.

    `resolution.wire` is the size to send (None: none), `quality` the model's own word (None: the model has none or
    the caller chose none), `options` further parameters by OpenAI's name with values that the row accepts.
    `index` counts the calls of a fan-out from 0.
    """

    spec: ModelSpec
    operation: Operation
    prompt: str
    n: int
    resolution: Resolution
    quality: str | None = None
    options: Mapping[str, Any] = field(default_factory=nothing)
    images: tuple[InputImage, ...] = field(default=(), repr=False)
    mask: InputImage | None = field(default=None, repr=False)
    stream: bool = False
    partial_images: int = 0
    end_user: str | None = None
    index: int = 0


@valueclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done: calls, adjustments, and the estimated cost in micro-dollars (None: unknown).

    `n` is how many images all calls together make, `quality` what the estimate took them to be.
    """

    spec: ModelSpec
    operation: Operation
    calls: tuple[Call, ...]
    n: int
    fates: tuple[Decision, ...]
    adjustments: tuple[Adjustment, ...]
    output: Output
    mask: InputImage | None = field(default=None, repr=False)
    fits: tuple[Fit | None, ...] = ()
    cost: int | None
    quality: str | None = None

    @property
    def composite(self) -> bool:
        """Whether the gateway does the mask around the model: `mask` is then the caller's."""
        return self.mask is not None

    @property
    def megapixels(self) -> float:
        """The area of all images together, as far as the row knows (1 megapixel each where it does not)."""
        known = self.calls[0].resolution.pixels
        return self.n * (known.pixels / 1e6 if known else 1.0)

    def charge(self, told: Mapping[str, str], sizes: Sequence[Size | None]) -> int | None:
        """The price of images of these sizes, of which an answer told this; as estimated where nothing is known."""
        prices = self.spec.prices
        if prices is None or self.cost is None or not self.n:
            return self.cost
        inputs = len(self.calls[0].images) * prices.input_image
        made = len(sizes)
        calls = -(-made * len(self.calls) // self.n)
        estimate = (self.cost - len(self.calls) * inputs) * made // self.n
        rule, chosen = self.spec.quality_rule(self.operation), self.calls[0].resolution
        size, better = Size.parse(told.get("size", "")), prices.names(told.get("quality"))
        free = chosen.wire is None or isinstance(chosen.wire, Auto)
        if (rule and rule.tiers) or chosen.tier or not (better or size or free):
            return estimate + calls * inputs
        quality = told["quality"] if better else self.quality
        known = [size or (each if free else None) or (None if _open(chosen) else chosen.pixels) for each in sizes]
        return sum(prices.image(quality, each) or 0 for each in known) + calls * inputs


def plan(request: ImageRequest, spec: ModelSpec, noted: tuple[Adjustment, ...] = ()) -> Plan:
    """Plan a request; `noted` are adjustments made before (the model's name). Raises InvalidRequest."""
    decisions = decide(request, spec)
    if decisions.violations:
        raise InvalidRequest(*decisions.violations)
    calls = _calls(request, spec, decisions)
    return Plan(
        spec=spec,
        operation=request.operation,
        calls=calls,
        n=decisions.n,
        fates=decisions.fates,
        adjustments=(*noted, *_adjustments(decisions.fates)),
        output=decisions.output,
        mask=request.mask if decisions.composite else None,
        fits=decisions.fits if any(decisions.fits) or decisions.mask_remade else (),
        cost=_cost(calls, spec, decisions),
        quality=decisions.quality,
    )


class Planner:
    """Plans, of which the part that depends on row and parameters alone is worked out once for all who ask alike.

    Callers send the same few parameters with ever new prompts. Kept are plans without images, and without what
    differs from request to request: texts, seeds, names of end users.
    """

    def __init__(self, most: int = 1024) -> None:
        """At most so many are kept."""
        self._most = most
        self._known: dict[object, _Outline] = {}

    def plan(self, request: ImageRequest, spec: ModelSpec, noted: tuple[Adjustment, ...] = ()) -> Plan:
        """The same as `plan`."""
        if request.images or request.mask or request.unknown or not DIFFERING.isdisjoint(request.options):
            return plan(request, spec, noted)
        if len(request.options.get("style", "")) > LONGEST_WORD:
            return plan(request, spec, noted)
        alike = (spec, noted, *_alike(request), *request.options.items(), *_named(request))
        known = self._known.get(alike)
        if known is None:
            made = plan(request, spec, noted)
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[alike] = _Outline(made)
            return made
        return known.plan(request) if judges.prompt_fits(request, spec) else plan(request, spec, noted)


def _named(request: ImageRequest) -> tuple[bool, bool]:
    return request.user is None, request.safety_identifier is None


class _Outline:
    """A plan without its prompt and end user, as the fields that its like are made of."""

    __slots__ = ("_calls", "_rest")

    def __init__(self, made: Plan) -> None:
        self._rest = {each.name: getattr(made, each.name) for each in fields(Plan) if each.name != "calls"}
        shared = [each.name for each in fields(Call) if each.name not in {"prompt", "end_user"}]
        self._calls = [{name: getattr(call, name) for name in shared} for call in made.calls]

    def plan(self, request: ImageRequest) -> Plan:
        """The plan of a request that asks alike."""
        prompt, end_user = request.prompt, request.end_user
        calls = [Call(**call, prompt=prompt, end_user=end_user) for call in self._calls]
        return Plan(**self._rest, calls=tuple(calls))


def _cost(calls: Sequence[Call], spec: ModelSpec, decisions: Decisions) -> int | None:
    """The estimate in micro-dollars: one image of this quality and size, times n; inputs are paid with each call."""
    if spec.prices is None:
        return None
    rule = spec.quality_rule(calls[0].operation)
    quality = decisions.resolution.tier if rule and rule.tiers else decisions.quality
    chosen = decisions.resolution
    each = spec.prices.image(quality, None if _open(chosen) else chosen.pixels)
    inputs = sum(len(call.images) for call in calls)
    return None if each is None else decisions.n * each + inputs * spec.prices.input_image


def _open(chosen: Resolution) -> bool:
    """Whether the model chooses the size."""
    return isinstance(chosen.wire, Auto) and chosen.tier is None


def _adjustments(fates: tuple[Decision, ...]) -> tuple[Adjustment, ...]:
    changed = (fate for fate in fates if fate.fate not in {Fate.HONOURED, Fate.REJECTED})
    return tuple(
        Adjustment(param=fate.param, kind=Kind(fate.fate.value), asked=fate.asked, used=fate.used) for fate in changed
    )


def _calls(request: ImageRequest, spec: ModelSpec, decisions: Decisions) -> tuple[Call, ...]:
    rule = spec.quality_rule(request.operation)
    said = rule is not None and rule.sent and (request.quality is not None or rule.unasked)
    quality = decisions.quality if said else None
    whole = Call(
        spec=spec,
        operation=request.operation,
        prompt=request.prompt,
        n=decisions.n,
        resolution=decisions.resolution,
        quality=quality,
        options=decisions.options,
        images=request.images,
        mask=None if decisions.composite else request.mask,
        stream=request.stream and spec.streams and decisions.n <= spec.n.per_call,
        partial_images=decisions.partial_images,
        end_user=request.end_user,
    )
    most = spec.n.per_call
    starts = range(0, decisions.n, most)
    return tuple(
        replace(whole, n=min(most, decisions.n - start), index=i, options=_offset(whole.options, spec, start))
        for i, start in enumerate(starts)
    )


def _offset(options: Mapping[str, Any], spec: ModelSpec, by: int) -> Mapping[str, Any]:
    """Seeds of a fan-out differ, else the same picture would be bought several times."""
    rule = spec.options.get("seed")
    if not by or "seed" not in options or not isinstance(rule, IntRange):
        return options
    span = rule.high - rule.low + 1
    return {**options, "seed": rule.low + (options["seed"] - rule.low + by) % span}
