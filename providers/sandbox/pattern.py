"""Abstract scenes: silk ribbons, a mosaic of simple forms."""

import math
from collections.abc import Callable
from random import Random

from PIL import Image, ImageDraw, ImageFilter
from PIL.Image import Resampling, Transpose

from providers.sandbox import brush
from providers.sandbox.brush import Point, Sheet
from providers.sandbox.palettes import BLACK, WHITE, Color, along, luminance, mix

_STEP = 36  # of luminance: less cannot be told apart from afar
_LARGE = 1500  # above this many pixels edges are softened instead of drawn larger


def ribbons(sheet: Sheet) -> Image.Image:
    """Folded silk flowing along the longer side."""
    upright = sheet.height > sheet.width * 1.15
    size = (sheet.height, sheet.width) if upright else sheet.size
    chance, palette = sheet.chance, sheet.palette
    dark = sheet.luck(0.45)
    stops = palette.night if dark else palette.sky
    image = brush.mesh(size, [[along(stops, chance.random()) for _ in range(3)] for _ in range(3)])
    spot = size[0] * chance.uniform(0.15, 0.85), size[1] * chance.uniform(0.1, 0.6)
    brush.glow(image, spot, sheet.unit * 0.9, palette.light[1], 0.5 if dark else 0.7)
    fine = 1 if max(size) > _LARGE else 2
    canvas = image if fine == 1 else image.resize((size[0] * fine, size[1] * fine), Resampling.BILINEAR)
    for fold in range(3):
        _silk(sheet, canvas, fold)
    canvas = canvas.reduce(fine) if fine > 1 else canvas.filter(ImageFilter.BoxBlur(0.55))
    return canvas.transpose(Transpose.ROTATE_90) if upright else canvas


def _wave(chance: Random, length: float, level: float, swing: float) -> Callable[[float], float]:
    """A smooth curve over 0..1 around `level`, for a line `length` units long."""
    parts = [(swing / k**1.3, chance.uniform(0.35, 0.8) * k * length, chance.uniform(0, math.tau)) for k in (1, 2)]
    return lambda x: level + sum(a * math.sin(math.tau * f * x + phase) for a, f, phase in parts)


def _silk(sheet: Sheet, canvas: Image.Image, fold: int) -> None:
    """One piece of cloth: many thin strips between two curves, shaded like folds."""
    chance, unit = sheet.chance, sheet.unit * canvas.height / min(sheet.size)
    length, high = canvas.width / unit, canvas.height / unit
    middle = high * (0.28 + 0.24 * fold) + chance.uniform(-0.06, 0.06)
    upper = _wave(chance, length, middle - 0.1, 0.13)
    lower = _wave(chance, length, middle + chance.uniform(0.08, 0.2), 0.15)
    colors = tuple(chance.sample(sheet.palette.accents, 4))
    folds, phase, twist = chance.uniform(2.5, 5), chance.uniform(0, math.tau), chance.uniform(0.5, 1.5)
    strips = 60 + 30 * sheet.detail + round(unit / 40)
    samples = round((30 + unit / 50) * min(5.0, max(1.0, length)))
    xs = [i / samples for i in range(samples + 1)]
    tops = [upper(x) for x in xs]
    bottoms = [top + math.hypot(lower(x) - top, 0.045) for x, top in zip(xs, tops, strict=True)]

    def edge(t: float) -> list[Point]:
        sway = [0.02 * math.sin(math.tau * (folds * 0.5 * t + twist * x * length) + phase) for x in xs]
        rows = zip(xs, tops, bottoms, sway, strict=True)
        return [(x * canvas.width, unit * (a + (b - a) * t + s * t * (1 - t) * 4)) for x, a, b, s in rows]

    _cast(canvas, edge(0), edge(1), max(2, round(unit * 0.05)))
    pen = ImageDraw.Draw(canvas)
    line = edge(0)
    for strip in range(strips):
        t = (strip + 0.5) / strips
        following = edge((strip + 1) / strips)
        shade = math.sin(math.tau * folds * t + phase)
        base = along(colors, t)
        color = mix(base, WHITE, 0.34 * shade) if shade > 0 else mix(base, BLACK, -0.3 * shade)
        pen.polygon([*line, *reversed([(x, y + 1.5) for x, y in following])], fill=color)
        line = following


def _cast(canvas: Image.Image, upper: list[Point], lower: list[Point], spread: int) -> None:
    """The cloth's shadow on what lies behind it."""
    scale = 8
    size = max(1, canvas.width // scale), max(1, canvas.height // scale)
    mask = Image.new("L", size)
    across, down = size[0] / canvas.width, size[1] / canvas.height
    outline = [(x * across, (y + spread * 0.6) * down) for x, y in [*upper, *reversed(lower)]]
    ImageDraw.Draw(mask).polygon(outline, fill=120)
    soft = mask.filter(ImageFilter.GaussianBlur(spread / scale))
    box = soft.getbbox()
    if box is None:
        return
    top, bottom = int(box[1] / down), min(canvas.height, math.ceil(box[3] / down))
    rows = (0, top * down, size[0], bottom * down)
    dark = soft.resize((canvas.width, bottom - top), Resampling.BILINEAR, box=rows)
    brush.wash(canvas, (8, 10, 20), dark, (0, top))


def mosaic(sheet: Sheet) -> Image.Image:
    """A wall of tiles, each a simple form in two or three colours, under one soft light."""
    chance = sheet.chance
    across = chance.choice((4, 5, 6)) + sheet.detail // 2
    side = max(8, math.ceil(min(sheet.size) / across))
    columns, rows = math.ceil(sheet.width / side), math.ceil(sheet.height / side)
    image = Image.new("RGB", sheet.size, sheet.palette.paper[0])
    taken: set[tuple[int, int]] = set()
    for y in range(rows):
        for x in range(columns):
            if (x, y) in taken:
                continue
            big = sheet.luck(0.16) and x + 1 < columns and y + 1 < rows and (x + 1, y) not in taken
            span = 2 if big else 1
            taken.update((x + i, y + j) for i in range(span) for j in range(span))
            image.paste(_tile(sheet, side * span), (x * side, y * side))
    light = brush.halo(max(sheet.size), 0.3, 1.5)
    place = round(sheet.width * chance.random()) - light.width // 2, -light.height // 2
    brush.wash(image, sheet.palette.light[0], light, place)
    return image


def _tile(sheet: Sheet, side: int) -> Image.Image:
    chance = sheet.chance
    ground, form, mark = chance.sample((*sheet.palette.accents, sheet.palette.paper[0]), 3)
    if abs(luminance(ground) - luminance(form)) < _STEP:
        form = max(sheet.palette.paper[:2], key=lambda color: abs(luminance(color) - luminance(ground)))
    large = side * 2
    tile = Image.new("RGB", (large, large), ground)
    draw = chance.choices(_FORMS, (3, 3, 2, 2, 2, 2, 2, 1))[0]
    draw(ImageDraw.Draw(tile), large, form, mark)
    turns = (None, Transpose.ROTATE_90, Transpose.ROTATE_180, Transpose.ROTATE_270)
    turn = chance.choice(turns)
    tile = tile.reduce(2)
    return tile if turn is None else tile.transpose(turn)


def _around(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return x - radius, y - radius, x + radius, y + radius


def _quarter(pen: ImageDraw.ImageDraw, side: int, form: Color, mark: Color) -> None:
    pen.ellipse(_around(0, 0, side), fill=form)
    pen.ellipse(_around(0, 0, side * 0.5), fill=mark)


def _rings(pen: ImageDraw.ImageDraw, side: int, form: Color, mark: Color) -> None:
    ground = pen.im.getpixel((side - 1, side - 1))
    for i in range(5):
        pen.ellipse(_around(0, 0, side * (1 - i / 5)), fill=(form, ground)[i % 2])
    pen.ellipse(_around(0, 0, side * 0.2), fill=mark)


def _leaf(pen: ImageDraw.ImageDraw, side: int, form: Color, mark: Color) -> None:
    steps = [i / 24 * math.pi / 2 for i in range(25)]
    upper = [(side * math.sin(a), side * (1 - math.cos(a))) for a in steps]
    lower = [(side * (1 - math.cos(a)), side * math.sin(a)) for a in reversed(steps)]
    pen.polygon([*upper, *lower], fill=form)
    pen.ellipse(_around(side * 0.5, side * 0.5, side * 0.12), fill=mark)


def _half(pen: ImageDraw.ImageDraw, side: int, form: Color, mark: Color) -> None:
    pen.rectangle((0, side / 2, side, side), fill=mark)
    pen.pieslice(_around(side / 2, side / 2, side / 2 - 1), 180, 360, fill=form)


def _disc(pen: ImageDraw.ImageDraw, side: int, form: Color, mark: Color) -> None:
    pen.ellipse(_around(side / 2, side / 2, side * 0.42), fill=form)
    pen.ellipse(_around(side * 0.5, side * 0.5, side * 0.2), fill=mark)


def _corner(pen: ImageDraw.ImageDraw, side: int, form: Color, mark: Color) -> None:
    pen.polygon([(0, 0), (side, 0), (0, side)], fill=form)
    pen.pieslice(_around(side, side, side / 2), 180, 270, fill=mark)


def _arches(pen: ImageDraw.ImageDraw, side: int, form: Color, mark: Color) -> None:
    for i, color in enumerate((form, mark, form)):
        reach = side * (0.5 - i * 0.15)
        pen.pieslice(_around(side / 2, side / 2, reach), 180, 360, fill=color)
        pen.rectangle((side / 2 - reach, side / 2, side / 2 + reach, side), fill=color)


def _stripes(pen: ImageDraw.ImageDraw, side: int, form: Color, mark: Color) -> None:
    for i in range(4):
        pen.rectangle((0, side * i / 4, side, side * (i + 0.5) / 4), fill=(form, form, form, mark)[i])


_FORMS = (_quarter, _leaf, _rings, _half, _disc, _corner, _arches, _stripes)
