"""The sandbox: a provider that draws in this process, with no key and no network.

It serves every catalogued model under that model's own row when the gateway runs with PINHOLE_SANDBOX, and always
its own models: `sandbox/canvas` draws, the others let an application test how it meets failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from types import MappingProxyType
from typing import Any, Final

from providers.core.errors import Refused, UpstreamError, UpstreamFailure, UpstreamRateLimited
from providers.core.http import JSON, Event, HTTPRequest, HTTPResponse
from providers.core.options import Choice, Flag, IntRange, Text, openai_quality
from providers.core.plan import Call
from providers.core.prices import Prices, Usage
from providers.core.provider import Access, Completed, Failed, Image, LocalProvider, Outcome, Partial
from providers.core.sizes import PixelBounds
from providers.core.spec import PNG_JPEG_WEBP, ImageCount, Inputs, Mask, ModelSpec, Output, PromptLimit
from providers.core.types import Operation, Size

NAME: Final = "sandbox"
SLOW_SECONDS: Final = 20.0
SQUARE: Final = Size(1024, 1024)


def _row(behaviour: str, note: str, *, per_call: int = 10) -> ModelSpec:
    return ModelSpec(
        id=f"{NAME}/{behaviour}",
        provider=NAME,
        source="this file",
        checked=date(2026, 11, 23),
        created=date(2026, 11, 23),
        operations=frozenset(Operation),
        prompt=PromptLimit(32_000),
        sizes=PixelBounds(min_edge=64, max_edge=4096, min_pixels=4096, max_pixels=2**24, auto=True),
        n=ImageCount(per_request=10, per_call=per_call),
        quality=openai_quality("low", "medium", "high", "xhigh", "max"),
        options={
            "background": Choice.of("transparent", "opaque", "auto"),
            "style": Choice.of("vivid", "natural"),
            "negative_prompt": Text(32_000),
            "seed": IntRange(0, 2**32 - 1),
            "prompt_extend": Flag(),
            "watermark": Flag(),
            "moderation": Choice.of("auto", "low"),
            "input_fidelity": Choice.of("low", "high"),
        },
        inputs=Inputs(count=16, indexed=True),
        mask=Mask.NATIVE,
        streams=True,
        partial_images=3,
        output=Output(formats=PNG_JPEG_WEBP, compression=True),
        prices=Prices.flat(0.0, source="this file", checked=date(2026, 11, 23)),
        endpoint=behaviour,
        note=note,
    )


MODELS: Final = (
    _row("canvas", "Draws at once, the same picture for the same prompt, size and seed."),
    _row("refuse", "Refuses every prompt, as moderation does."),
    _row("rate-limited", "Always says: too fast, come back in 7 seconds."),
    _row("error", "Always fails, as a broken upstream does."),
    _row("slow", f"Draws after {SLOW_SECONDS:.0f} seconds."),
    _row("partial", "Of several images, the second is always missing.", per_call=1),
)


class Sandbox:
    """Draws with Pillow. The behaviour of its own models stands in the row's `endpoint`."""

    name = NAME
    models = MODELS
    failures: Mapping[str, type[UpstreamFailure]] = MappingProxyType({})
    access = Access()

    def request(self, call: Call) -> HTTPRequest:
        """What is drawn, for explain: nothing is sent anywhere."""
        document = {"model": call.spec.id, "prompt": call.prompt, "n": call.n, "size": str(_size(call))}
        return HTTPRequest(method="DRAW", url="sandbox:canvas", body=JSON({**document, **call.options}))

    def outcome(self, call: Call, response: HTTPResponse) -> Outcome:  # noqa: ARG002 - the protocol's
        return Failed(UpstreamError("The sandbox has no upstream.", provider=NAME))

    def event(self, call: Call, event: Event) -> Partial | Completed | Failed | None:  # noqa: ARG002 - the protocol's
        return None

    def perform(self, call: Call) -> Iterator[Partial | Completed | Failed | float]:
        """The states of one call: its partial images while streaming, then all of its images."""
        behaviour = call.spec.endpoint if call.spec.provider == NAME else "canvas"
        failure = _failure(behaviour, call)
        if failure is not None:
            yield Failed(failure)
            return
        if behaviour == "slow":
            yield SLOW_SECONDS
        pictures = [_picture(call, index) for index in range(call.n)]
        if call.stream:
            yield from _partials(call, pictures[0])
        images = tuple(Image(content=_encode(call, picture)) for picture in pictures)
        yield Completed(images=images, usage=_usage(call), resolved=_resolved(call))


def _failure(behaviour: str, call: Call) -> Refused | UpstreamRateLimited | UpstreamError | None:
    if behaviour == "refuse":
        message = "The sandbox refuses this prompt, as you asked it to."
        return Refused(message, provider=NAME, stage="input", upstream_code="sandbox_refusal")
    if behaviour == "rate-limited":
        return UpstreamRateLimited("The sandbox is asked too often, as you wished.", provider=NAME, retry_after=7)
    if behaviour == "error" or (behaviour == "partial" and call.index == 1):
        return UpstreamError("The sandbox failed, as you asked it to.", provider=NAME, billed=False)
    return None


def _size(call: Call) -> Size:
    if call.resolution.pixels and call.operation is Operation.GENERATE:
        return call.resolution.pixels
    first = call.images[0].size if call.images else SQUARE
    if call.mask is not None or call.resolution.wire is None:
        return first
    return call.resolution.pixels or first


def _painting(call: Call, index: int) -> Any:
    from providers.sandbox.painter import Painting  # noqa: PLC0415 - Pillow costs memory that most gateways never need

    size = _size(call)
    seed = call.options.get("seed")
    return Painting(
        prompt=call.prompt,
        model=call.spec.id,
        width=size.width,
        height=size.height,
        seed=0 if seed is None else seed,
        negative_prompt=call.options.get("negative_prompt") or "",
        quality=call.resolution.tier or call.quality or "",
        index=call.index + index,
        transparent=call.options.get("background") == "transparent",
        style=call.options.get("style") or "",
    )


def _picture(call: Call, index: int) -> Any:
    from providers.sandbox import painter  # noqa: PLC0415 - as above

    painting = _painting(call, index)
    if call.operation is Operation.GENERATE:
        return painter.paint(painting)
    inputs = [bytes(image.data) for image in call.images]
    return painter.edit(painting, inputs, bytes(call.mask.data) if call.mask else None)


def _partials(call: Call, picture: Any) -> Iterator[Partial]:
    from providers.sandbox import painter  # noqa: PLC0415 - as above

    for index, rough in enumerate(painter.rougher(picture, call.partial_images)):
        yield Partial(image=Image(content=_encode(call, rough)), index=index)


def _encode(call: Call, picture: Any) -> bytes:
    from providers.sandbox import painter  # noqa: PLC0415 - as above

    wanted = call.options.get("output_format") or call.spec.output.formats[0].value
    return painter.encode(picture, wanted, call.options.get("output_compression", 100))


def _usage(call: Call) -> Usage | None:
    """Token counts only where the model's own provider gives them: as many as cost what the row says."""
    prices = call.spec.prices
    if prices is None or prices.tokens is None:
        return None
    size = _size(call)
    each = prices.image(call.quality, size)
    return Usage(
        input_text=max(1, len(call.prompt) // 4),
        input_image=256 * len(call.images),
        output_image=call.n * (round(each / prices.tokens.output_image) if each else max(1, size.pixels // 1024)),
    )


def _resolved(call: Call) -> dict[str, str]:
    quality = call.quality if call.quality not in (None, "auto") else None
    return {"quality": quality} if quality else {}


PROVIDER: Final[LocalProvider] = Sandbox()
