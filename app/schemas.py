"""OpenAI's wire form of a request: the fields of both routes, and their reading into an ImageRequest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from app.errors import BadInput
from providers.core.errors import InvalidRequest, Violation
from providers.core.fate import quoted
from providers.core.types import (
    AUTO,
    AskedSize,
    AspectRatio,
    ImageFormat,
    ImageRequest,
    InputImage,
    Operation,
    Policy,
    ResponseFormat,
    Size,
)

Quality = Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd", "4k"]
# Beyond it a number is no wish, and no number of a header either (RFC 9651: fifteen digits).
LARGEST: Final = 10**15 - 1
Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
NOT_SERVED: Final = ("svg", "markup", "frame_count", "frame_duration_ms")
KNOWN: Final = {
    Operation.GENERATE: frozenset(NOT_SERVED),
    Operation.EDIT: frozenset((*NOT_SERVED, "images", "mask")),
}
# Plain words: an Enum's own look-up is a chain of calls.
_RESPONSE_FORMATS: Final[Mapping[str | None, ResponseFormat]] = {form.value: form for form in ResponseFormat}
_OUTPUT_FORMATS: Final[Mapping[str | None, ImageFormat]] = {form.value: form for form in ImageFormat}
FIELDS: Final = 100  # as many as a form may have parts
OPTIONS: Final = (
    "style",
    "moderation",
    "input_fidelity",
    "negative_prompt",
    "search_prompt",
    "seed",
    "prompt_extend",
    "watermark",
    "complexity",
)


def _readable(size: str) -> str:
    if size != "auto" and Size.parse(size) is None and AspectRatio.parse(size) is None:
        raise ValueError("use WIDTHxHEIGHT such as 1024x1024, a ratio such as 16:9, or auto")
    return size


class ImageFields(BaseModel):
    """The parameters that both routes share. An explicit null is the same as leaving the field out."""

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    prompt: str | None = Field(None, description="What to draw, or what to change.", examples=["A cute cat"])
    model: str | None = Field(None, description="`gpt-image-2`, `openai/gpt-image-2` or an alias.")
    n: Whole | None = Field(None, description="How many images.", examples=[1])
    size: Annotated[str, AfterValidator(_readable)] | None = Field(
        None, description="`WxH` in pixels, a ratio `W:H`, or `auto`.", examples=["1024x1024"]
    )
    quality: Quality | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Whole | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    moderation: Literal["auto", "low"] | None = None
    style: str | None = Field(None, description="`vivid` or `natural`, or a word of the model's own.")
    input_fidelity: Literal["high", "low"] | None = None
    complexity: Literal["low", "medium", "high"] | None = None
    stream: bool | None = None
    partial_images: Whole | None = None
    user: str | None = None
    safety_identifier: str | None = None
    negative_prompt: str | None = Field(None, description="What to leave out, where the model has it.")
    search_prompt: str | None = Field(None, description="What to look for in the image, on models that search it.")
    seed: Whole | None = None
    prompt_extend: bool | None = None
    watermark: bool | None = None


class GenerationBody(ImageFields):
    """The JSON body of `POST /v1/images/generations`."""

    prompt: str = Field(description="What to draw.", examples=["A cute cat sitting on a windowsill"])


class ImageReference(BaseModel):
    """One input image of a JSON edit: a data URL or an https URL."""

    model_config = ConfigDict(extra="forbid")

    image_url: str | None = None
    file_id: str | None = None


class EditBody(ImageFields):
    """The JSON body of `POST /v1/images/edits`."""

    prompt: str = Field(description="What to change.", examples=["Add a red hat"])
    images: list[ImageReference] = Field(min_length=1, max_length=16)
    mask: ImageReference | None = None


def from_json(document: Any) -> ImageFields:
    """Read a parsed JSON body, strictly by type. Raises BadInput or InvalidRequest with every problem."""
    if not isinstance(document, dict):
        raise BadInput("The body must be a JSON object.", code="invalid_type")
    return _validated(document, strict=True)


def from_form(fields: Mapping[str, str]) -> ImageFields:
    """Read the text parts of a form; the word null is an absent field. Raises InvalidRequest."""
    return _validated({k: v for k, v in fields.items() if v != "null"}, strict=False)


def _validated(document: Mapping[str, Any], *, strict: bool) -> ImageFields:
    if len(document) > FIELDS:
        raise InvalidRequest(Violation("body", f"A request may have at most {FIELDS} fields.", "too_many_fields"))
    not_served = [name for name in document if name in NOT_SERVED or name.startswith("svg[")]
    violations = [
        Violation(name, f"'{name}' is not supported yet.", "unsupported_parameter")
        for name in not_served
        if name not in NOT_SERVED or document[name] is not None
    ]
    try:
        if strict:
            fields = ImageFields.model_validate(document, strict=True)
        else:
            fields = ImageFields.model_validate_strings(document)
    except ValidationError as error:
        violations += [
            _violation(problem, document) for problem in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidRequest(*violations) from None
    if violations:
        raise InvalidRequest(*violations)
    return fields


def _violation(problem: Any, document: Mapping[str, Any]) -> Violation:
    param = str(problem["loc"][0]) if problem["loc"] else "body"
    value = document.get(param)
    kind = problem["type"]
    if kind == "literal_error":
        allowed = problem["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        message = f"Invalid value for '{param}': {quoted(value)}. Supported values are: {allowed}."
        return Violation(param, message, "invalid_value", allowed=allowed)
    if kind == "value_error":
        message = f"Invalid value for '{param}': {quoted(value)}; {problem['ctx']['error']}."
        return Violation(param, message, "invalid_value", nearest="1024x1024" if param == "size" else None)
    if kind in {"greater_than_equal", "less_than_equal"}:
        return Violation(param, f"'{param}' has more than fifteen digits.", "invalid_value")
    wanted = problem["msg"].removeprefix("Input should be ")
    shown = type(value).__name__ if not isinstance(value, str) else f"the text {quoted(value)}"
    return Violation(param, f"Invalid type for '{param}': expected {wanted}, got {shown}.", "invalid_type")


def image_request(
    fields: ImageFields,
    operation: Operation,
    *,
    policy: Policy,
    images: tuple[InputImage, ...] = (),
    mask: InputImage | None = None,
    forbid_emulation: bool = False,
) -> ImageRequest:
    """The caller's wish as one frozen value."""
    sent = vars(fields)
    options = {name: value for name in OPTIONS if (value := sent[name]) is not None and value != ""}
    known = KNOWN[operation]
    return ImageRequest(
        operation=operation,
        prompt=fields.prompt or "",
        model=fields.model or "",
        n=1 if fields.n is None else fields.n,
        n_sent=fields.n is not None,
        size=_size(fields.size),
        quality=fields.quality,
        options=options,
        unknown=tuple(k for k, v in (fields.model_extra or {}).items() if v is not None and k not in known),
        response_format=_RESPONSE_FORMATS.get(fields.response_format),
        output_format=_OUTPUT_FORMATS.get(fields.output_format),
        output_compression=fields.output_compression,
        background=fields.background,
        stream=bool(fields.stream),
        partial_images=fields.partial_images,
        user=fields.user,
        safety_identifier=fields.safety_identifier,
        images=images,
        mask=mask,
        policy=policy,
        forbid_emulation=forbid_emulation,
    )


def _size(text: str | None) -> AskedSize | None:
    if text is None:
        return None
    return AUTO if text == "auto" else Size.parse(text) or AspectRatio.parse(text)
