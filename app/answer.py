"""The answer of a request as a value, and what is told of it: facts, usage, headers, adjustments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Final

from app.delivery import Delivered
from app.errors import envelope, header_text
from app.limiter import Standing, Unit
from app.registry import Route
from providers.core.errors import PinholeError
from providers.core.plan import Adjustment, Kind, Plan
from providers.core.prices import MICRO, Usage
from providers.core.spec import ModelSpec
from providers.core.types import AspectRatio, Auto, Size
from providers.core.valueclass import valueclass

ROUNDED: Final = 0.05
HEADER_BYTES: Final = 2048
INTEGERS: Final = 10**15  # RFC 9651, 3.3.1: at most fifteen digits
SHOWN: Final = (Unit.REQUESTS, Unit.IMAGES)
_SHOWN: Final = ("limit", "remaining", "reset")
_NAMES: Final = {unit: tuple(f"x-ratelimit-{what}-{unit}" for what in _SHOWN) for unit in SHOWN}
_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9_.*-]{0,63}")


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that was not made, for the caller to read beside those that were."""

    code: str
    message: str

    @classmethod
    def of(cls, error: PinholeError) -> Failure:
        """Named as it would have been, had it been alone."""
        shown = envelope(error)["error"]
        return cls(str(shown["code"]), str(shown["message"]))


@valueclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """All that a caller gets for a request that made images. `cost` is micro-dollars, None when unknown."""

    created: int
    route: Route
    plan: Plan
    images: tuple[Delivered, ...]
    failures: tuple[Failure, ...]
    usage: Usage | None
    resolved: Mapping[str, str]
    adjustments: tuple[Adjustment, ...]
    cost: int | None
    attempts: int
    upstream_request_ids: tuple[str, ...]
    standings: tuple[Standing, ...]

    @property
    def megapixels(self) -> float:
        """The area that was really delivered."""
        return sum(image.size.pixels for image in self.images if image.size) / 1e6


def delivered_adjustments(plan: Plan, images: tuple[Delivered, ...], shown: int = 0) -> tuple[Adjustment, ...]:
    """What is known only at the end: fewer images (or partial ones, `shown`) than asked, another size than asked."""
    found = []
    if len(images) < plan.n:
        found.append(Adjustment(param="n", kind=Kind.DELIVERED, asked=plan.n, used=len(images)))
    if shown < (rough := plan.calls[0].partial_images):
        found.append(Adjustment(param="partial_images", kind=Kind.DELIVERED, asked=rough, used=shown))
    expected = _expected(plan)
    if expected:
        others = [image.size for image in images if image.size and not _is(expected, image.size)]
        if others:
            found.append(Adjustment(param="size", kind=Kind.DELIVERED, asked=str(expected), used=str(others[0])))
    if any(image.stripped for image in images):
        found.append(Adjustment(param="content_credentials", kind=Kind.DROPPED))
    return tuple(found)


def _expected(plan: Plan) -> Size | AspectRatio | None:
    """The size, or shape, that the caller wished and the model was asked for."""
    wire = plan.calls[0].resolution.wire
    if wire is None or isinstance(wire, Auto) or plan.composite:
        return None
    return wire if any(fate.param == "size" for fate in plan.fates) else None


def _is(expected: Size | AspectRatio, size: Size) -> bool:
    """Whether a picture is what was asked for; the pixels of a shape are the model's own, and round it."""
    return expected.distance(size) <= ROUNDED if isinstance(expected, AspectRatio) else expected == size


def facts(answer: Answer) -> dict[str, str]:
    """`size`, `quality`, `background`, `output_format` as they really are; left out where nobody knows."""
    found: dict[str, str] = {}
    sizes = {image.size for image in answer.images}
    formats = {image.format for image in answer.images}
    if len(sizes) == 1 and (size := next(iter(sizes))):
        found["size"] = str(size)
    quality = answer.resolved.get("quality") or answer.plan.calls[0].quality
    if quality and quality != "auto":
        found["quality"] = quality
    background = answer.resolved.get("background") or answer.plan.calls[0].options.get("background")
    if answer.plan.output.flatten:
        background = "opaque"
    if background in {"transparent", "opaque"}:
        found["background"] = background
    if len(formats) == 1:
        found["output_format"] = str(next(iter(formats)))
    return found


def usage_document(usage: Usage, images: tuple[Delivered, ...]) -> dict[str, Any]:
    """OpenAI's usage, complete, and the r9s SDK's names beside it as integers."""
    size, came, went = images[0].size if images else None, usage.input_tokens, usage.output_tokens
    return {
        "input_tokens": came,
        "output_tokens": went,
        "total_tokens": came + went,
        "input_tokens_details": {"text_tokens": usage.input_text, "image_tokens": usage.input_image},
        "output_tokens_details": {"image_tokens": usage.output_image, "text_tokens": usage.output_text},
        "prompt_tokens": came,
        "image_tokens": usage.output_image,
        "input_text_tokens": usage.input_text,
        "output_image_tokens": usage.output_image,
        "width": size.width if size else 0,
        "height": size.height if size else 0,
        "image_count": len(images),
    }


def adjustments_header(adjustments: tuple[Adjustment, ...]) -> str:
    """An RFC 9651 list, one member for each changed parameter; members beyond 2 KiB are left out."""
    text = ""
    for adjustment in adjustments:
        member = _member(adjustment)
        if len(text) + len(member) + 2 > HEADER_BYTES:
            break
        text = f"{text}, {member}" if text else member
    return text


def shown(param: str) -> str:
    """A parameter's name as a token; `unknown` for what is none, as any caller can send any name."""
    return param if _TOKEN.fullmatch(param) else "unknown"


def _member(adjustment: Adjustment) -> str:
    member = f"{shown(adjustment.param)};kind={adjustment.kind}"
    for key, value in (("from", adjustment.asked), ("to", adjustment.used)):
        if value is not None:
            bare = isinstance(value, int) and abs(value) < INTEGERS
            member += f";{key}={value}" if bare else f';{key}="{_printable(str(value))}"'
    return member


def _printable(text: str) -> str:
    kept = "".join(c for c in text if " " <= c <= "~")
    return kept.replace("\\", "\\\\").replace('"', '\\"')[:64]


def headers(answer: Answer) -> dict[str, str]:
    """The headers of a success, but for the request id, the time it took and where the limits stand."""
    found = {**served(answer.route), "pinhole-attempts": str(answer.attempts)}
    if answer.cost is not None:
        found["pinhole-cost-usd"] = f"{answer.cost / MICRO:.6f}"
    if text := adjustments_header(answer.adjustments):
        found["pinhole-adjustments"] = text
    if answer.upstream_request_ids:
        joined = ",".join(answer.upstream_request_ids)
        found["pinhole-upstream-request-id"] = header_text(joined)
    return found


def served(route: Route) -> Mapping[str, str]:
    """Who serves it, and how long still."""
    return _served(route.provider, route.spec)


@lru_cache(maxsize=512)  # as many as there are rows
def _served(provider: str, spec: ModelSpec) -> Mapping[str, str]:
    return {"pinhole-provider": provider, "pinhole-model": spec.id, **lifecycle(spec)}


def lifecycle(spec: ModelSpec) -> dict[str, str]:
    """`Deprecation` (RFC 9745) and `Sunset` (RFC 8594) of a model that its provider retires or has retired."""
    found = {}
    if since := spec.deprecated_on or spec.retired_on:
        found["deprecation"] = f"@{_midnight(since)}"
    if spec.retired_on:
        found["sunset"] = f"{spec.retired_on:%a, %d %b %Y} 00:00:00 GMT"
    return found


def _midnight(day: date) -> int:
    return (day.toordinal() - 719163) * 86400


@lru_cache(maxsize=256)
def _shown(limit: float) -> str:
    return f"{limit:g}"


def limits(standings: tuple[Standing, ...]) -> dict[str, str]:
    """`x-ratelimit-*` of the tightest limit in force, and IETF's `RateLimit`; nothing where there is none."""
    tightest: dict[Unit, Standing] = {}
    for standing in standings:
        known = tightest.get(standing.unit)
        if known is None or standing.remaining < known.remaining:
            tightest[standing.unit] = standing
    found: dict[str, str] = {}
    policies, states = [], []
    for unit in SHOWN:
        if mine := tightest.get(unit):
            limit, left, until = _NAMES[unit]
            most = _shown(mine.limit)
            remaining, reset = str(int(mine.remaining)), str(-int(-mine.reset // 1))
            found[limit], found[left], found[until] = most, remaining, reset
            policies.append(f'"{unit}";q={most};w=60')
            states.append(f'"{unit}";r={remaining};t={reset}')
    if states:
        # draft-ietf-httpapi-ratelimit-headers-10, structured fields.
        found |= {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(states)}
    return found
