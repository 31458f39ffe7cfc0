from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageStat

from providers.sandbox.painter import Painting, edit, encode, paint, partials, rougher

WISH = Painting(prompt="a lighthouse keeper's kitchen", model="demo-model", width=256, height=192, seed=7)
SCENES = ("a mountain lake", "moon and stars", "abstract silk", "a geometric mosaic")


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean absolute difference of two images of the same size and mode."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def masked(size: tuple[int, int], hole: tuple[int, int, int, int], alpha: int = 0) -> bytes:
    """A mask that is transparent (or of another alpha) in one rectangle."""
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, alpha), hole)
    return file(mask)


def stripes(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """A busy picture in which every pixel matters."""
    image = Image.new("RGB", size, (30, 90, 160))
    pen = ImageDraw.Draw(image)
    for x in range(0, size[0], 3):
        pen.line((x, 0, size[0] - x, size[1]), fill=(x % 256, 255 - x % 256, 7 * x % 256))
    return image.convert(mode)


@pytest.mark.parametrize("prompt", SCENES)
@pytest.mark.parametrize("transparent", [False, True])
def test_same_wish_same_bytes(prompt: str, transparent: bool) -> None:
    """The same wish gives the same bytes in every scene."""
    wish = replace(WISH, prompt=prompt, transparent=transparent)
    assert encode(paint(wish), "png") == encode(paint(wish), "png")


@pytest.mark.parametrize(
    "other",
    [
        replace(WISH, seed=8),
        replace(WISH, prompt="a lighthouse keeper's kitchen."),
        replace(WISH, index=1),
        replace(WISH, model="another-model"),
        replace(WISH, negative_prompt="people"),
        replace(WISH, quality="hd"),
        replace(WISH, style="vivid"),
    ],
)
def test_another_wish_is_another_picture(other: Painting) -> None:
    """Every part of a wish shows in the picture."""
    assert difference(paint(WISH), paint(other)) > 0.05


@pytest.mark.parametrize("prompt", SCENES)
@pytest.mark.parametrize("size", [(64, 64), (1536, 192), (192, 1536), (257, 131), (64, 640), (640, 64), (1024, 1024)])
def test_sizes_are_exact(prompt: str, size: tuple[int, int]) -> None:
    """Each scene fills exactly the size asked for, odd ratios included."""
    image = paint(replace(WISH, prompt=prompt, width=size[0], height=size[1]))
    assert (image.size, image.mode) == (size, "RGB")


def test_the_largest_size() -> None:
    """A picture of 4096x4096 is possible in the highest quality."""
    image = paint(replace(WISH, prompt="abstract silk", width=4096, height=4096, quality="4K"))
    assert image.size == (4096, 4096)


def test_a_transparent_picture_has_an_empty_background() -> None:
    """With a transparent background the corners have alpha 0 and the middle alpha 255, in png and webp."""
    image = paint(replace(WISH, transparent=True))
    for copy in (image, opened(encode(image, "png")), opened(encode(image, "webp"))):
        alpha = copy.getchannel("A")
        assert [alpha.getpixel(corner) for corner in ((0, 0), (255, 0), (0, 191), (255, 191))] == [0] * 4
        assert alpha.getpixel((128, 96)) == 255


def test_jpeg_lays_transparency_on_white() -> None:
    """A transparent corner is white in a jpeg."""
    image = opened(encode(paint(replace(WISH, transparent=True)), "jpeg"))
    assert image.getpixel((0, 0)) == pytest.approx((255, 255, 255), abs=3)


@pytest.mark.parametrize(
    ("kind", "head", "kept"),
    [("png", b"\x89PNG\r\n\x1a\n", "PNG"), ("jpeg", b"\xff\xd8\xff", "JPEG"), ("webp", b"RIFF", "WEBP")],
)
def test_files_are_what_was_asked_for(kind: str, head: bytes, kept: str) -> None:
    """Each format has its own signature and decodes to the picture's size."""
    data = encode(paint(WISH), kind)
    assert data.startswith(head)
    assert (opened(data).format, opened(data).size) == (kept, (256, 192))


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_compression_makes_files_smaller(kind: str) -> None:
    """A lower output_compression gives a smaller file."""
    image = paint(WISH)
    sizes = [len(encode(image, kind, compression)) for compression in (100, 70, 30, 0)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]


def test_png_is_lossless() -> None:
    """A png decodes to the same pixels, alpha included."""
    image = paint(replace(WISH, transparent=True))
    assert opened(encode(image, "png")).tobytes() == image.tobytes()


def test_an_unknown_format_is_refused() -> None:
    """A format that the painter does not know is a ValueError."""
    with pytest.raises(ValueError, match="gif"):
        encode(paint(WISH), "gif")


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("transparent", [False, True])
def test_partials_come_closer(count: int, transparent: bool) -> None:
    """There are as many partials as asked for, each nearer to the final picture than the one before."""
    wish = replace(WISH, transparent=transparent)
    final, states = paint(wish), partials(wish, count)
    distances = [difference(state, final) for state in states]
    assert len(states) == count
    assert all(state.size == final.size for state in states)
    assert all(earlier > later * 1.1 for earlier, later in zip(distances, [*distances[1:], 0.0], strict=False))


def test_only_three_partials_can_be_made() -> None:
    """More partials than three, or fewer than none, are a ValueError."""
    for count in (-1, 4):
        with pytest.raises(ValueError, match="partial"):
            rougher(paint(WISH), count)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_masked_edit_changes_only_the_hole(mode: str) -> None:
    """Pixels under the opaque mask are identical, every region of the transparent part is repainted."""
    base, hole = stripes((256, 192), mode), (100, 40, 220, 160)
    if mode == "RGBA":
        base.putalpha(Image.linear_gradient("L").resize(base.size))
    result = edit(WISH, [file(base)], masked(base.size, hole))
    changed = ImageChops.difference(result.convert("RGB"), base.convert("RGB"))
    assert (result.size, result.mode) == (base.size, mode)
    for image in (result, base):
        image.paste((0,) * len(mode), hole)
    assert result.tobytes() == base.tobytes()
    assert all(mean > 10 for mean in ImageStat.Stat(changed.crop(hole)).mean)


def test_partial_alpha_blends() -> None:
    """Where the mask is half transparent the result lies between the old pixel and the new one."""
    base, hole = Image.new("RGB", (256, 192), (0, 0, 0)), (60, 40, 200, 160)
    whole = edit(WISH, [file(base)], masked(base.size, hole))
    half = edit(WISH, [file(base)], masked(base.size, hole, 128))
    ratio = ImageStat.Stat(half.crop(hole)).mean[0] / ImageStat.Stat(whole.crop(hole)).mean[0]
    assert ratio == pytest.approx(127 / 255, abs=0.02)


@pytest.mark.parametrize("hole", [(0, 0, 1, 1), (250, 0, 256, 192), (0, 190, 256, 192), (0, 0, 256, 192)])
def test_holes_of_every_shape(hole: tuple[int, int, int, int]) -> None:
    """A hole of one pixel, thin holes and the whole picture can be repainted."""
    result = edit(WISH, [file(stripes((256, 192)))], masked((256, 192), hole))
    assert result.size == (256, 192)


def test_a_transparent_masked_edit_opens_the_picture() -> None:
    """With a transparent background the repainted part is cut out and the rest stays opaque and identical."""
    base, hole = stripes((256, 192)), (60, 40, 200, 160)
    result = edit(replace(WISH, transparent=True), [file(base)], masked(base.size, hole))
    outside = (0, 0, 256, 40)
    assert result.getchannel("A").getpixel((60, 40)) == 0
    assert result.crop(outside).tobytes() == base.crop(outside).convert("RGBA").tobytes()


def test_a_full_mask_changes_nothing() -> None:
    """A mask without a transparent pixel leaves the picture as it is."""
    base = stripes((256, 192))
    assert edit(WISH, [file(base)], masked(base.size, (0, 0, 1, 1), 255)).tobytes() == base.tobytes()


def test_exif_orientation_is_applied_before_the_mask() -> None:
    """A picture stored sideways is edited upright, with a mask of the upright size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = stripes((192, 256))
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    result = edit(replace(WISH, width=192, height=256), [file(stored, exif=exif)], masked((192, 256), (0, 0, 80, 80)))
    kept = (80, 80, 192, 256)
    assert result.crop(kept).tobytes() == upright.crop(kept).tobytes()


@pytest.mark.parametrize(
    ("data", "mask", "problem"),
    [
        (file(stripes((100, 100))), masked((100, 100), (0, 0, 9, 9)), "100x100"),
        (file(stripes((256, 192))), masked((192, 256), (0, 0, 9, 9)), "mask is 192x256"),
        (file(stripes((256, 192))), file(stripes((256, 192))), "no alpha"),
        (file(stripes((256, 192))), b"not a picture", "cannot be read"),
        (b"\x89PNG\r\n\x1a\n", None, "cannot be read"),
        (file(stripes((256, 192)))[:-400], None, "cannot be read"),
    ],
)
def test_bad_inputs_are_named(data: bytes, mask: bytes | None, problem: str) -> None:
    """Unreadable pictures and masks that do not fit are a ValueError that says so."""
    with pytest.raises(ValueError, match=problem):
        edit(WISH, [data], mask)


def test_an_edit_needs_a_picture() -> None:
    """An edit of no picture is a ValueError."""
    with pytest.raises(ValueError, match="needs an image"):
        edit(WISH, [], None)


def test_an_edit_looks_like_its_input() -> None:
    """Without a mask the result is nearer to its own input than to another, and is not the input."""
    blue, red = Image.new("RGB", (300, 200), (20, 60, 200)), Image.new("RGB", (300, 200), (220, 40, 20))
    result = edit(WISH, [file(blue)], None)
    fitted = [image.resize(result.size) for image in (blue, red)]
    assert 5 < difference(result, fitted[0]) < difference(result, fitted[1])


@pytest.mark.parametrize("count", [2, 4, 16])
def test_every_input_shows(count: int) -> None:
    """Each of up to sixteen inputs changes the composed picture."""
    pictures = [file(Image.new("RGB", (80, 60), (40 + 9 * i, 120, 200 - 9 * i))) for i in range(count)]
    wish = replace(WISH, width=768, height=512)
    result = edit(wish, pictures, None)
    assert result.size == (768, 512)
    for i in (0, 1, count - 1):
        others = [file(Image.new("RGB", (80, 60), (255, 255, 0))) if i == j else p for j, p in enumerate(pictures)]
        assert difference(result, edit(wish, others, None)) > 0.05


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "I;16", "I", "RGBA", "YCbCr"])
def test_inputs_of_every_kind(mode: str) -> None:
    """Grey, palette, print, deep and transparent pictures can be edited, and the same bytes come out twice."""
    image = Image.linear_gradient("L").convert("I").point(lambda v: v * 257 + 0)
    picture = image.convert("I;16") if mode.startswith("I") else stripes((256, 256)).convert(mode)
    data = file(picture, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG")
    result = edit(WISH, [data], None)
    assert result.mode == "RGB"
    assert encode(result, "png") == encode(edit(WISH, [data], None), "png")


def test_deep_pictures_keep_their_greys() -> None:
    """A picture of 16 bits a pixel runs from black to white after reading, not from black to clipped."""
    image = Image.linear_gradient("L").convert("I").point(lambda v: v * 257 + 0).convert("I;16")
    wish = replace(WISH, width=256, height=256)
    result = edit(wish, [file(image)], masked((256, 256), (0, 0, 9, 9)))
    assert [result.getpixel((200, y)) for y in (0, 128, 255)] == [(0, 0, 0), (128, 128, 128), (255, 255, 255)]


@pytest.mark.parametrize("prompt", ["", " \n", "\ud800", "x" * 32_000, "🦊" * 40])
def test_every_prompt_can_be_painted(prompt: str) -> None:
    """Empty, endless and ill-formed prompts are painted."""
    assert paint(replace(WISH, prompt=prompt, width=320, height=200)).size == (320, 200)


def test_the_seed_may_be_any_number() -> None:
    """Negative and very large seeds are painted and differ."""
    pictures = {encode(paint(replace(WISH, seed=seed)), "png") for seed in (-1, 0, 2**64, 2**200)}
    assert len(pictures) == 4
