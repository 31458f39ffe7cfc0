"""Editing: pictures given, laid out and painted over. Everything is upright (EXIF orientation applied)."""

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps
from PIL.Image import Resampling

from providers.sandbox import brush
from providers.sandbox.brush import Box, Sheet
from providers.sandbox.palettes import Color, Palette, mix

_OPEN = 100  # of 255: so open that a caption can be read in it
_DEEP = ("I", "I;16", "I;16B", "I;16L")


def read(data: bytes) -> Image.Image:
    """The picture upright, RGB, or RGBA where it carries transparency. Raises ValueError if it cannot be read."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            upright = ImageOps.exif_transpose(opened)
            upright.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("the image cannot be read") from error
    if upright.mode in ("RGB", "RGBA"):
        if upright.mode == "RGB" and "transparency" in upright.info:
            return upright.convert("RGBA")
        return upright
    if upright.mode in _DEEP:
        upright = upright.convert("I").point(lambda v: v * (1 / 257) + 0).convert("L")
    plain = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    plain.info.pop("icc_profile", None)  # it described the channels that are gone
    return plain


def hole(mask: bytes, size: tuple[int, int]) -> Image.Image:
    """What may be repainted (L, 255 where the mask is transparent). A grey mask, as some vendors want it, is that.

    Raises ValueError for a mask of another size, in colours without an alpha channel, or unreadable.
    """
    picture = read(mask)
    if picture.size != size:
        raise ValueError(f"the mask is {picture.width}x{picture.height}, the image {size[0]}x{size[1]}")
    if picture.mode != "RGBA":
        with Image.open(io.BytesIO(mask)) as opened:
            if opened.mode == "L":
                return picture.convert("L")
        raise ValueError("the mask has no alpha channel")
    return ImageChops.invert(picture.getchannel("A"))


def roomiest(opening: Image.Image) -> Box | None:
    """A large rectangle that lies wholly inside the opening, None where there is no room for one."""
    cells = 24
    across, down = opening.width / cells, opening.height / cells
    least = opening.convert("L").resize((cells, cells), Resampling.BOX).tobytes()
    heights = [0] * cells
    best, found = 0, None
    for y in range(cells):
        heights = [heights[x] + 1 if least[y * cells + x] >= _OPEN else 0 for x in range(cells)]
        for left in range(cells):
            high = cells
            for right in range(left, cells):
                high = min(high, heights[right])
                if (right - left + 1) ** 2 * high > best:  # captions are wide
                    best, found = (right - left + 1) ** 2 * high, (left, y + 1 - high, right + 1, y + 1)
    if found is None:
        return None
    left, top, right, bottom = found
    return math.ceil(left * across), math.ceil(top * down), int(right * across), int(bottom * down)


def fill(base: Image.Image, fresh: Image.Image, opening: Image.Image, at: tuple[int, int]) -> Image.Image:
    """The base with `fresh` laid at a place, seen through the opening only: no other pixel changes."""
    painted = base.copy()
    painted.paste(fresh if fresh.mode == base.mode else fresh.convert(base.mode), at)
    return Image.composite(painted, base, opening)


def compose(sheet: Sheet, pictures: Sequence[Image.Image]) -> Image.Image:
    """The first picture fills the sheet, tinted and brushed over; the others lie on it as prints."""
    palette = sheet.palette
    base = ImageOps.fit(flat(pictures[0], palette.paper[0]), sheet.size, Resampling.BICUBIC)
    light = brush.mesh(sheet.size, [[palette.light[0], palette.sky[1]], [palette.accents[0], palette.night[2]]])
    image = Image.blend(base, ImageChops.soft_light(base, light), 0.55)
    for _ in range(2 + sheet.detail):
        _sweep(sheet, image)
    _prints(sheet, image, pictures[1:])
    return image


def flat(picture: Image.Image, ground: Color) -> Image.Image:
    """The picture without transparency."""
    if picture.mode == "RGB":
        return picture
    image = Image.new("RGB", picture.size, ground)
    image.paste(picture, (0, 0), picture.getchannel("A"))
    return image


def _sweep(sheet: Sheet, image: Image.Image) -> None:
    """One stroke of a broad dry brush across an edge of the picture."""
    chance, unit = sheet.chance, sheet.unit
    scale = min(1.0, 1024 / max(sheet.size))
    mask = Image.new("L", (max(1, round(sheet.width * scale)), max(1, round(sheet.height * scale))))
    pen = ImageDraw.Draw(mask)
    left = sheet.luck(0.5)
    start = sheet.width * (chance.uniform(-0.1, 0.05) if left else chance.uniform(0.95, 1.1))
    reach = unit * chance.uniform(0.45, 0.8) * (1 if left else -1)
    level, slope = sheet.height * chance.uniform(0.08, 0.8), chance.uniform(-0.3, 0.3)
    bend, thick, bristles = unit * chance.uniform(-0.06, 0.06), unit * chance.uniform(0.05, 0.11), 44
    for i in range(bristles):
        offset = (i / bristles - 0.5) * thick
        end = chance.uniform(0.72, 1.0)
        points = []
        for step in range(25):
            t = step / 24 * end
            y = level + offset + slope * reach * t + bend * math.sin(math.pi * t)
            points.append(((start + reach * t) * scale, y * scale))
        width = max(1, round(thick / bristles * scale * chance.uniform(0.7, 1.9)))
        pen.line(points, fill=round(255 * chance.uniform(0.35, 0.95)), width=width, joint="curve")
    soft = mask.filter(ImageFilter.GaussianBlur(max(0.4, unit * scale * 0.0012)))
    brush.wash(image, chance.choice(sheet.palette.accents), soft.resize(sheet.size, Resampling.BICUBIC))


def _prints(sheet: Sheet, image: Image.Image, pictures: Sequence[Image.Image]) -> None:
    """Small framed prints in rows from the top right corner."""
    if not pictures:
        return
    room = sheet.width * 0.92
    side = sheet.unit * (0.3, 0.22, 0.165)[min(2, len(pictures) // 4)]
    step = side * 1.12
    across = max(1, int(room / step))
    for i, picture in enumerate(pictures):
        column, line = i % across, i // across
        card = _card(sheet.palette, picture, max(6, round(side)))
        card = card.rotate(sheet.chance.uniform(-4, 4), Resampling.BICUBIC, expand=True)
        x = round(sheet.width * 0.96 - step * (column + 1) + (step - card.width) / 2)
        y = round(sheet.unit * 0.04 + step * line + (step - card.height) / 2)
        outline = card.getchannel("A")
        brush.shadow(image, outline, (x, y), max(2, round(side * 0.07)), 0.45)
        image.paste(card, (x, y), outline)


def _card(palette: Palette, picture: Image.Image, side: int) -> Image.Image:
    """A print (RGBA) with a paper border, at most `side` wide and high."""
    border = max(1, round(side * 0.05))
    room = side - 2 * border, side - 2 * border
    inner = ImageOps.contain(flat(picture, palette.paper[0]), room, Resampling.BICUBIC)
    paper = mix(palette.paper[0], (255, 255, 255), 0.5)
    card = Image.new("RGBA", (inner.width + 2 * border, inner.height + 2 * border), (*paper, 255))
    card.paste(inner, (border, border))
    return ImageOps.expand(card, 1, (*paper, 0))
