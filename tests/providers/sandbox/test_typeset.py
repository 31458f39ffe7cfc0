from __future__ import annotations

from dataclasses import replace

import pytest

from providers.sandbox import typeset
from providers.sandbox.painter import Painting, paint

WISH = Painting(prompt="a lighthouse", model="demo-model", width=256, height=192, seed=7)


@pytest.mark.parametrize("size", [(256, 256), (1024, 1024), (1536, 192), (192, 1536)])
@pytest.mark.parametrize("prompt", ["a mountain lake", "moon " * 6400])
def test_the_caption_is_inside_and_in_contrast(size: tuple[int, int], prompt: str) -> None:
    """The plate lies inside the picture and carries dark letters on a light ground."""
    wish = replace(WISH, prompt=prompt, width=size[0], height=size[1])
    caption = typeset.lay_out(prompt, ("demo-model",), (0, 0, *size))
    left, top, right, bottom = caption.box
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    counts = paint(wish).convert("L").crop(caption.box).histogram()
    assert sum(counts[:90]) > 0.004 * sum(counts)
    assert sum(counts[200:]) > 0.5 * sum(counts)


def test_the_caption_tells_how_the_picture_was_made() -> None:
    """Prompt, model, size and seed stand on the plate; a prompt without end is cut with an ellipsis."""
    facts = ("demo-model", "1024x1024", "seed 42")
    short = typeset.lay_out("a red fox", facts, (0, 0, 1024, 1024)).setting
    assert (short.title, short.facts) == (("a red fox",), ("demo-model · 1024x1024 · seed 42",))
    endless = typeset.lay_out("fox " * 8000, facts, (0, 0, 1024, 1024)).setting
    assert endless.title[-1].endswith("…")
    assert endless.facts == short.facts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve façade — 5 €", "naive facade - 5 EUR"),
        ("Зимний лес, Ελλάδα", "Zimnij les, Ellada"),
        ("ひまわり 서울", "himawari seoul"),
        ("水墨画 ☃", "□□□ □"),
        ("tab\tline\nzero\u200bwidth\x00", "tab line zerowidth"),
        ("“quoted” … é\ud800", "“quoted” … e"),
    ],
)
def test_every_script_becomes_legible(text: str, shown: str) -> None:
    """Accents fall away, alphabets are spelled, what cannot be drawn is a square."""
    assert typeset.legible(text) == shown
