"""What the stand-in paints."""

from __future__ import annotations

import hashlib

from PIL import Image, ImageChops, ImageColor

from tests.upstreams.images import picture
from tests.upstreams.stability.form import SIDES, Form


def paint_of(prompt: str, seed: int) -> tuple[int, int, int]:
    """The colour that a prompt and a seed are painted in."""
    red, green, blue = hashlib.sha256(f"{prompt}/{seed}".encode()).digest()[:3]
    return (red, green, blue)


def painted(form: Form, path: str) -> Image.Image:
    colour = paint_of(form.texts.get("prompt", ""), form.seed)
    base = form.images.get("image")
    if base is None:
        return picture(*form.size, colour)
    paint = Image.new("RGBA", base.size, (*colour, 255))
    if path.endswith("/outpaint"):
        left, right, up, down = (int(form.texts.get(side, "0")) for side in SIDES)
        canvas = Image.new("RGB", (base.width + left + right, base.height + up + down), colour)
        canvas.paste(base.convert("RGB"), (left, up))
        return canvas
    if path.endswith("/remove-background"):
        clear = base.convert("RGBA")
        clear.paste((0, 0, 0, 0), (0, 0, base.width // 4, base.height))
        return clear
    for name in ("search_prompt", "select_prompt"):
        if name in form.texts:
            return Image.composite(paint, base.convert("RGBA"), _found(form.texts[name], base)).convert("RGB")
    if "mask" not in form.route.files:
        return Image.blend(base.convert("RGB"), paint.convert("RGB"), float(form.texts["strength"]))
    return Image.composite(paint, base.convert("RGBA"), _edited_area(form, base)).convert("RGB")


def _found(wanted: str, base: Image.Image) -> Image.Image:
    """White where the picture has the colour of that name; what is no colour is found nowhere."""
    try:
        colour = ImageColor.getrgb(wanted)[:3]
    except ValueError:
        return Image.new("L", base.size, 0)
    alike = ImageChops.difference(base.convert("RGB"), Image.new("RGB", base.size, colour)).convert("L")
    return alike.point(lambda difference: 255 if difference < 8 else 0)


def _edited_area(form: Form, base: Image.Image) -> Image.Image:
    """White where it is painted: of the mask, which wins, or of the picture's own transparency."""
    if "mask" in form.images:
        return form.images["mask"].convert("L").resize(base.size)
    return base.convert("RGBA").getchannel("A").point(lambda alpha: 255 - alpha)
