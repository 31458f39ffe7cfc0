"""Strokes: what every scene is painted with. Sizes and places are pixels, y grows downwards."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps
from PIL.Image import Resampling

from providers.sandbox.palettes import Color, Palette

Point = tuple[float, float]
Box = tuple[int, int, int, int]

_FINE = 2  # edges are drawn this many times larger and averaged
_RIM = 180  # the grey of Pillow's radial gradient in the middle of its sides (its corners are 255)
_CLOUD_SIDE = 320  # clouds are soft: painted small and enlarged


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What a scene is painted on: its size, its colours, its chance and how much detail (0..3)."""

    width: int
    height: int
    palette: Palette
    chance: Random
    detail: int

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def unit(self) -> float:
        """The length that lengths in a scene are fractions of, so that odd ratios are not stretched."""
        return min(self.width, self.height, 0.75 * math.sqrt(self.width * self.height))

    def luck(self, odds: float) -> bool:
        """True in `odds` (0..1) of the cases."""
        return self.chance.random() < odds


def mesh(size: tuple[int, int], rows: Sequence[Sequence[Color]]) -> Image.Image:
    """A smooth gradient through a grid of colours (at least one row and one column)."""
    columns = len(rows[0])
    small = Image.new("RGB", (columns, len(rows)))
    small.putdata([color for line in rows for color in line])
    inset_x, inset_y = min(0.5, (columns - 1) / 2), min(0.5, (len(rows) - 1) / 2)
    box = (inset_x, inset_y, columns - inset_x, len(rows) - inset_y)
    return small.resize(size, Resampling.BICUBIC, box=box)


def clouds(chance: Random, size: tuple[int, int], cells: tuple[int, int], octaves: int = 4) -> Image.Image:
    """Soft fractal noise (L, the full range of greys) with `cells` lumps across and down."""
    scale = min(1.0, _CLOUD_SIDE / max(size))
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    field: Image.Image | None = None
    for octave in range(octaves):
        across, down = max(2, cells[0] << octave), max(2, cells[1] << octave)
        noise = Image.frombytes("L", (across, down), chance.randbytes(across * down))
        layer = noise.resize(small, Resampling.BICUBIC)
        field = layer if field is None else Image.blend(field, layer, 0.5**octave / (2 - 0.5**octave))
    return ImageOps.autocontrast(field or Image.new("L", small)).resize(size, Resampling.BICUBIC)


def curve(mask: Image.Image, low: float, high: float, strength: float) -> Image.Image:
    """Greys below `low` become 0, above `high` become `strength` (all 0..1), smooth between."""

    def value(grey: int) -> int:
        t = min(1.0, max(0.0, (grey / 255 - low) / (high - low)))
        return round(255 * strength * t * t * (3 - 2 * t))

    return mask.point([value(grey) for grey in range(256)])


def wash(image: Image.Image, color: Color, mask: Image.Image, at: tuple[int, int] = (0, 0)) -> None:
    """Lays one colour through a mask (L) whose top left corner is `at`."""
    image.paste(color, (at[0], at[1], at[0] + mask.width, at[1] + mask.height), mask)


def halo(radius: int, strength: float, power: float) -> Image.Image:
    """A mask (L, 2 x radius wide) that is `strength` in the middle and fades to 0."""
    table = [round(255 * strength * max(0.0, 1 - grey / _RIM) ** power) for grey in range(256)]
    side = max(2, 2 * radius)
    return Image.radial_gradient("L").point(table).resize((side, side), Resampling.BICUBIC)


def glow(image: Image.Image, center: Point, radius: float, color: Color, strength: float = 0.8) -> None:
    reach = max(1, round(radius))
    wash(image, color, halo(reach, strength, 2.2), (round(center[0]) - reach, round(center[1]) - reach))


def shape(outlines: Sequence[Sequence[Point]], box: Box, fine: int = _FINE) -> Image.Image:
    """A mask (L) of `box` (left, top, right, bottom) in which the outlines are filled, with smooth edges."""
    left, top, right, bottom = box
    mask = Image.new("L", ((right - left) * fine, (bottom - top) * fine))
    pen = ImageDraw.Draw(mask)
    for outline in outlines:
        pen.polygon([((x - left) * fine, (y - top) * fine) for x, y in outline], fill=255)
    return mask.reduce(fine)


def stamp(image: Image.Image, outlines: Sequence[Sequence[Point]], color: Color, strength: float = 1.0) -> None:
    """Fills the outlines with one colour."""
    xs = [x for outline in outlines for x, _ in outline]
    ys = [y for outline in outlines for _, y in outline]
    box = (
        max(0, math.floor(min(xs))),
        max(0, math.floor(min(ys))),
        min(image.width, math.ceil(max(xs)) + 1),
        min(image.height, math.ceil(max(ys)) + 1),
    )
    if box[0] < box[2] and box[1] < box[3]:
        mask = shape(outlines, box, 4)
        wash(image, color, mask if strength == 1 else mask.point(lambda v: v * strength), box[:2])


def round_mask(radius: int) -> Image.Image:
    """A disc (L, 2 x radius wide)."""
    side = max(2, 2 * radius)
    mask = Image.new("L", (side * _FINE, side * _FINE))
    ImageDraw.Draw(mask).ellipse((0, 0, side * _FINE - 1, side * _FINE - 1), fill=255)
    return mask.reduce(_FINE)


def panel_mask(size: tuple[int, int], radius: float) -> Image.Image:
    """A rectangle with round corners (L)."""
    mask = Image.new("L", (size[0] * _FINE, size[1] * _FINE))
    box = (0, 0, mask.width - 1, mask.height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius * _FINE, fill=255)
    return mask.reduce(_FINE)


def shadow(image: Image.Image, mask: Image.Image, at: tuple[int, int], spread: int, strength: float) -> None:
    """Darkens the image softly around a shape, a little below it."""
    small = max(1, spread // 3)
    around = ImageOps.expand(mask, 2 * spread, 0)
    tiny = around.resize((max(1, around.width // small), max(1, around.height // small)), Resampling.BOX)
    soft = tiny.filter(ImageFilter.GaussianBlur(spread / small / 1.6)).resize(around.size, Resampling.BICUBIC)
    dark = soft.point(lambda v: v * strength)
    wash(image, (8, 10, 20), dark, (at[0] - 2 * spread, at[1] - 2 * spread + spread // 3))


def ridge(chance: Random, length: float, lumps: float, rough: float) -> list[float]:
    """Heights (about -1..1) along a line of `length` units with `lumps` hills a unit, 96 samples a unit."""
    count = max(24, round(length * 96))
    heights = [0.0] * (count + 1)
    weight, total, frequency = 1.0, 0.0, lumps * length / count
    for _ in range(6):
        knots = [chance.uniform(-1, 1) for _ in range(int(frequency * count) + 3)]
        offset = chance.random()
        for i in range(count + 1):
            place = i * frequency + offset
            knot = int(place)
            t = place - knot
            heights[i] += weight * (knots[knot] + (knots[knot + 1] - knots[knot]) * t * t * (3 - 2 * t))
        total += weight
        weight *= rough
        frequency *= 2.03
    return [height / total * 1.5 for height in heights]


def grain(image: Image.Image, chance: Random, amount: int) -> Image.Image:
    """The image with fine grey noise of at most `amount` levels, which also hides banding."""
    side = 256
    table = [round(grey / 255 * 2 * amount) for grey in range(256)]
    tile = Image.frombytes("L", (side, side), chance.randbytes(side * side)).point(table)
    noise = Image.new("L", image.size)
    for top in range(0, image.height, side):
        for left in range(0, image.width, side):
            noise.paste(tile, (left, top))
    return ImageChops.add(image, Image.merge("RGB", (noise, noise, noise)), 1, -amount)


def vignette(image: Image.Image, color: Color, strength: float) -> None:
    """Darkens the corners."""
    table = [round(255 * strength * max(0.0, grey / 255 - 0.4) ** 2 / 0.36) for grey in range(256)]
    wash(image, color, Image.radial_gradient("L").point(table).resize(image.size, Resampling.BICUBIC))
