"""One judge for each parameter: what becomes of it on this model, under this policy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from providers.core.fate import Decision, Fate, Judgement, became, honoured, quoted, rejected, word
from providers.core.inputs import plain_mask
from providers.core.options import SDK_DEFAULTS
from providers.core.sizes import SQUARE, TOLERANCE, OfInput, Resolution
from providers.core.spec import Inputs, Mask, ModelSpec
from providers.core.types import Auto, ImageRequest, InputImage, Operation, Policy, Size

# Options whose values are the caller's own texts, which no report repeats.
TEXTS: Final = frozenset({"negative_prompt", "search_prompt"})


def lenient(request: ImageRequest) -> bool:
    """Whether wishes that cannot be fulfilled are changed and reported instead of refused."""
    return request.policy is Policy.LENIENT


def operation(request: ImageRequest, spec: ModelSpec) -> Decision | None:
    """A model that cannot edit (or only edits) ends the request; nothing is reported otherwise."""
    if request.operation in spec.operations:
        return None
    can = "edits images only" if Operation.EDIT in spec.operations else "cannot edit images"
    return rejected("model", f"The model {quoted(spec.id)} {can}.", code="unsupported_operation")


def prompt(request: ImageRequest, spec: ModelSpec) -> Decision:
    """A prompt is never cut: it fits or ends the request, under either policy."""
    if not spec.prompt.used:
        # Clients must send one to every model; a model without prompts has its own default for it.
        return became("prompt", Fate.DEFAULTED)
    if prompt_fits(request, spec):
        return honoured("prompt")
    if not request.prompt.strip():
        return rejected("prompt", "'prompt' is required and may not be empty.", code="missing_required_parameter")
    length = spec.prompt.measure(request.prompt)
    return rejected(
        "prompt",
        f"'prompt' has {length} {spec.prompt.unit}; {quoted(spec.id)} takes at most {spec.prompt.max}.",
        code="string_above_max_length",
    )


def prompt_fits(request: ImageRequest, spec: ModelSpec) -> bool:
    """Whether the model takes it, or needs none."""
    if not spec.prompt.used:
        return True
    return bool(request.prompt.strip()) and spec.prompt.measure(request.prompt) <= spec.prompt.max


def n(request: ImageRequest, spec: ModelSpec) -> Judgement[int]:
    """Granted per request; more by fan-out where the row says so."""
    count = spec.n
    most = count.lenient if lenient(request) and count.lenient else count.per_request
    if request.stream and count.with_stream is not None:
        most = min(most, count.with_stream)
    asked = request.n
    if 1 <= asked <= most:
        fanned = asked > count.per_call
        fate = became("n", Fate.EMULATED, asked, asked) if fanned else honoured("n")
        return Judgement(asked, fate if request.n_sent or asked != 1 else None)
    used = min(max(asked, 1), most)
    if lenient(request):
        return Judgement(used, became("n", Fate.MAPPED, asked, used))
    when = " when streaming" if request.stream and count.with_stream is not None else ""
    code = "integer_below_min_value" if asked < 1 else "integer_above_max_value"
    message = f"'n' is {asked}; {quoted(spec.id)} makes 1 to {most} images per request{when}."
    return Judgement(used, rejected("n", message, code=code, nearest=str(used)))


def quality(request: ImageRequest, spec: ModelSpec) -> Judgement[str | None]:
    """The caller's word in the model's own; a word it lacks is a default, a drop or a violation."""
    asked = request.quality
    rule = spec.quality_rule(request.operation)
    unasked = rule.default if rule else None
    if asked is None:
        return Judgement(unasked)
    if rule and asked in rule.words:
        used = rule.words[asked]
        fate = honoured("quality") if used == asked else became("quality", Fate.MAPPED, asked, used)
        return Judgement(used, fate)
    if asked in SDK_DEFAULTS["quality"]:
        return Judgement(unasked, became("quality", Fate.DEFAULTED, asked, unasked))
    if lenient(request):
        nearest = rule.nearest(asked) if rule else None
        kind = Fate.MAPPED if nearest else Fate.DROPPED
        return Judgement(nearest or unasked, became("quality", kind, word(asked), nearest))
    if rule is None:
        message = f"{quoted(spec.id)} has no quality setting; 'quality' was {quoted(asked)}."
        return Judgement(None, rejected("quality", f"{message} Leave it out, or send auto or standard."))
    where = " in edits" if spec.quality and rule.words != spec.quality.words else ""
    message = f"'quality' was {quoted(asked)}; {quoted(spec.id)} takes{where}: {rule.describe()}."
    return Judgement(unasked, rejected("quality", message, nearest=rule.word(rule.nearest(asked))))


def as_drawn(judged: Judgement[str | None], drawn: Resolution) -> Judgement[str | None]:
    """What a report says of quality: the larger of the tiers that quality and pixels ask for, or open."""
    decision, tier = judged.decision, drawn.tier
    if tier is None and isinstance(drawn.wire, Auto) and decision is not None and decision.fate is Fate.MAPPED:
        said = honoured("quality") if decision.asked == "auto" else replace(decision, used="auto")
        return Judgement(judged.value, said)
    if tier is None or decision is None or decision.fate is Fate.REJECTED or judged.value == tier:
        return judged
    return Judgement(tier, replace(decision, used=tier))


def size(request: ImageRequest, spec: ModelSpec, own_quality: str | None) -> Judgement[Resolution]:
    """The rule's answer; else the nearest for an SDK default or a lenient caller; else a violation."""
    rule = spec.size_rule(request.operation)
    if request.images and isinstance(rule, OfInput):
        rule = rule.around(request.images[0].size)
    asked = request.size
    # Pixels choose their own tier unless a quality was asked as well.
    chosen_by_pixels = isinstance(asked, Size) and request.quality is None
    words = spec.quality_rule(request.operation)
    tier = own_quality if words and words.tiers and not chosen_by_pixels else None
    answer = rule.resolve(asked, tier)
    if asked is None:
        return Judgement(answer or rule.nearest(SQUARE, tier))
    if answer is not None:
        # `exact` says that the caller gets the very thing; the tier that quality asked for is quality's report.
        exact = answer.exact or (answer.wire == asked and not isinstance(asked, Size))
        fate = honoured("size") if exact else became("size", Fate.MAPPED, str(asked), str(answer))
        return Judgement(answer, fate)
    nearest = rule.nearest(asked, tier)
    if asked == SQUARE:
        return Judgement(nearest, became("size", Fate.DEFAULTED, str(asked), str(nearest)))
    if lenient(request):
        return Judgement(nearest, became("size", Fate.MAPPED, str(asked), str(nearest)))
    message = f"'size' was {quoted(asked)}; {quoted(spec.id)} takes: {rule.describe()}."
    return Judgement(nearest, rejected("size", message, nearest=str(nearest)))


def size_around_mask(request: ImageRequest, spec: ModelSpec, own_quality: str | None) -> Judgement[Resolution]:
    """An edit that is put back into its input has the input's size; the model is asked for none."""
    drawn, asked = request.images[0].size, request.size
    unasked = size(replace(request, size=None), spec, own_quality)
    if asked is None:
        return unasked
    if asked in {drawn, drawn.ratio}:
        return Judgement(unasked.value, honoured("size"))
    shape = drawn if isinstance(asked, Auto) else asked
    kind = Fate.DEFAULTED if asked == SQUARE else Fate.MAPPED
    if kind is Fate.DEFAULTED or lenient(request) or drawn.ratio.distance(shape) <= TOLERANCE:
        return Judgement(unasked.value, became("size", kind, str(asked), str(drawn)))
    message = f"'size' was {quoted(asked)}; with a 'mask', {quoted(spec.id)} returns the input's own size, {drawn}."
    return Judgement(unasked.value, rejected("size", message, nearest=str(drawn)))


def options(request: ImageRequest, spec: ModelSpec) -> tuple[dict[str, Any], list[Decision]]:
    """The parameters that rows describe one by one: the values to send, and every fate."""
    chosen: dict[str, Any] = {}
    fates: list[Decision] = []
    for param, value in request.options.items():
        fate = option(param, value, request, spec)
        fates.append(fate)
        if fate.fate is Fate.HONOURED:
            chosen[param] = value
        elif fate.fate is Fate.MAPPED:
            chosen[param] = fate.used
    for param in sorted(spec.required - request.options.keys()):
        message = f"'{param}' is required: {quoted(spec.id)} does nothing without it."
        fates.append(rejected(param, message, code="missing_required_parameter"))
    return chosen, fates


def option(param: str, value: object, request: ImageRequest, spec: ModelSpec) -> Decision:
    """One of them."""
    rule = spec.option(param, request.operation)
    if rule and rule.accepts(value):
        return honoured(param)
    shown = str(value).lower() if isinstance(value, bool) else value if isinstance(value, int) else None
    if param not in TEXTS and shown is None:
        shown = word(value)
    if value in SDK_DEFAULTS.get(param, ()):
        return became(param, Fate.DEFAULTED, shown)
    nearest = rule.nearest(value) if rule else None
    if lenient(request):
        if isinstance(nearest, int):
            return became(param, Fate.MAPPED, shown, nearest)
        return became(param, Fate.DROPPED, shown)
    if rule is None:
        where = " in generations" if param in spec.edit_options else ""
        message = f"{quoted(spec.id)} does not support '{param}'{where}."
        return rejected(param, message, code="unknown_parameter")
    said = "" if isinstance(value, str) and len(value) > 60 else f" was {quoted(value)};"  # noqa: PLR2004 - a text is not told back
    message = f"'{param}'{said} {quoted(spec.id)} takes {rule.describe()}."
    return rejected(param, message, nearest=None if nearest is None else str(nearest))


def mask(request: ImageRequest, spec: ModelSpec, drawn: Size | None) -> Judgement[bool]:
    """A mask is done by the model or around it; it is never dropped, whatever the policy.

    `drawn` is the size that the first image is made into, and a native mask with it.
    """
    first = request.images[0] if request.images else None
    if request.mask is None:
        required = first is not None and not first.has_alpha and bool(spec.inputs and spec.inputs.mask_required)
        return Judgement(value=False, decision=_no_mask(spec) if required else None)
    if first and request.mask.size != first.size:
        message = f"'mask' is {request.mask.size} but the first image is {first.size}; they must be equal."
        return Judgement(value=False, decision=rejected("mask", message, code="invalid_mask"))
    if not request.mask.has_alpha:
        message = "'mask' has no transparent pixel: transparent means edit here."
        return Judgement(value=False, decision=rejected("mask", message, code="invalid_mask"))
    if spec.mask is Mask.NATIVE:
        return Judgement(value=False, decision=_native(request.mask, spec, drawn))
    if spec.mask is Mask.EMULATED:
        return Judgement(value=True, decision=became("mask", Fate.EMULATED))
    message = f"{quoted(spec.id)} does not support masks."
    return Judgement(value=False, decision=rejected("mask", message, code="unsupported_parameter"))


def unemulated(decision: Decision, spec: ModelSpec) -> Decision:
    """What becomes of a fate where the caller's key forbids emulation."""
    if decision.fate is not Fate.EMULATED:
        return decision
    param = decision.param
    message = f"{quoted(spec.id)} cannot do this '{param}' itself, and your key forbids emulation."
    return rejected(
        param, message, code="unsupported_parameter", nearest=str(spec.n.per_call) if param == "n" else None
    )


def _native(mask: InputImage, spec: ModelSpec, drawn: Size | None) -> Decision:
    """The model's own mask: as it is, or of its image's new size, or with its alpha in a channel of eight bits."""
    if drawn is not None and drawn != mask.size:
        return became("mask", Fate.MAPPED, str(mask.size), str(drawn))
    if plain_mask(mask, spec.inputs or Inputs()):
        return honoured("mask")
    return became("mask", Fate.MAPPED, "palette" if mask.indexed else "deep", "rgba")


def _no_mask(spec: ModelSpec) -> Decision:
    message = f"{quoted(spec.id)} needs a 'mask', or transparency in 'image', that says where to edit."
    return rejected("mask", message, code="missing_required_parameter")


def partial_images(request: ImageRequest, spec: ModelSpec) -> Judgement[int]:
    """Partial images where the model has them; `stream` itself is always honoured."""
    asked = request.partial_images
    if asked is None:
        return Judgement(0)
    if not 0 <= asked <= 3:  # noqa: PLR2004 - OpenAI's range
        used = min(max(asked, 0), 3)
        if lenient(request):
            return Judgement(min(used, spec.partial_images), became("partial_images", Fate.MAPPED, asked, used))
        message = f"'partial_images' is {asked}; 0 to 3 are allowed."
        return Judgement(0, rejected("partial_images", message, nearest=str(used)))
    if asked and not request.stream:
        if lenient(request):
            return Judgement(0, became("partial_images", Fate.DROPPED, asked))
        return Judgement(0, rejected("partial_images", "'partial_images' needs 'stream': true."))
    used = min(asked, spec.partial_images)
    fate = honoured("partial_images") if used == asked else became("partial_images", Fate.MAPPED, asked, used)
    return Judgement(used, fate)


def plain(request: ImageRequest) -> Iterator[Decision]:
    """The parameters that the gateway itself honours on every model."""
    sent = {
        "response_format": request.response_format is not None,
        "stream": request.stream,
        "user": request.user is not None,
        "safety_identifier": request.safety_identifier is not None,
    }
    yield from (honoured(param) for param, was_sent in sent.items() if was_sent)


def unknown(request: ImageRequest) -> Iterator[Decision]:
    """Fields that nobody knows."""
    for name in request.unknown:
        if lenient(request):
            yield became(name, Fate.DROPPED)
        else:
            yield rejected(name, f"Unknown parameter: {quoted(name)}.", code="unknown_parameter")
