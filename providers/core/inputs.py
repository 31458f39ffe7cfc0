"""The judge of input images: what the model takes as it is, what is re-encoded for it, what it cannot take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

from providers.core.fate import Decision, Fate, became, honoured, quoted, rejected
from providers.core.spec import Inputs, ModelSpec
from providers.core.types import ImageFormat, ImageRequest, InputImage, Operation, Policy, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What an input is made into before it is sent: upright, eight bits a channel, within `max_bytes`.

    How many bytes it will have is known only then: where it `shrinks` it loses pixels until it fits, and is refused
    otherwise. With `alpha` it gets an alpha channel; `opaque` lays it on white.
    """

    format: ImageFormat
    size: Size
    max_bytes: int
    alpha: bool = False
    opaque: bool = False
    shrinks: bool = False


@dataclass(frozen=True, slots=True)
class Fitting:
    """The verdict: a fit for each image (None: it is moved as it is), and every fate."""

    fits: tuple[Fit | None, ...] = ()
    fates: tuple[Decision, ...] = ()


def judge(request: ImageRequest, spec: ModelSpec) -> Fitting:
    """Another encoding is emulated; fewer pixels only for a lenient caller, as that changes the picture."""
    if request.operation is not Operation.EDIT:
        return Fitting()
    if not request.images:
        missing = "'image' is required: send one or more files."
        return Fitting(fates=(rejected("image", missing, code="missing_required_parameter"),))
    inputs = spec.inputs or Inputs()
    problems = list(_count(request, spec, inputs))
    fits: list[Fit | None] = []
    for image in request.images:
        problems += _problems(image, inputs, request.policy)
        fits.append(_fit(image, inputs, request))
    moved = sum(len(image.data) for image, fit in zip(request.images, fits, strict=True) if fit is None)
    if too_many := together(moved, spec):
        problems.append(too_many)
    if problems:
        return Fitting((), tuple(problems))
    changes = {
        change: None for image, fit in zip(request.images, fits, strict=True) for change in _changes(image, fit)
    }
    if not changes:
        return Fitting(tuple(fits), (honoured("image"),))
    return Fitting(tuple(fits), tuple(became("image", Fate.EMULATED, was, now) for was, now in changes))


def _changes(image: InputImage, fit: Fit | None) -> Iterator[tuple[str, str]]:
    """What a fit does to an image: to its pixels' number, then to their encoding."""
    if fit is None:
        return
    if fit.size != image.size:
        yield str(image.size), str(fit.size)
    if fit.format is not image.format:
        yield image.format.value, fit.format.value
    elif image.indexed or image.deep:
        yield "palette" if image.indexed else "deep", fit.format.value
    elif fit.alpha and not image.has_alpha:
        yield "rgb", "rgba"
    elif fit.opaque and image.has_alpha:
        yield "rgba", "rgb"
    elif fit.size == image.size:
        yield image.format.value, fit.format.value


def together(total: int, spec: ModelSpec) -> Decision | None:
    """What is wrong with the bytes of all images of a call."""
    most = spec.inputs.total_bytes if spec.inputs else None
    if most is None or total <= most:
        return None
    message = f"The images have {total} bytes together; {quoted(spec.id)} takes at most {most}."
    return rejected("image", message, code="image_too_large")


def _count(request: ImageRequest, spec: ModelSpec, inputs: Inputs) -> Iterator[Decision]:
    if len(request.images) > inputs.count:
        message = f"{len(request.images)} images were sent; {quoted(spec.id)} takes at most {inputs.count}."
        yield rejected("image", message, code="too_many_images")


def _problems(image: InputImage, inputs: Inputs, policy: Policy) -> Iterator[Decision]:
    name, edges = image.name, (image.width, image.height)
    shrinks = policy is Policy.LENIENT
    if len(image.data) > inputs.max_bytes and not shrinks:
        message = f"'{name}' has {len(image.data)} bytes; at most {inputs.max_bytes} are allowed."
        yield rejected(name, message, code="image_too_large")
    elif min(edges) < inputs.min_edge or (max(edges) > inputs.max_edge and not shrinks):
        message = f"'{name}' is {image.size}; edges must be {inputs.min_edge} to {inputs.max_edge} pixels."
        yield rejected(name, message, code="invalid_image_size")
    elif image.size.pixels > inputs.max_pixels and not shrinks:
        message = f"'{name}' has {image.size.pixels} pixels; at most {inputs.max_pixels} are allowed."
        yield rejected(name, message, code="invalid_image_size")
    elif image.size.elongation > inputs.max_elongation:
        message = f"'{name}' is {image.size}; long to short may be at most {inputs.max_elongation:g}:1."
        yield rejected(name, message, code="invalid_image_size")
    elif inputs.square and image.width != image.height:
        yield rejected(name, f"'{name}' is {image.size}; it must be square.", code="invalid_image_size")


def plain_mask(mask: InputImage, inputs: Inputs) -> bool:
    """Whether a model reads the mask's alpha as it is: in a channel of its own, of eight bits.

    OpenAI's DALL-E edits refuse pictures and masks that are not RGBA, LA or L (sashabaranov/go-openai#188).
    """
    return not mask.deep and (inputs.indexed or not mask.indexed)


def _fit(image: InputImage, inputs: Inputs, request: ImageRequest) -> Fit | None:
    size = _shrunk(image.size, inputs)
    turned = image.orientation != 1 and (inputs.upright or request.mask is not None)
    if (
        image.format in inputs.formats
        and size == image.size
        and not image.deep
        and (inputs.indexed or not image.indexed)
        and not (inputs.opaque if image.has_alpha else inputs.alpha)
        and not turned
        and len(image.data) <= inputs.max_bytes
    ):
        return None
    keep = image.format if image.format in inputs.formats else inputs.formats[0]
    shrinks = request.policy is Policy.LENIENT
    return Fit(
        format=keep,
        size=size,
        max_bytes=inputs.max_bytes,
        alpha=inputs.alpha,
        opaque=inputs.opaque,
        shrinks=shrinks,
    )


def _shrunk(size: Size, inputs: Inputs) -> Size:
    factor = min(1.0, inputs.max_edge / max(size.width, size.height), sqrt(inputs.max_pixels / size.pixels))
    if factor == 1.0:
        return size
    return Size(max(1, int(size.width * factor)), max(1, int(size.height * factor)))
