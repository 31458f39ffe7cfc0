"""Colours that go together, and the arithmetic on them."""

import colorsys
from dataclasses import dataclass, fields

Color = tuple[int, int, int]

WHITE: Color = (255, 255, 255)
BLACK: Color = (0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    sky: tuple[Color, ...]  # zenith to horizon
    night: tuple[Color, ...]  # zenith to horizon
    light: tuple[Color, ...]  # the sun, the moon
    land: tuple[Color, ...]  # far, middle, near
    accents: tuple[Color, ...]
    paper: tuple[Color, ...]  # the caption's plate, its ink, its accent


def _colors(codes: str) -> tuple[Color, ...]:
    return tuple((int(c[0:2], 16), int(c[2:4], 16), int(c[4:6], 16)) for c in codes.split())


def _palette(*rows: str) -> Palette:
    """A palette from its rows in the order of the fields."""
    return Palette(**{field.name: _colors(row) for field, row in zip(fields(Palette), rows, strict=True)})


PALETTES = (
    _palette(  # ember dawn
        "35477d 7a6596 d98a8b ffc58f ffe6bd",
        "0a1030 1c2350 4a3566 a05a72",
        "fff4d6 ffeccc",
        "c78f92 6f4f74 211c3c",
        "e4572e f3a546 f7d488 3d6b8c 272b53 b23a5b",
        "fbf4e8 231e3d b23a5b",
    ),
    _palette(  # alpine morning
        "2f6f9f 6ba6c6 b8d8dc f2ead3 fdf3dc",
        "07182c 0f3350 1f5a71 6fa2a0",
        "fffbe6 f4f8ff",
        "a9c4c6 4b7d89 0f2f3f",
        "1b6b7d 58a4a6 f2c14e f78154 12354a dfe8d8",
        "f8f6ee 10303f c4582c",
    ),
    _palette(  # rose quartz
        "6a7fb5 a99cc8 e3b3c6 f9d1c4 fff0e2",
        "14122e 2e2455 6a4479 c07f95",
        "fffaf0 fff0f2",
        "d2a5b5 8d6890 33264d",
        "d1557b f2a7a3 f9dcc4 7a86c2 403469 6fb7b0",
        "fdf5f1 34264c b53f69",
    ),
    _palette(  # moss and brass
        "5d7f74 9db39a d9cfa1 f3dfa8 fbf0cf",
        "08160f 12301f 2d5438 8a8a4f",
        "fffbe0 fdf6d8",
        "a9b38c 5b7450 16271d",
        "2f5d46 8aa35c d9b44a b3582b 1d3027 efe3bd",
        "f9f4e3 1c2c21 a1501f",
    ),
    _palette(  # coral sea
        "0f5e8c 3a9fb5 8fd3c8 ffd9b0 ffefd8",
        "04162f 06365a 12698a 5fb3a8",
        "fff6dd eefcff",
        "8ebfbb 2f7f8e 093850",
        "ff6f59 ffb38a ffe5c2 1f9aa5 0b4566 f6c65b",
        "fdf6ec 0b3550 d9472f",
    ),
    _palette(  # saffron desert
        "7d5a7f c7788a ef9a6a fbc46d fde7b0",
        "170d24 3a1a3c 7a3145 d4704d",
        "fff3c9 ffe9c2",
        "dc9a72 a8563f 3d1b2b",
        "c8412f ee8a3a f8c657 7b2d43 2f1a33 e9d5b0",
        "fcf3e2 3a1a2a b5402a",
    ),
    _palette(  # slate and copper
        "41536b 7d8ea0 bdc3c4 e8d5c0 f7eadb",
        "0a0f18 18222f 34475a 8b8680",
        "fff7ec f1f5fa",
        "a7b0b6 5a6a78 1a2430",
        "b8693d e0a36f f0dcc3 54708a 222e3d 8fa6a8",
        "f7f3ed 1d2733 a8572a",
    ),
    _palette(  # iris and lime
        "3b3a8c 6b6fc4 a9b0e6 d8e3d0 f4f6d8",
        "0a0a2c 1d1f5e 3f4ca0 79c2ae",
        "fdfde0 f2ffee",
        "a2a8d8 5558a6 1b1b4c",
        "5b4fd0 9db2f2 d5e86a f06f8b 1f1f57 f3efe0",
        "f7f7ef 1f1e4f 5a45c7",
    ),
)


def mix(a: Color, b: Color, t: float) -> Color:
    """The colour at t (0 is a, 1 is b)."""
    return round(a[0] + (b[0] - a[0]) * t), round(a[1] + (b[1] - a[1]) * t), round(a[2] + (b[2] - a[2]) * t)


def along(stops: tuple[Color, ...], t: float) -> Color:
    """The colour at t in 0..1 on the line through all stops."""
    place = min(max(t, 0.0), 1.0) * (len(stops) - 1)
    first = min(int(place), len(stops) - 2)
    return mix(stops[first], stops[first + 1], place - first)


def luminance(color: Color) -> float:
    """How bright the colour looks, 0..255."""
    return 0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2]


def _saturated(color: Color, factor: float) -> Color:
    hue, light, saturation = colorsys.rgb_to_hls(*(part / 255 for part in color))
    red, green, blue = colorsys.hls_to_rgb(hue, light, min(1.0, saturation * factor))
    return round(red * 255), round(green * 255), round(blue * 255)


def restyle(palette: Palette, style: str) -> Palette:
    """The palette for a style: 'vivid' saturated, 'natural' muted, anything else as it is."""
    factor = {"vivid": 1.45, "natural": 0.5}.get(style)
    if factor is None:
        return palette
    rows = {f.name: getattr(palette, f.name) for f in fields(palette)}
    return Palette(**{name: tuple(_saturated(c, factor) for c in colors) for name, colors in rows.items()})
