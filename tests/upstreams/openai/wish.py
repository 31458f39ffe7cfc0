"""Requests to the image routes as typed fields, from JSON and from forms, with nothing forgiven."""

import base64
import binascii
import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image, UnidentifiedImageError

from tests.upstreams.http import Exchange
from tests.upstreams.multipart import MultipartError, Part, parse
from tests.upstreams.openai.refusal import Refusal, image_user_error, invalid, unknown_parameter, wrong_type

IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp"})
INTEGERS = frozenset({"n", "output_compression", "partial_images"})
BOOLEANS = frozenset({"stream"})
_DATA_URL = re.compile(r"data:([^;,]*);base64,(.*)", re.DOTALL)
_URL_MAX = 20_971_520


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An input image: `param` is its name in errors, such as `image[0]`."""

    param: str
    content_type: str
    data: bytes

    def opened(self) -> Image.Image:
        """The decoded image. Raises `Refusal` when it is not a PNG, JPEG or WebP that decodes completely."""
        try:
            image = Image.open(BytesIO(self.data), formats=["png", "jpeg", "webp"])
            image.load()
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            message = "The uploaded image is not a valid image file."
            raise image_user_error(message, "invalid_image_file", self.param) from error
        return image


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A parsed request: `fields` without nulls, forms already turned into numbers and booleans."""

    fields: dict[str, Any]
    images: tuple[Picture, ...] = ()
    mask: Picture | None = None
    is_form: bool = False


def read_json(exchange: Exchange) -> dict[str, Any]:
    """The JSON object without its nulls. Raises `Refusal`."""
    if (exchange.header("content-type") or "").split(";")[0].strip() != "application/json":
        message = f"Unsupported content type: '{exchange.header('content-type')}'."
        raise invalid(message, None, "unsupported_content_type")
    try:
        doc = exchange.json()
    except ValueError as error:
        raise invalid("We could not parse the JSON body of your request.", None, None) from error
    if not isinstance(doc, dict):
        raise invalid("The JSON body of your request must be an object.", None, None)
    return {name: value for name, value in doc.items() if value is not None}


def read_generation(exchange: Exchange) -> Wish:
    return Wish(fields=read_json(exchange))


def read_edit(exchange: Exchange) -> Wish:
    """An edit in either encoding. Raises `Refusal`."""
    if (exchange.header("content-type") or "").startswith("multipart/form-data"):
        return _form_edit(exchange)
    return _json_edit(read_json(exchange))


def _json_edit(doc: dict[str, Any]) -> Wish:
    links = doc.pop("images", [])
    if not isinstance(links, list):
        raise wrong_type("images", "an array of objects", links)
    mask = doc.pop("mask", None)
    images = tuple(_linked(f"images[{index}]", link) for index, link in enumerate(links))
    return Wish(fields=doc, images=images, mask=_linked("mask", mask) if mask is not None else None)


def _linked(param: str, link: object) -> Picture:
    if not isinstance(link, dict):
        raise wrong_type(param, "an object", link)
    for name in link.keys() - {"image_url", "file_id"}:
        raise unknown_parameter(f"{param}.{name}")
    url = link.get("image_url")
    if not isinstance(url, str) or len(link) != 1:
        raise invalid(f"'{param}' must hold one image_url; this project has no files.", param)
    if len(url) > _URL_MAX:
        raise Refusal(f"'{param}.image_url' is too long.", code="string_above_max_length", param=param)
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise invalid(f"'{param}.image_url' is not a data URL, and nothing is fetched here.", param)
    try:
        data = base64.b64decode(match[2], validate=True)
    except binascii.Error as error:
        raise image_user_error("The image data is not valid base64.", "invalid_image_file", param) from error
    return _checked_type(Picture(param=param, content_type=match[1], data=data))


def _form_edit(exchange: Exchange) -> Wish:
    try:
        parts = parse(exchange.header("content-type"), exchange.body)
    except MultipartError as error:
        raise invalid(f"Could not parse the form: {error}.", None, None) from error
    files = [part for part in parts if part.filename is not None]
    texts = [part for part in parts if part.filename is None]
    fields: dict[str, Any] = {}
    for part in texts:
        if part.name in fields:
            raise invalid(f"Duplicate parameter: '{part.name}'.", part.name, "duplicate_parameter")
        fields[part.name] = _typed(part)
    masks = [part for part in files if part.name == "mask"]
    if len(masks) > 1:
        raise invalid("Duplicate parameter: 'mask'.", "mask", "duplicate_parameter")
    mask = _uploaded("mask", masks[0]) if masks else None
    images = _uploads([part for part in files if part.name != "mask"])
    return Wish(fields=fields, images=images, mask=mask, is_form=True)


def _uploads(files: list[Part]) -> tuple[Picture, ...]:
    names = {part.name for part in files}
    for name in names - {"image", "image[]"}:
        raise unknown_parameter(name)
    if len(names) > 1 or (names == {"image"} and len(files) > 1):
        message = "Duplicate parameter: 'image'. A list is written with the array syntax, 'image[]'."
        raise invalid(message, "image", "duplicate_parameter")
    listed = names == {"image[]"}
    return tuple(_uploaded(f"image[{index}]" if listed else "image", part) for index, part in enumerate(files))


def _uploaded(param: str, part: Part) -> Picture:
    picture = Picture(param=param, content_type=part.content_type or "", data=part.data)
    if param == "mask":  # reported: the content type of a mask is not looked at
        return picture
    return _checked_type(picture)


def _checked_type(picture: Picture) -> Picture:
    if picture.content_type not in IMAGE_TYPES:
        message = (
            f"Invalid file '{picture.param}': unsupported mimetype ('{picture.content_type}'). Supported file "
            f"formats are 'image/jpeg', 'image/png', and 'image/webp'."
        )
        raise invalid(message, picture.param, "unsupported_file_mimetype")
    return picture


def _typed(part: Part) -> str | int | bool:
    """A text part as its field's type; what does not fit stays text and is refused by the type check."""
    try:
        text = part.text
    except UnicodeDecodeError as error:
        raise invalid(f"'{part.name}' is not UTF-8.", part.name) from error
    if part.name in INTEGERS and re.fullmatch(r"-?\d{1,9}", text):
        return int(text)
    if part.name in BOOLEANS and text in {"true", "false"}:
        return text == "true"
    return text
