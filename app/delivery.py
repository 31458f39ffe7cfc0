"""From what a provider gave to what the caller asked: the form, the encoding, the place it is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio
import pybase64

from app.capacity import Gate
from app.store import ImageStore, Links
from providers.core.errors import UpstreamError
from providers.core.http import Buffer
from providers.core.plan import Plan
from providers.core.provider import Base64Image, Image, Link, Partial
from providers.core.types import ImageFormat, ResponseFormat, Size
from providers.core.valueclass import valueclass
from providers.kit.convert import convert
from providers.kit.deployment import Deployment
from providers.kit.fetch import Fetcher
from providers.kit.images import ImageError, dimensions, inspect, seen
from providers.kit.mask import composite
from providers.kit.room import Memory, Room, cool

# Every PNG, WebP and GIF tells its size here, and most JPEGs do; some tell it behind their metadata.
NEAR: Final = 1024
FAR: Final = 64 * 1024
PIECE: Final = 3 * 2**18  # of threes, so that base64 of the pieces is base64 of the whole
# The label of a C2PA manifest store (C2PA 2.2, section 11): in the first kilobytes of what OpenAI and Google sign.
C2PA: Final = b"c2pa"


@valueclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """One image as the caller gets it: a link, or base64 text in a buffer."""

    format: ImageFormat
    size: Size | None
    revised_prompt: str | None = None
    url: str | None = None
    base64: Buffer | None = field(default=None, repr=False)
    link: str | None = None
    stripped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """A partial image on its way to the caller, `index` from 0. Without `image` there is nothing to show yet."""

    image: Delivered | None
    index: int


@valueclass(frozen=True, slots=True)
class _Picture:
    """An image on its way: base64 text that was received, or bytes; never both unless needed. What its head tells."""

    encoded: Base64Image | None
    data: Buffer | None
    format: ImageFormat | None
    size: Size | None

    @property
    def signed(self) -> bool:
        """Whether it bears content credentials."""
        far = self.encoded.head(FAR) if self.encoded else (self.data or b"")[:FAR]
        return C2PA in bytes(far)

    def bytes(self) -> Buffer:
        if self.data is not None:
            return self.data
        assert self.encoded is not None  # noqa: S101 - one of the two is always there
        return self.encoded.decode()


class Delivery:
    """Fetches, converts, composites, stores. Bytes that already fit are moved as they are."""

    def __init__(
        self,
        store: ImageStore,
        links: Links,
        fetcher: Fetcher,
        *,
        pictures: Gate | None = None,
        room: Room | None = None,
    ) -> None:
        """`pictures` bounds the bytes that are decoded at once, `room` is where encoded answers grow."""
        self._store = store
        self._links = links
        self._fetcher = fetcher
        self._pictures = pictures
        self._room = room or Memory()

    async def deliver(
        self, image: Image, plan: Plan, form: ResponseFormat, deployment: Deployment, deadline: float
    ) -> Delivered:
        """One image. Raises UpstreamError when what the provider gave is no image or cannot be fetched."""
        picture = await self._picture(image, deployment, deadline)
        work = _work(picture, plan, form)
        if self._pictures is None or not work:
            return await self._finished(image, picture, plan, form, deployment)
        async with self._pictures.passed(work, None):
            return await self._finished(image, picture, plan, form, deployment)

    async def _finished(
        self, image: Image, picture: _Picture, plan: Plan, form: ResponseFormat, deployment: Deployment
    ) -> Delivered:
        image_format = picture.format
        if image_format is None:
            raise UpstreamError("The upstream's answer is not an image.", provider=deployment.provider.name)
        received, stripped = picture, False
        wanted = plan.output.format or image_format
        if plan.composite:
            picture = await self._composited(picture, plan)
            image_format = ImageFormat.PNG
            wanted = plan.output.format or image_format  # a lossy form would change pixels outside the mask
        flat = plan.output.flatten and _see_through(picture, image_format)
        if wanted is not image_format or plan.output.convert or flat:
            picture = await self._converted(picture, plan, wanted)
            image_format = wanted
            stripped = received.signed
        url, text = await self._given(picture, image_format, form)
        return Delivered(
            format=image_format,
            size=picture.size,
            revised_prompt=image.revised_prompt,
            url=url,
            base64=text,
            link=image.content.url if isinstance(image.content, Link) else None,
            stripped=stripped,
        )

    async def sketch(self, partial: Partial, form: ResponseFormat) -> Sketch:
        """A partial image in the caller's form, its bytes as they came; none where it is a provider's link.

        Raises OSError when it cannot be kept for its link.
        """
        content = partial.image.content
        if isinstance(content, Link):
            return Sketch(image=None, index=partial.index)
        try:
            picture = _held(content)
            image_format = picture.format
            if image_format is None:
                return Sketch(image=None, index=partial.index)
            url, text = await self._given(picture, image_format, form)
            shown = Delivered(format=image_format, size=picture.size, url=url, base64=text)
            return Sketch(image=shown, index=partial.index)
        except ValueError:  # what is no base64 is no picture; the whole image is judged by itself
            return Sketch(image=None, index=partial.index)

    async def _picture(self, image: Image, deployment: Deployment, deadline: float) -> _Picture:
        content = image.content
        if isinstance(content, Link):
            data = await self._fetcher.result(content.url, deployment, deadline)
            return _bytes(data)
        try:
            return _held(content)
        except ValueError as error:
            raise UpstreamError("The upstream's image is not valid base64.") from error

    async def _composited(self, picture: _Picture, plan: Plan) -> _Picture:
        call = plan.calls[0]
        assert plan.mask is not None  # noqa: S101 - a plan composites only where a mask was given
        original, mask = bytes(call.images[0].data), bytes(plan.mask.data)
        data = await _worked(composite, original, bytes(picture.bytes()), mask)
        return _bytes(data)

    async def _converted(self, picture: _Picture, plan: Plan, wanted: ImageFormat) -> _Picture:
        def work() -> bytes:
            output = plan.output
            return convert(picture.bytes(), wanted, compression=output.compression, flatten=output.flatten)

        data = await _worked(work)
        return _bytes(data)

    async def _given(
        self, picture: _Picture, image_format: ImageFormat, form: ResponseFormat
    ) -> tuple[str | None, Buffer | None]:
        """Its link or its base64, as it was asked for."""
        if form is ResponseFormat.B64_JSON:
            text = picture.encoded.base64 if picture.data is None and picture.encoded else None
            if text is not None and len(text) % 4:
                text = None  # callers' decoders want the padding
            return None, text if text is not None else self._encoded(picture.bytes())
        name = await self._store.put(picture.bytes(), image_format)
        if picture.encoded:
            cool(picture.encoded.base64)
        if picture.data is not None:
            cool(picture.data)
        return self._links.url(name), None

    def _encoded(self, data: Buffer) -> Buffer:
        """Base64, piece by piece: beyond the budget it grows in a file."""
        with self._room.body((len(data) + 2) // 3 * 4) as body:
            for start in range(0, len(data), PIECE):
                body.write(pybase64.b64encode(data[start : start + PIECE]))
                cool(data)
            text = body.whole()
        cool(text)
        return text


def _work(picture: _Picture, plan: Plan, form: ResponseFormat) -> int:
    """How many bytes are decoded to deliver it: none where it is passed on, eight a pixel where it is converted."""
    output, length = plan.output, picture.encoded.size if picture.encoded else len(picture.data or b"")
    if plan.composite or output.convert or output.flatten or output.format not in {None, picture.format}:
        return length + (8 * picture.size.pixels if picture.size else 0)
    return 0 if form is ResponseFormat.B64_JSON else length


def _see_through(picture: _Picture, image_format: ImageFormat) -> bool:
    """Whether there is something to flatten; what has no alpha channel stays as it came."""
    try:
        return image_format is not ImageFormat.JPEG and inspect(picture.bytes()).has_alpha
    except (ImageError, ValueError):
        return True  # what is broken is for the decoder to say


def _held(content: Base64Image | bytes) -> _Picture:
    """An image that lies here. Raises ValueError when its base64 is none."""
    if isinstance(content, bytes):
        return _bytes(content)
    return _Picture(content, None, *_told(content.head))


def _bytes(data: Buffer) -> _Picture:
    return _Picture(None, data, *_told(lambda most: data[:most]))


def _told(head: Callable[[int], Buffer]) -> tuple[ImageFormat | None, Size | None]:
    """Format and size, of so much of its beginning as is needed."""
    image_format, measured = seen(head(NEAR))
    measured = measured or dimensions(head(FAR))
    return image_format, Size(*measured) if measured else None


async def _worked(work: Callable[..., bytes], *args: bytes) -> bytes:
    try:
        return await anyio.to_thread.run_sync(work, *args)
    except (ImageError, ValueError) as error:
        raise UpstreamError("The upstream's image cannot be converted.") from error
