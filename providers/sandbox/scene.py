"""Views of land and sky: a landscape by day, a nocturne."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageChops, ImageFilter
from PIL.Image import Resampling, Transpose

from providers.sandbox import brush
from providers.sandbox.brush import Point, Sheet
from providers.sandbox.palettes import BLACK, WHITE, Color, along, mix

_NEAR, _SMOOTH = 0.75, 0.4  # woods stand on near ridges that are not dunes
_CURTAIN = (0, 0, 6, 14, 26, 42, 64, 92, 128, 172, 220, 255, 230, 90, 0)  # northern lights, from above to the edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Hill:
    """One ridge: its outline left to right, what stands on it, and its colours from crest to foot."""

    crest: Sequence[Point]
    standing: Sequence[Sequence[Point]] = ()
    top: Color
    foot: Color
    fade: float  # pixels from the crest to where the foot's colour is reached


def landscape(sheet: Sheet) -> Image.Image:
    """A sun over ridges that fade into mist, sometimes over a lake."""
    chance, palette = sheet.chance, sheet.palette
    warm = [mix(color, palette.light[0], 0.18) for color in palette.sky]
    columns = list(zip(palette.sky, warm, strict=True))
    if sheet.luck(0.5):
        columns = [(b, a) for a, b in columns]
    lake = sheet.luck(0.45)
    horizon = sheet.height * (chance.uniform(0.6, 0.66) if lake else chance.uniform(0.5, 0.58))
    image = brush.mesh((sheet.width, sheet.height), [*columns, columns[-1]])
    sun = sheet.width * chance.uniform(0.22, 0.78), horizon - sheet.unit * chance.uniform(0.1, 0.3)
    _sky_light(sheet, image, sun)
    _haze(sheet, image, horizon)
    rough = chance.choice((0.38, 0.5, 0.56))
    layers = 4 + sheet.detail
    if lake:
        _ridges(sheet, image, top=horizon - sheet.unit * 0.12, base=horizon, layers=layers - 1, rough=rough)
        _water(sheet, image, horizon, sun[0])
    else:
        _ridges(sheet, image, top=horizon, base=sheet.height * 0.96, layers=layers, rough=rough)
    _birds(sheet, image, sun)
    return image


def nocturne(sheet: Sheet) -> Image.Image:
    """A moon and stars over dark woods, sometimes with northern lights or water."""
    chance, palette = sheet.chance, sheet.palette
    deep = mix(palette.night[0], BLACK, 0.25)
    columns = [(deep, palette.night[0])] + [(c, mix(c, palette.night[1], 0.35)) for c in palette.night[1:]]
    image = brush.mesh(sheet.size, [*columns, columns[-1]])
    horizon = sheet.height * chance.uniform(0.58, 0.66)
    _milky_way(sheet, image)
    _stars(sheet, image, horizon)
    if sheet.luck(0.4):
        _northern_lights(sheet, image, horizon)
    radius = sheet.unit * chance.uniform(0.055, 0.1)
    low, high = 2.2 * radius, max(2.3 * radius, horizon - 3.2 * radius)
    moon = sheet.width * chance.uniform(0.2, 0.8), low + (high - low) * chance.random()
    _moon(sheet, image, moon, radius)
    layers = 3 + sheet.detail
    if sheet.luck(0.5):
        _woods(sheet, image, top=horizon - sheet.unit * 0.06, base=horizon, layers=layers - 1)
        _water(sheet, image, horizon, moon[0])
    else:
        _woods(sheet, image, top=horizon, base=sheet.height * 0.95, layers=layers)
    return image


def _sky_light(sheet: Sheet, image: Image.Image, sun: Point) -> None:
    light = sheet.palette.light
    unit, chance = sheet.unit, sheet.chance
    brush.glow(image, sun, unit * 0.75, light[1], 0.55)
    cells = max(2, round(3 * sheet.width / unit)), max(3, round(9 * sheet.height / unit))
    veil = brush.clouds(chance, sheet.size, cells, 3 + sheet.detail)
    brush.wash(image, mix(sheet.palette.sky[-1], WHITE, 0.45), brush.curve(veil, 0.52, 0.95, 0.55))
    brush.glow(image, sun, unit * 0.3, light[0], 0.8)
    radius = max(2, round(unit * chance.uniform(0.05, 0.085)))
    brush.wash(image, light[0], brush.round_mask(radius), (round(sun[0]) - radius, round(sun[1]) - radius))


def _haze(sheet: Sheet, image: Image.Image, horizon: float) -> None:
    """Brightens the air towards the horizon and everything below it."""
    top = max(0, round(horizon - sheet.unit * 0.5))
    reach = max(2, round(horizon) - top)
    column = Image.linear_gradient("L").point([round(grey * grey / 255 * 0.6) for grey in range(256)])
    mask = Image.new("L", (sheet.width, sheet.height - top), 153)
    mask.paste(column.resize((sheet.width, reach), Resampling.BICUBIC))
    brush.wash(image, sheet.palette.sky[-1], mask, (0, top))


def _crest(sheet: Sheet, level: float, height: float, lumps: float, rough: float) -> list[Point]:
    length = sheet.width / sheet.unit
    heights = brush.ridge(sheet.chance, length, lumps, rough)
    step = sheet.width / (len(heights) - 1)
    return [(i * step, level - height * value) for i, value in enumerate(heights)]


def _lay(image: Image.Image, hill: Hill) -> None:
    """Paints the hill from its crest to the bottom of the image."""
    highest = min(min(y for _, y in outline) for outline in [hill.crest, *hill.standing])
    lowest = math.ceil(max(y for _, y in hill.crest)) + 1
    top = max(0, math.floor(highest))
    if top >= image.height:
        return
    lowest = min(image.height, max(top + 1, lowest))
    ground = [(-1.0, float(lowest + 1)), *hill.crest, (image.width + 1.0, hill.crest[-1][1])]
    ground.append((image.width + 1.0, float(lowest + 1)))
    mask = Image.new("L", (image.width, image.height - top), 255)
    mask.paste(brush.shape([ground, *hill.standing], (0, top, image.width, lowest)))
    steps = max(2, round((image.height - top) / max(1.0, hill.fade)))
    middle = mix(hill.top, hill.foot, 0.55)
    rows = [(hill.top,), (middle,), *[(hill.foot,)] * min(steps, 12)]
    image.paste(brush.mesh((image.width, image.height - top), rows), (0, top), mask)


def _ridges(sheet: Sheet, image: Image.Image, *, top: float, base: float, layers: int, rough: float) -> None:
    palette, chance, unit = sheet.palette, sheet.chance, sheet.unit
    mist = mix(palette.sky[-1], palette.land[0], 0.35)
    for i in range(layers):
        depth = i / max(1, layers - 1)
        color = mix(mist, along(palette.land, depth), 0.42 + 0.58 * depth)
        level = top + (base - top) * depth**1.15 * 0.86
        crest = _crest(sheet, level, unit * (0.1 + 0.03 * depth), 1.1 + 0.5 * depth, rough)
        trees = _wood(chance, crest, unit * 0.035 * depth, 14) if depth > _NEAR and rough > _SMOOTH else []
        foot = mix(color, mist, 0.6 * (1 - depth))
        _lay(image, Hill(crest=crest, standing=trees, top=color, foot=foot, fade=unit * 0.22))


def _woods(sheet: Sheet, image: Image.Image, *, top: float, base: float, layers: int) -> None:
    palette, chance, unit = sheet.palette, sheet.chance, sheet.unit
    air = palette.night[-2]
    for i in range(layers):
        depth = i / max(1, layers - 1)
        color = mix(mix(air, palette.night[0], 0.35 + 0.5 * depth), BLACK, 0.5 * depth)
        level = top + (base - top) * depth * 0.8
        crest = _crest(sheet, level, unit * 0.06, 1.2, 0.45)
        trees = _wood(chance, crest, unit * (0.03 + 0.075 * depth), round(34 - 16 * depth))
        foot = mix(color, air, 0.4 * (1 - depth))
        _lay(image, Hill(crest=crest, standing=trees, top=color, foot=foot, fade=unit * 0.2))


def _wood(chance: Random, crest: Sequence[Point], height: float, per_unit: int) -> list[list[Point]]:
    """Firs along a crest, in groves."""
    count = round(per_unit * len(crest) / 96)
    groves = [chance.random() for _ in range(6)]
    trees: list[list[Point]] = []
    for _ in range(count):
        place = chance.choice(groves) + chance.gauss(0, 0.07) if chance.randrange(3) else chance.random()
        x, y = crest[round(min(1.0, max(0.0, place)) * (len(crest) - 1))]
        trees.append(_fir(chance, x, y + height * 0.1, height * chance.uniform(0.55, 1.15)))
    return trees


def _fir(chance: Random, x: float, foot: float, height: float) -> list[Point]:
    tiers = 6
    width = height * chance.uniform(0.19, 0.25)
    left: list[Point] = []
    right: list[Point] = []
    for tier in range(tiers):
        low, reach = tier / tiers, width * (1 - tier / tiers) ** 0.85 * chance.uniform(0.85, 1.1)
        left += [(x - reach, foot - height * low * 0.96), (x - reach * 0.5, foot - height * (low + 0.13))]
        right += [(x + reach, foot - height * low * 0.96), (x + reach * 0.5, foot - height * (low + 0.13))]
    return [*left, (x, foot - height * 1.05), *reversed(right)]


def _water(sheet: Sheet, image: Image.Image, shore: float, light: float) -> None:
    """Everything below the shore becomes a rippled mirror of what is above it."""
    top, palette, unit = round(shore), sheet.palette, sheet.unit
    depth = sheet.height - top
    if depth <= 0 or top <= 0:
        return
    above = image.crop((0, max(0, top - round(depth * 1.25)), sheet.width, top))
    mirror = above.transpose(Transpose.FLIP_TOP_BOTTOM).filter(ImageFilter.BoxBlur(max(0.5, unit * 0.0025)))
    mirror = mirror.resize((sheet.width, depth), Resampling.BILINEAR)
    deep = mix(palette.land[-1], palette.night[0], 0.5)
    fall = Image.linear_gradient("L").point([round(40 + grey * 0.5) for grey in range(256)])
    brush.wash(mirror, deep, fall.resize(mirror.size, Resampling.BICUBIC))
    image.paste(mirror, (0, top))
    for _ in range(36 + 24 * sheet.detail):
        far = sheet.chance.random() ** 1.6
        y = top + depth * (0.01 + 0.97 * far)
        path = sheet.luck(0.6)
        x = sheet.chance.gauss(light, unit * (0.02 + 0.06 * far)) if path else sheet.width * sheet.chance.random()
        reach, thick = unit * sheet.chance.uniform(0.02, 0.07) * (0.5 + far), unit * (0.0008 + 0.0022 * far)
        lens = [(x - reach, y), (x, y - thick), (x + reach, y), (x, y + thick)]
        brush.stamp(image, [lens], palette.light[0], 0.6 if path else 0.22)


def _birds(sheet: Sheet, image: Image.Image, near: Point) -> None:
    unit, chance = sheet.unit, sheet.chance
    for _ in range(chance.choice((0, 3, 5, 7))):
        x, y = near[0] + unit * chance.gauss(0.1, 0.16), near[1] + unit * chance.gauss(-0.1, 0.05)
        span, lift = unit * chance.uniform(0.008, 0.016), chance.uniform(0.35, 0.7)
        upper = [(x + span * t, y - span * lift * math.sin(abs(t) * 2.3)) for t in (-1, -0.7, -0.35, 0, 0.35, 0.7, 1)]
        lower = [(px, py + span * 0.22 * (1 - abs(px - x) / span)) for px, py in reversed(upper)]
        brush.stamp(image, [[*upper, *lower]], mix(sheet.palette.land[1], sheet.palette.land[2], 0.6))


def _stars(sheet: Sheet, image: Image.Image, horizon: float) -> None:
    unit, chance = sheet.unit, sheet.chance
    area = sheet.width * horizon / unit**2
    count = min(1600, round(area * (150 + 110 * sheet.detail)))
    sprites = [brush.halo(max(1, round(unit * size)), strength, 1.4) for size, strength in
               ((0.0013, 0.55), (0.0018, 0.8), (0.0026, 1.0), (0.0042, 1.0))]  # fmt: skip
    for _ in range(count):
        sprite = sprites[min(3, int(chance.expovariate(1.25)))]
        x, y = round(sheet.width * chance.random()), round(horizon * chance.random() ** 1.25)
        brush.wash(image, mix(WHITE, sheet.palette.night[-1], 0.3 * chance.random()), sprite, (x, y))


def _milky_way(sheet: Sheet, image: Image.Image) -> None:
    """A pale band of cloud across the sky."""
    chance, unit = sheet.chance, sheet.unit
    cells = max(2, round(4 * sheet.width / unit)), max(2, round(4 * sheet.height / unit))
    cloud = brush.clouds(chance, sheet.size, cells, 4 + sheet.detail // 2)
    reach = math.hypot(*sheet.size)
    strip = brush.halo(128, 1, 1.3).resize((round(reach * 1.5), max(2, round(unit * 1.1))), Resampling.BICUBIC)
    turned = strip.rotate(chance.uniform(20, 60) * chance.choice((-1, 1)), Resampling.BILINEAR, expand=True)
    place = round(sheet.width * chance.uniform(0.3, 0.7)), round(sheet.height * 0.3)
    mask = Image.new("L", sheet.size)
    mask.paste(turned, (place[0] - turned.width // 2, place[1] - turned.height // 2))
    mask = ImageChops.multiply(mask, brush.curve(cloud, 0.2, 0.95, 0.85))
    brush.wash(image, mix(sheet.palette.night[-1], WHITE, 0.25), mask)


def _northern_lights(sheet: Sheet, image: Image.Image, horizon: float) -> None:
    """Curtains: a wavering lower edge from which light fades upwards."""
    unit, chance = sheet.unit, sheet.chance
    color = max(sheet.palette.accents, key=lambda c: c[1] - 0.6 * c[0])
    across, down = 220, 220
    streak = brush.mesh((1, 64), [[(grey, 0, 0)] for grey in _CURTAIN]).getchannel("R")
    for _ in range(2 + sheet.detail // 2):
        height = unit * chance.uniform(0.3, 0.5) / sheet.height * down
        wave = brush.ridge(chance, sheet.width / unit, 1.1, 0.25)
        level = horizon * chance.uniform(0.55, 0.8)
        bright = brush.clouds(chance, (across, 1), (14, 1), 3).tobytes()
        mask = Image.new("L", (across, down))
        for column in range(across):
            y = level - unit * 0.13 * wave[round(column / across * (len(wave) - 1))]
            tall = max(2, round(height * chance.uniform(0.85, 1.05)))
            bar = streak.resize((1, tall), Resampling.BILINEAR).point(_dimmed(bright[column]))
            mask.paste(bar, (column, round(y / sheet.height * down) - tall))
        soft = mask.filter(ImageFilter.GaussianBlur(1.3))
        brush.wash(image, mix(color, WHITE, 0.15), soft.resize(sheet.size, Resampling.BICUBIC))


def _dimmed(grey: int) -> list[int]:
    return [round(value * (0.3 + 0.4 * grey / 255)) for value in range(256)]


def _moon(sheet: Sheet, image: Image.Image, center: Point, radius: float) -> None:
    light, r = sheet.palette.light, max(2, round(radius))
    brush.glow(image, center, radius * 5, light[1], 0.34)
    brush.glow(image, center, radius * 2.2, light[1], 0.5)
    disc = brush.round_mask(r)
    face = Image.new("RGB", disc.size, light[0])
    seas = brush.clouds(sheet.chance, disc.size, (3, 3), 4)
    brush.wash(face, mix(light[0], sheet.palette.night[-1], 0.5), brush.curve(seas, 0.45, 0.8, 0.5))
    place = round(center[0]) - r, round(center[1]) - r
    if sheet.luck(0.4):
        bite = Image.new("L", disc.size)
        bite.paste(disc, (round(r * sheet.chance.uniform(-0.75, -0.45)), round(-r * 0.18)))
        disc = ImageChops.subtract(disc, bite)
    image.paste(face, place, disc)
