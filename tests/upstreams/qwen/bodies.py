"""Reading a submitted body as strictly as the documents: every field known, in its place and in its range."""

import base64
import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from tests.upstreams.qwen.limits import LIMITS, STYLES, WAN_2_7_PRO_UNASSISTED, B, C, D, Limits

DATA_URL = re.compile(r"data:image/(png|jpeg|webp|gif|bmp|tiff);base64,(.+)", re.DOTALL)
MAX_DATA_URL = 10_485_760


class Invalid(Exception):
    """A body that the provider refuses, with the provider's code."""

    def __init__(self, message: str, code: str = "InvalidParameter") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Job:
    """What a valid body asks for; `width` and `height` are what will be drawn."""

    model: str
    prompt: str
    n: int
    width: int
    height: int
    negative: str | None
    parameters: dict[str, Any]
    inputs: tuple[Image.Image | None, ...]
    mask: Image.Image | None = None


def need(holds: object, message: str, code: str = "InvalidParameter") -> None:
    """Refuse the body unless something holds."""
    if not holds:
        raise Invalid(message, code)


def read(path: str, body: dict[str, Any]) -> Job:
    """The job of a body at an endpoint whose model lives there. Raises `Invalid`."""
    need(set(body) <= {"model", "input", "parameters"}, f"unknown top-level fields: {sorted(body)}")
    limits = LIMITS[body["model"]]
    given: Any = body.get("input")
    parameters: Any = body.get("parameters", {})
    need(isinstance(given, dict) and isinstance(parameters, dict), "input and parameters must be objects")
    if path in {B, C}:
        prompt, pictures = _messages(given)
        negative = parameters.pop("negative_prompt", None)
        mask = None
    else:
        prompt, pictures, negative, mask = _prompted(path, given, limits)
    need(isinstance(prompt, str) and prompt != "", "prompt is required", "BadRequest.EmptyInput")
    need(negative is None or limits.negative, "negative_prompt is not supported")
    need(negative is None or (isinstance(negative, str) and len(negative) <= 500), "negative_prompt is too long")
    low, high = limits.images
    need(low <= len(pictures) <= high, f"num of images should be in [{low}, {high}]")
    inputs = tuple(_picture(each, limits) for each in pictures)
    n = _parameters(parameters, limits)
    width, height = _size(body["model"], parameters, limits, inputs)
    drawn = None if mask is None else _mask(mask, inputs[0])
    return Job(body["model"], prompt, n, width, height, negative, parameters, inputs, drawn)


def _messages(given: dict[str, Any]) -> tuple[Any, list[Any]]:
    need(set(given) == {"messages"}, f"input takes messages only, not {sorted(given)}")
    messages = given["messages"]
    need(isinstance(messages, list) and len(messages) == 1, "exactly one message is required")
    need(set(messages[0]) == {"role", "content"} and messages[0]["role"] == "user", "the message is malformed")
    parts = messages[0]["content"]
    need(all(len(part) == 1 and set(part) <= {"text", "image"} for part in parts), "a content part is malformed")
    texts = [part["text"] for part in parts if "text" in part]
    need(len(texts) == 1, "exactly one text is required")
    return texts[0], [part["image"] for part in parts if "image" in part]


def _prompted(path: str, given: dict[str, Any], limits: Limits) -> tuple[Any, list[Any], Any, Any]:
    known = {"prompt", "negative_prompt"}
    pictures: list[Any] = []
    mask = None
    if limits.mask:
        known = {"prompt", "function", "base_image_url", "mask_image_url"}
        mask = given.get("mask_image_url")
        wanted = "description_edit" if mask is None else "description_edit_with_mask"
        need(given.get("function") == wanted, f"function should be {wanted}")
        pictures = [given["base_image_url"]] if "base_image_url" in given else []
    elif path == D:
        known |= {"images"}
        pictures = given.get("images", [])
    need(set(given) <= known, f"input has fields it does not know: {sorted(set(given) - known)}")
    return given.get("prompt"), pictures, given.get("negative_prompt"), mask


def _parameters(parameters: dict[str, Any], limits: Limits) -> int:
    known = limits.parameters | ({"size"} if limits.fits else set()) | ({"n"} if limits.counted else set())
    need(set(parameters) <= known, f"parameters not supported: {sorted(set(parameters) - known)}")
    for flag in {"prompt_extend", "watermark", "enable_interleave"} & set(parameters):
        need(isinstance(parameters[flag], bool), f"{flag} must be a boolean")
    need(parameters.get("enable_interleave") is not True, "interleaved output needs X-DashScope-SSE")
    seed = parameters.get("seed", 0)
    need(type(seed) is int and 0 <= seed <= 2147483647, "seed must be in [0, 2147483647]")
    need(parameters.get("style", "<auto>") in STYLES, "style is unknown")
    n = parameters.get("n", limits.unasked)
    need(type(n) is int and 1 <= n <= limits.n, f"num_images_per_prompt must be in [1, {limits.n}]")
    return int(n)


def _size(
    model: str, parameters: dict[str, Any], limits: Limits, inputs: tuple[Image.Image | None, ...]
) -> tuple[int, int]:
    last = inputs[-1] if inputs else None
    if "size" not in parameters:
        if limits.mask and last:
            return last.size
        shape = last.width / last.height if last else limits.drawn[0] / limits.drawn[1]
        side: float = (limits.drawn[0] * limits.drawn[1]) ** 0.5
        return round(side * shape**0.5 / 16) * 16, round(side / shape**0.5 / 16) * 16
    match = re.fullmatch(r"(\d+)\*(\d+)", str(parameters["size"]))
    if match is None:
        raise Invalid(f"size must match width*height: {parameters['size']}")
    width, height = int(match[1]), int(match[2])
    fits = WAN_2_7_PRO_UNASSISTED if model == "wan2.7-image-pro" and not inputs else limits.fits
    need(fits and fits(width, height), f"size {width}*{height} is not in the range allowed")
    return width, height


def _picture(value: Any, limits: Limits) -> Image.Image | None:
    """The decoded input; None for a link, which is not followed here."""
    need(isinstance(value, str), "an image must be a string")
    if value.startswith(("http://", "https://")):
        return None
    image = _decoded(value)
    low, high = limits.edges
    fits = low <= min(image.size) <= max(image.size) <= high
    need(fits, f"image edges must be in [{low}, {high}]", "InvalidParameter.DataInspection")
    need(limits.alpha or "A" not in image.getbands(), "transparent images are not supported", "InvalidImage.Mode")
    return image


def _decoded(value: str) -> Image.Image:
    match = DATA_URL.fullmatch(value)
    if match is None:
        raise Invalid("url error, please check url！", "InvalidURL")  # noqa: RUF001 - the provider's own text
    need(len(value) <= MAX_DATA_URL, "Exceeded limit on max bytes per data-uri item : 10485760")
    image = Image.open(BytesIO(base64.b64decode(match[2], validate=True)))
    image.load()
    need((image.format or "").lower() == match[1], "the media type is not the image's", "InvalidImageFormat")
    return image


def _mask(value: Any, base: Image.Image | None) -> Image.Image:
    """White is edited, black kept: one channel, as large as the base image."""
    image = _decoded(value)
    need(image.mode == "L", "mask_image must be black and white", "InvalidImage.Mode")
    need(base is None or image.size == base.size, "mask_image must be as large as base_image")
    need(image.getextrema() != (0, 0), "mask_image marks nothing")
    return image
