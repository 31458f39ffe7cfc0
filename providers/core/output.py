"""The judge of the picture's encoding: output_format, output_compression and background belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from providers.core.fate import Decision, Fate, became, honoured, quoted, rejected
from providers.core.spec import ModelSpec
from providers.core.types import ImageFormat, ImageRequest, Policy

SERVED = (ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP)
FULL = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The encoding the caller gets: None is whatever the model makes. `convert` and `flatten` are the gateway's."""

    format: ImageFormat | None = None
    compression: int | None = None
    convert: bool = False
    flatten: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The verdict: what is sent upstream (`options`), what the gateway does (`output`), and every fate."""

    options: Mapping[str, Any]
    output: Output
    fates: tuple[Decision, ...]


def judge(request: ImageRequest, spec: ModelSpec) -> Encoding:
    """Decide the encoding: asked of the model where it can, converted by the gateway where it cannot."""
    asked = request.output_format
    native = asked is None or asked in spec.output.formats
    fixed = asked is not None and spec.output.formats == (asked,)
    compression = request.output_compression
    lossy = (asked or spec.output.formats[0]) is not ImageFormat.PNG
    squeezed = compression not in (None, FULL) and lossy and 0 <= (compression or 0) <= FULL
    native_compression = spec.output.compression and native
    convert = not native or (squeezed and not native_compression)
    background = _background(request, spec)
    sent: dict[str, Any] = {}
    if asked and native and not fixed:
        sent["output_format"] = asked.value
    if squeezed and native_compression:
        sent["output_compression"] = compression
    if background and background.fate is Fate.HONOURED:
        sent["background"] = request.background
    output = Output(
        # Some models draw PNG where their row says JPEG, and nothing of a PNG can be squeezed.
        format=asked or (spec.output.formats[0] if squeezed and convert else None),
        compression=compression if squeezed else None,
        convert=convert,
        flatten=background is not None and background.fate is Fate.EMULATED,
    )
    fates = (_format(asked, native), _compression(request, spec, lossy=lossy), background)
    return Encoding(options=sent, output=output, fates=tuple(fate for fate in fates if fate))


def _format(asked: ImageFormat | None, native: bool) -> Decision | None:
    if asked is None:
        return None
    if asked not in SERVED:
        message = f"'output_format' was {quoted(asked)}; allowed: {', '.join(SERVED)}."
        return rejected("output_format", message)
    return honoured("output_format") if native else became("output_format", Fate.EMULATED, asked, asked)


def _compression(request: ImageRequest, spec: ModelSpec, *, lossy: bool) -> Decision | None:
    asked = request.output_compression
    if asked is None:
        return None
    if asked == FULL and not (spec.output.compression and lossy):
        return became("output_compression", Fate.DEFAULTED, FULL, FULL)
    if 0 <= asked <= FULL and lossy:
        own = spec.output.compression
        return honoured("output_compression") if own else became("output_compression", Fate.EMULATED, asked, asked)
    if request.policy is Policy.LENIENT:
        return became("output_compression", Fate.DROPPED, asked)
    why = "0 to 100 are allowed." if lossy else "it needs 'output_format' jpeg or webp."
    nearest = str(min(max(asked, 0), FULL)) if lossy else None
    return rejected("output_compression", f"'output_compression' is {asked}; {why}", nearest=nearest)


def _background(request: ImageRequest, spec: ModelSpec) -> Decision | None:
    asked = request.background
    rule = spec.option("background", request.operation)
    transparent = asked == "transparent"
    jpeg = request.output_format is ImageFormat.JPEG
    if asked is None or (rule and rule.accepts(asked) and not (transparent and jpeg)):
        return honoured("background") if asked else None
    if asked in {"auto", "opaque"}:
        return became("background", Fate.DEFAULTED if asked == "auto" else Fate.EMULATED, asked, asked)
    if request.policy is Policy.LENIENT:
        return became("background", Fate.DROPPED, asked if transparent else None)
    if transparent and jpeg:
        return rejected("background", "A transparent 'background' needs 'output_format' png or webp.")
    allowed = rule.describe() if rule else "opaque, auto"
    return rejected("background", f"'background' was {quoted(asked)}; {quoted(spec.id)} takes: {allowed}.")
