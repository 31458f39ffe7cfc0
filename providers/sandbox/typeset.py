"""The caption: a plate with the prompt on it and a line that says how the picture was made."""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from providers.sandbox import brush
from providers.sandbox.brush import Box, Point
from providers.sandbox.palettes import Color, Palette, mix

# What Pillow's built-in scalable face can draw (looked up in Pillow 13, 2026-11-23); it draws a box for the rest.
_DRAWN = frozenset(map(chr, range(0x20, 0x7F))) | frozenset("©«°±´·»‘’“”…‹›⁄™")  # noqa: RUF001 - signs are the subject
_MISSING = "□"
_READ = 1500  # characters of a prompt that are looked at: more never fits on a plate
_SIZES = ((0.042, 14), (0.036, 12), (0.03, 10), (0.025, 9))  # of the area's unit, and at least so many pixels
_SMALLEST = 9  # pixels of lettering that can still be read
_LINES = 3  # a title of more lines is set smaller
_GAP = 0.3  # of the title's size, between title and facts
_SHARE = 0.34  # of the picture's height that a plate may take
_WIDE = 2  # times its height: in a picture wider than that the plate is only as wide as its lettering
_SHORT = 240  # pixels of height under which it may take more


def _table(words: str) -> list[str]:
    return words.split()


_CYRILLIC = _table("a b v g d e zh z i j k l m n o p r s t u f kh ts ch sh shch - y - e yu ya")
_GREEK = _table("a b g d e z i th i k l m n x o p r s s t y f ch ps o")
_SIGNS = _table("""
– - — - − - ― - ‐ - ‑ - ‚ , „ " × x ÷ : ¡ ! ¿ ? ß ss æ ae ø o œ oe ł l đ d þ th ð d ı i Æ AE Ø O Œ OE Ł L Đ D Þ Th
€ EUR £ GBP ¥ JPY • · → > ← < 、 , 。 . ・ · 「 “ 」 ” 『 “ 』 ” 《 « 》 » ー - ✓ + ★ * ☆ *
""")  # noqa: RUF001 - signs are the subject
_SPELLED = {
    **dict(zip(_SIGNS[::2], _SIGNS[1::2], strict=True)),
    **dict(zip(map(chr, range(0x430, 0x450)), _CYRILLIC, strict=True)),
    **dict(zip(map(chr, range(0x410, 0x430)), map(str.capitalize, _CYRILLIC), strict=True)),
    **dict(zip(map(chr, range(0x3B1, 0x3CA)), _GREEK, strict=True)),
    **dict(zip(map(chr, range(0x391, 0x3AA)), map(str.capitalize, _GREEK), strict=True)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The lines of a caption and their sizes in pixels; `fits`: nothing was cut and the lines are few."""

    title: tuple[str, ...]
    title_size: int
    facts: tuple[str, ...]
    facts_size: int
    fits: bool

    @property
    def width(self) -> int:
        title, facts = _Face(self.title_size), _Face(self.facts_size)
        return math.ceil(max([*map(title.width, self.title), *map(facts.width, self.facts)]))

    @property
    def height(self) -> int:
        gap = round(self.title_size * _GAP) if self.facts else 0
        return _Face(self.title_size).line * len(self.title) + gap + _Face(self.facts_size).line * len(self.facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """Where the plate lies (pixels), the space around its lettering, and the lettering."""

    box: Box
    pad: int
    setting: Setting

    def outline(self) -> Image.Image:
        """The plate's form (L)."""
        left, top, right, bottom = self.box
        return brush.panel_mask((right - left, bottom - top), self.pad * 0.55)


class _Face:
    """The built-in face at one size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.font = ImageFont.load_default(size)
        self.line = round(size * 1.28)

    def width(self, text: str) -> float:
        return self.font.getlength(text.replace(_MISSING, "")) + text.count(_MISSING) * self.size * 0.8

    def wrap(self, words: list[str], width: float, most: int) -> tuple[list[str], bool]:
        """The words in at most `most` lines, and whether all of them found room."""
        lines: list[str] = [""]
        rest = list(reversed(words))
        while rest:
            word = rest.pop()
            longer = f"{lines[-1]} {word}".strip()
            if self.width(longer) <= width:
                lines[-1] = longer
                continue
            if not lines[-1]:
                cut = self._fitting(word, width)
                lines[-1], word = word[:cut], word[cut:]
            if word:
                if len(lines) == most:
                    return lines, False
                lines.append("")
                rest.append(word)
        return lines, True

    def _fitting(self, word: str, width: float) -> int:
        """How many letters of the word fit, at least one."""
        low, high = 1, len(word)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.width(word[:middle]) <= width else (low, middle - 1)
        return low

    def write(self, pen: ImageDraw.ImageDraw, at: Point, line: str, ink: Color) -> None:
        """The line with its top left corner at a point; a letter that is missing becomes an empty square."""
        x, y = at
        side, stroke = round(self.size * 0.6), max(1, self.size // 16)
        foot = round(y + self.size * 0.94)
        for piece in re.split(f"({_MISSING})", line):
            if piece == _MISSING:
                left = round(x) + stroke
                pen.rectangle((left, foot - side, left + side, foot), outline=ink, width=stroke)
            else:
                pen.text((x, y), piece, fill=ink, font=self.font)
            x += self.width(piece)

    def shortened(self, line: str, width: float) -> str:
        """The line with an ellipsis at its end."""
        while line and self.width(line + "…") > width:
            line = line[:-1]
        return line.rstrip(" ,.;:") + "…"


def legible(text: str) -> str:
    """The text in letters that can be drawn: accents fall away, other alphabets are spelled, the rest is □."""
    return " ".join("".join(_spell(char) for char in text).split())


def _spell(char: str) -> str:
    if char in _DRAWN or char.isspace():
        return char
    if char in _SPELLED:
        return _SPELLED[char]
    name = unicodedata.name(char, "")
    if name.startswith(("HIRAGANA LETTER ", "KATAKANA LETTER ", "HANGUL SYLLABLE ")):
        return name.rsplit(" ", 1)[1].lower()
    plain = unicodedata.normalize("NFKD", char)
    if plain != char:
        return "".join(_spell(part) for part in plain)
    category = unicodedata.category(char)
    return "" if category[0] in "MC" or category == "Sk" else _MISSING


def lay_out(prompt: str, facts: Sequence[str], area: Box) -> Caption:
    """A plate at the bottom of the area: the largest lettering in which the prompt fits, else it is cut short."""
    width, height = area[2] - area[0], area[3] - area[1]
    unit = min(width, height * 1.6, 0.8 * (width * height) ** 0.5)
    margin, pad = round(unit * 0.035), max(2, round(unit * 0.03))
    room = max(_SMALLEST, width - 2 * margin - 2 * pad)
    tall = round(height * (_SHARE if height > _SHORT else 0.6)) - 2 * pad
    sizes = [max(least, round(unit * factor)) for factor, least in _SIZES]
    settings = (_set(prompt, facts, size=size, room=room, tall=tall) for size in sizes)
    chosen = next((setting for setting in settings if setting.fits), None)
    chosen = chosen or _set(prompt, facts, size=sizes[-1], room=room, tall=tall)
    widest = min(room, chosen.width + chosen.title_size) if width > _WIDE * height else room
    right, bottom = area[0] + margin + 2 * pad + widest, area[3] - margin
    top = max(area[1], bottom - chosen.height - 2 * pad)
    return Caption(box=(area[0] + margin, top, right, bottom), pad=pad, setting=chosen)


def _set(prompt: str, facts: Sequence[str], *, size: int, room: int, tall: int) -> Setting:
    """The caption at one size of lettering, in `room` pixels of width and `tall` of height."""
    face = _Face(size)
    small, lines = _fact_lines(facts, size, room, tall)
    words = legible(prompt[:_READ]).split() or ["untitled"]
    free = tall - small.line * len(lines) - round(size * _GAP)
    title, complete = face.wrap(words, room, max(1, free // face.line))
    complete = complete and len(prompt) <= _READ
    if not complete:
        title[-1] = face.shortened(title[-1], room)
    fits = complete and len(title) <= _LINES
    return Setting(title=tuple(title), title_size=size, facts=tuple(lines), facts_size=small.size, fits=fits)


def _fact_lines(facts: Sequence[str], size: int, room: int, tall: int) -> tuple[_Face, list[str]]:
    """The facts joined by dots, on as few lines as they need and as many as leave room for a title."""
    small = _Face(max(_SMALLEST, round(size * 0.62)))
    lines: list[str] = []
    for fact in map(legible, facts):
        longer = f"{lines[-1]} · {fact}" if lines else fact
        if lines and small.width(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(fact if small.width(fact) <= room else small.shortened(fact, room))
    most = (tall - round(size * (1.28 + _GAP))) // small.line
    return small, lines[: max(0, most)]


def engrave(image: Image.Image, caption: Caption, palette: Palette) -> None:
    """Lays the plate and its lettering on the image (RGB)."""
    paper, ink, accent = palette.paper
    left, top = caption.box[:2]
    mask = caption.outline()
    brush.shadow(image, mask, (left, top), max(2, caption.pad), 0.38)
    brush.wash(image, paper, mask.point(lambda v: v * 0.965), (left, top))
    pen = ImageDraw.Draw(image)
    y = float(top + caption.pad)
    setting = caption.setting
    title, facts = _Face(setting.title_size), _Face(setting.facts_size)
    for line in setting.title:
        title.write(pen, (left + caption.pad, y), line, ink)
        y += title.line
    y += round(setting.title_size * _GAP)
    for line in setting.facts:
        facts.write(pen, (left + caption.pad, y), line, mix(accent, ink, 0.25))
        y += facts.line
