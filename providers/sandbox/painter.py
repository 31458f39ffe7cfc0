"""The sandbox's painter: the same wish gives the same bytes, another seed another picture."""

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageFilter
from PIL.Image import Resampling

from providers.sandbox import brush, pattern, retouch, scene, typeset
from providers.sandbox.brush import Box, Sheet
from providers.sandbox.palettes import BLACK, PALETTES, WHITE, mix, restyle
from providers.sandbox.typeset import Caption


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SCENES: Mapping[Callable[[Sheet], Image.Image], frozenset[str]] = {  # and the words of a prompt that ask for them
    scene.nocturne: _words("night midnight moon moonlight moonlit star stars starry aurora nocturne dark"),
    scene.landscape: _words(
        "landscape mountain mountains hill hills valley lake sunrise sunset dawn dusk horizon sky"
    ),
    pattern.mosaic: _words("mosaic tile tiles geometric geometry pattern bauhaus grid shapes logo icon"),
    pattern.ribbons: _words("abstract flow flowing ribbon ribbons silk wave waves gradient fluid"),
}
_DETAIL = {"low": 0, "high": 2, "hd": 2, "2k": 2, "xhigh": 3, "max": 3, "4k": 3}
_PARTIALS = 3
_ROUGHNESS = (14, 34, 80)  # the blur of each partial: the shorter side divided by this
_READ = 1500  # characters of a prompt in which such words are looked for
_LEAST = 64  # pixels: nothing smaller is composed
_FULL_COLOR = 90  # jpeg quality from which colour is kept at full resolution
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Painting:
    """What to draw. Sizes in pixels; `index` is which of n; `quality` is printed and sets the detail."""

    prompt: str
    model: str
    width: int
    height: int
    seed: int
    negative_prompt: str = ""
    quality: str = ""
    index: int = 0
    transparent: bool = False
    style: str = ""


def paint(p: Painting) -> Image.Image:
    """The picture, p.width x p.height, RGB, or RGBA with an empty background where p.transparent."""
    return _picture(p, (p.width, p.height), (0, 0, p.width, p.height))


def partials(p: Painting, count: int) -> list[Image.Image]:
    """`count` (0..3) rougher states of paint(p), the roughest first, without paint(p) itself."""
    return rougher(paint(p), count)


def rougher(final: Image.Image, count: int) -> list[Image.Image]:
    """`count` (0..3) rougher states of a finished picture, the roughest first. Raises ValueError beyond."""
    if not 0 <= count <= _PARTIALS:
        raise ValueError(f"{count} partial images: 0 to {_PARTIALS} can be made")
    return [_blurred(final, min(final.size) / grid) for grid in _ROUGHNESS[:count]]


def edit(p: Painting, images: Sequence[bytes], mask: bytes | None) -> Image.Image:
    """The input pictures composed, or the first one repainted where the mask (PNG with alpha) is transparent.

    Raises ValueError for unreadable inputs, a mask without alpha, and with a mask for sizes that differ.
    """
    if not images:
        raise ValueError("an edit needs an image")
    if mask is not None:
        return _repaint(p, retouch.read(images[0]), mask)
    sheet = _sheet(p, (p.width, p.height))
    image = retouch.compose(sheet, [retouch.read(data) for data in images])
    return _captioned(p, sheet, image, area=(0, 0, p.width, p.height), rounding=0.06)


def encode(image: Image.Image, format: str, compression: int = 100) -> bytes:  # noqa: A002 - the wire's word
    """The file in 'png', 'jpeg' (alpha laid on white) or 'webp', the last two in quality `compression` (0..100).

    Raises ValueError for another format.
    """
    buffer = io.BytesIO()
    quality = min(95, max(5, compression))
    if format == "png":
        image.save(buffer, "PNG", compress_level=1)
    elif format == "jpeg":
        plain = retouch.flat(image, WHITE)
        plain.save(buffer, "JPEG", quality=quality, subsampling=0 if quality >= _FULL_COLOR else 2)
    elif format == "webp":
        image.save(buffer, "WEBP", quality=quality, method=2)
    else:
        raise ValueError(f"no picture can be saved as {format}")
    return buffer.getvalue()


def _repaint(p: Painting, base: Image.Image, mask: bytes) -> Image.Image:
    if (p.width, p.height) != base.size:
        raise ValueError(f"an edit with a mask keeps the size {base.width}x{base.height}")
    opening = retouch.hole(mask, base.size)
    box = opening.getbbox()
    if box is None:
        return base
    size = max(_LEAST, box[2] - box[0]), max(_LEAST, box[3] - box[1])
    area = retouch.roomiest(opening.crop(box))
    part = _picture(p, size, area).crop((0, 0, box[2] - box[0], box[3] - box[1]))
    if part.mode == "RGBA" and base.mode == "RGB":
        base = base.convert("RGBA")
    return retouch.fill(base, part, opening, box[:2])


def _picture(p: Painting, size: tuple[int, int], area: Box | None) -> Image.Image:
    sheet = _sheet(p, size)
    image = _scene(p, sheet.chance)(sheet)
    brush.vignette(image, mix(sheet.palette.night[0], BLACK, 0.4), 0.42)
    return _captioned(p, sheet, brush.grain(image, sheet.chance, 3), area=area, rounding=0.5)


def _captioned(p: Painting, sheet: Sheet, image: Image.Image, *, area: Box | None, rounding: float) -> Image.Image:
    """The image with its caption in the area if that is large enough, and cut out where p.transparent."""
    roomy = area is not None and area[2] - area[0] >= _LEAST and area[3] - area[1] >= _LEAST // 2
    caption = typeset.lay_out(p.prompt, _facts(p), area) if area is not None and roomy else None
    if caption is not None:
        typeset.engrave(image, caption, sheet.palette)
    if p.transparent:
        image.putalpha(_badge(image.size, caption, rounding))
    return image


def _sheet(p: Painting, size: tuple[int, int]) -> Sheet:
    """Palette and chance come from everything but the size, so that a wish keeps its motif at every size."""
    wish = (p.prompt, p.negative_prompt, p.model, p.seed, p.index, p.style)
    digest = hashlib.sha256(repr(wish).encode("utf-8", "backslashreplace")).digest()
    chance = Random(digest)  # noqa: S311 - a picture, no secret
    palette = restyle(chance.choice(PALETTES), p.style)
    detail = _DETAIL.get(p.quality.lower(), 1)
    return Sheet(width=size[0], height=size[1], palette=palette, chance=chance, detail=detail)


def _scene(p: Painting, chance: Random) -> Callable[[Sheet], Image.Image]:
    """The scene the prompt's words ask for, else one by chance."""
    words = set(_WORD.findall(p.prompt[:_READ].lower()))
    by_chance = chance.choice(tuple(_SCENES))
    return next((draw for draw, hints in _SCENES.items() if words & hints), by_chance)


def _facts(p: Painting) -> tuple[str, ...]:
    number = f"no. {p.index + 1}" if p.index else ""
    avoided = f"without {p.negative_prompt[:_READ]}" if p.negative_prompt else ""
    facts = (p.model, f"{p.width}x{p.height}", f"seed {p.seed}", p.quality, number, avoided)
    return tuple(fact for fact in facts if fact)


def _badge(size: tuple[int, int], caption: Caption | None, rounding: float) -> Image.Image:
    """The alpha of a cut-out (L): a form with corners rounded by that share, the plate across its foot."""
    margin = round(min(size) * 0.04)
    form = size[0] - 2 * margin, size[1] - 2 * margin
    alpha = Image.new("L", size)
    alpha.paste(brush.panel_mask(form, min(form) * rounding), (margin, margin))
    if caption is not None:
        alpha.paste(255, caption.box, caption.outline())
    return alpha


def _blurred(image: Image.Image, radius: float) -> Image.Image:
    """A Gaussian blur, done on a smaller copy where the radius allows it."""
    factor = max(1, int(radius / 2))
    small = image.reduce(factor).filter(ImageFilter.GaussianBlur(radius / factor))
    return small.resize(image.size, Resampling.BICUBIC)
