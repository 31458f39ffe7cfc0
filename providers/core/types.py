"""What a caller wishes for, in values: the nouns that every stage shares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from math import gcd, log
from types import MappingProxyType
from typing import Any, Final

from providers.core.valueclass import valueclass

_SIZE: Final = re.compile(r"([1-9][0-9]{0,4})[xX]([1-9][0-9]{0,4})")
_RATIO: Final = re.compile(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})")


def nothing() -> Mapping[str, Any]:
    """An empty mapping, for defaults."""
    return MappingProxyType({})


class Operation(StrEnum):
    """Which of the two image routes a request came through."""

    GENERATE = "generate"
    EDIT = "edit"


class Policy(StrEnum):
    """What happens to a wish that the model cannot fulfil: refused, or changed and reported."""

    STRICT = "strict"
    LENIENT = "lenient"


class ResponseFormat(StrEnum):
    """How the caller receives an image."""

    URL = "url"
    B64_JSON = "b64_json"


class ImageFormat(StrEnum):
    """An encoding of an image that Pinhole can tell by its bytes."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    GIF = "gif"

    @property
    def media_type(self) -> str:
        """The MIME type, such as `image/png`."""
        return f"image/{self.value}"

    @property
    def suffix(self) -> str:
        """The usual file suffix without its dot."""
        return "jpg" if self is ImageFormat.JPEG else self.value


@dataclass(frozen=True, slots=True, order=True)
class AspectRatio:
    """Width to height in lowest terms, written `16:9`."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> AspectRatio | None:
        """Read `W:H`; None when the text is something else."""
        match = _RATIO.fullmatch(text.strip())
        return cls(int(match[1]), int(match[2])) if match else None

    @property
    def value(self) -> float:
        """Width divided by height."""
        return self.width / self.height

    def distance(self, other: AspectRatio | Size) -> float:
        """How far two shapes are apart: 0 for equal ones, 0.03 for three percent."""
        return abs(log(self.value / (other.width / other.height)))

    def __str__(self) -> str:
        return f"{self.width}:{self.height}"


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """A size in pixels, written `1024x1024`."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Size | None:
        """Read `WxH`; None when the text is something else."""
        match = _SIZE.fullmatch(text.strip())
        return cls(int(match[1]), int(match[2])) if match else None

    @property
    def pixels(self) -> int:
        """The area in pixels."""
        return self.width * self.height

    @property
    def ratio(self) -> AspectRatio:
        """The shape, in lowest terms."""
        by = gcd(self.width, self.height)
        return AspectRatio(self.width // by, self.height // by)

    @property
    def elongation(self) -> Fraction:
        """The long edge divided by the short one."""
        return Fraction(max(self.width, self.height), min(self.width, self.height))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Auto:
    """`auto`: the model chooses."""

    def __str__(self) -> str:
        return "auto"


AUTO: Final = Auto()
AskedSize = Size | AspectRatio | Auto


def sizes(*texts: str) -> tuple[Size, ...]:
    """Several sizes from their text, for rows."""
    return tuple(Size(*map(int, text.split("x"))) for text in texts)


def ratios(*texts: str) -> tuple[AspectRatio, ...]:
    """Several aspect ratios from their text, for rows."""
    return tuple(AspectRatio(*map(int, text.split(":"))) for text in texts)


@valueclass(frozen=True, slots=True, kw_only=True)
class InputImage:
    """An image of the caller, checked by structure: its bytes and what its header says.

    `data` is a buffer of the received body (or of a spooled file), never a copy made for convenience.
    `width` and `height` are upright, after EXIF orientation. `deep` is more than eight bits a channel, or CMYK;
    `indexed` pixels are places in a palette, or one colour of theirs stands for transparent.
    """

    data: bytes | memoryview = field(repr=False)
    format: ImageFormat
    width: int
    height: int
    has_alpha: bool = False
    orientation: int = 1
    deep: bool = False
    indexed: bool = False
    name: str = "image"
    digest: str = ""

    @property
    def size(self) -> Size:
        """The upright size in pixels."""
        return Size(self.width, self.height)


@valueclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One request as the caller wished it. None is a parameter that was not sent (or sent as null).

    `options` holds the parameters that rows describe one by one (seed, background, style, ...), by OpenAI's name;
    `unknown` the names of fields that nobody knows. Made by app.schemas, read by decide and nothing after it.
    """

    operation: Operation
    prompt: str
    model: str = ""
    n: int = 1
    n_sent: bool = False
    size: AskedSize | None = None
    quality: str | None = None
    options: Mapping[str, Any] = field(default_factory=nothing)
    unknown: tuple[str, ...] = ()
    response_format: ResponseFormat | None = None
    output_format: ImageFormat | None = None
    output_compression: int | None = None
    background: str | None = None
    stream: bool = False
    partial_images: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    images: tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    policy: Policy = Policy.STRICT
    forbid_emulation: bool = False

    @property
    def end_user(self) -> str | None:
        """The end user whom limits and ledger know: `safety_identifier` wins over `user` when not empty."""
        return self.safety_identifier or self.user or None
