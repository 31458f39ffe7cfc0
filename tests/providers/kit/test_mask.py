"""providers.kit.mask: masks as pixels."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from providers.core.errors import InvalidRequest, UpstreamError
from providers.kit.mask import composite, has_hole, plain, to_luminance
from tests.upstreams.images import encode, jpeg, mask_png, picture, pixels, png


def saved(image: Image.Image, **how: object) -> bytes:
    out = BytesIO()
    image.save(out, "png", **how)
    return out.getvalue()


def palette(colour: int) -> Image.Image:
    """A palette picture of four colours, all pixels of one."""
    image = Image.new("P", (2, 2), colour)
    image.putpalette(bytes(range(12)))
    return image


def at(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    """The pixel of a picture that has several channels."""
    pixel = image.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return pixel


def alpha_ramp() -> bytes:
    """A mask of one row whose alpha is 0, 1, ..., 255."""
    image = Image.new("RGBA", (256, 1))
    image.putdata([(9, 9, 9, alpha) for alpha in range(256)])
    return saved(image)


def test_luminance_is_white_where_the_mask_is_transparent() -> None:
    """The converted mask is an 8-bit grey PNG of the same size: 255 in the hole and 0 outside it."""
    grey = pixels(to_luminance(mask_png(8, 4, (2, 1, 5, 3))))
    assert (grey.format, grey.mode, grey.size) == ("PNG", "L", (8, 4))
    hole = {(x, y) for x in range(8) for y in range(4) if grey.getpixel((x, y)) == 255}
    assert hole == {(x, y) for x in range(2, 5) for y in range(1, 3)}
    assert {grey.getpixel((0, 0)), grey.getpixel((7, 3))} == {0}


def test_luminance_keeps_soft_edges() -> None:
    """Every partial alpha becomes 255 - alpha, without a threshold."""
    grey = pixels(to_luminance(alpha_ramp()))
    assert [grey.getpixel((x, 0)) for x in range(256)] == [255 - alpha for alpha in range(256)]


@pytest.mark.parametrize(
    ("image", "how"),
    [
        (palette(3), {"transparency": 3}),
        (palette(1), {"transparency": bytes([255, 0])}),
        (Image.new("LA", (2, 2), (7, 0)), {}),
        (Image.new("RGB", (2, 2), (1, 2, 3)), {"transparency": (1, 2, 3)}),
        (Image.new("L", (2, 2), 7), {"transparency": 7}),
    ],
    ids=["palette", "palette with alphas", "grey with alpha", "one transparent colour", "one transparent grey"],
)
def test_every_kind_of_transparency_counts(image: Image.Image, how: dict[str, object]) -> None:
    """Palettes, grey with alpha and single transparent colours are transparency like an alpha channel's."""
    mask = saved(image, **how)
    assert has_hole(mask)
    assert pixels(to_luminance(mask)).getextrema() == (255, 255)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "I;16"])
def test_a_mask_without_transparency_has_no_hole(mode: str) -> None:
    """An image that has no alpha keeps everything."""
    mask = saved(Image.new(mode, (2, 2)))
    assert not has_hole(mask)
    assert pixels(to_luminance(mask)).getextrema() == (0, 0)


def test_one_faint_pixel_is_a_hole() -> None:
    """A single pixel of alpha 254 is enough."""
    image = Image.new("RGBA", (50, 50), (0, 0, 0, 255))
    assert not has_hole(saved(image))
    image.putpixel((49, 49), (0, 0, 0, 254))
    assert has_hole(memoryview(saved(image)))


def test_outside_the_mask_nothing_changes() -> None:
    """Pixels under an opaque mask are the original's and pixels in the hole are the edit's, exactly."""
    original, edited = png(40, 30, "noise"), png(40, 30, "checker")
    made = pixels(composite(original, edited, mask_png(40, 30, (10, 5, 20, 25))))
    assert (made.format, made.mode) == ("PNG", "RGB")
    before, paint = pixels(original), pixels(edited)
    for x in range(40):
        for y in range(30):
            source = paint if 10 <= x < 20 and 5 <= y < 25 else before
            assert made.getpixel((x, y)) == source.getpixel((x, y))


@given(st.binary(min_size=48, max_size=48), st.binary(min_size=16, max_size=16))
def test_kept_pixels_are_exact_whatever_the_colours(colours: bytes, alphas: bytes) -> None:
    """For any RGB picture and any mask, a pixel of alpha 255 keeps its exact value."""
    base = Image.frombytes("RGB", (4, 4), colours)
    mask = Image.merge("LA", (Image.new("L", (4, 4)), Image.frombytes("L", (4, 4), alphas)))
    made = pixels(composite(saved(base), png(4, 4, (1, 2, 3)), saved(mask)))
    kept = [spot for spot in range(16) if alphas[spot] == 255]
    for spot in kept:
        assert at(made, spot % 4, spot // 4) == at(base, spot % 4, spot // 4)


def test_transparent_originals_stay_exact() -> None:
    """An RGBA original keeps colours and alpha outside the mask, also where it is transparent itself."""
    base = Image.new("RGBA", (4, 4), (200, 100, 50, 77))
    base.putpixel((0, 0), (9, 8, 7, 0))
    made = pixels(composite(saved(base), png(4, 4, (1, 2, 3)), mask_png(4, 4, (2, 2, 4, 4))))
    assert made.mode == "RGBA"
    assert (made.getpixel((0, 0)), made.getpixel((1, 1))) == ((9, 8, 7, 0), (200, 100, 50, 77))
    assert made.getpixel((3, 3)) == (1, 2, 3, 255)


def test_a_transparent_edit_shows_in_the_hole() -> None:
    """Transparency that the edit brings is kept, and the original's pixels stay opaque."""
    clear = saved(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))
    made = pixels(composite(png(4, 4, (10, 20, 30)), clear, mask_png(4, 4, (0, 0, 1, 1))))
    assert (made.getpixel((0, 0)), made.getpixel((1, 0))) == ((0, 0, 0, 0), (10, 20, 30, 255))


def test_the_edit_is_resized_to_the_original() -> None:
    """An edit of another size is brought to the original's, whose size the result has."""
    made = pixels(composite(png(64, 32, (0, 0, 0)), png(1024, 512, (250, 0, 0)), mask_png(64, 32, (0, 0, 64, 32))))
    assert made.size == (64, 32)
    assert made.getpixel((32, 16)) == (250, 0, 0)


def test_partial_alpha_blends() -> None:
    """Half transparent is half of each."""
    half = saved(Image.new("RGBA", (2, 2), (0, 0, 0, 128)))
    made = pixels(composite(png(2, 2, (0, 0, 0)), png(2, 2, (254, 254, 254)), half))
    assert abs(at(made, 0, 0)[0] - 127) <= 1


def test_rotated_originals_are_compared_upright() -> None:
    """A JPEG that EXIF turns is turned before: the result is upright and equals the upright pixels."""
    turned = jpeg(40, 20, "gradient", orientation=6)
    made = pixels(composite(turned, png(20, 40, (255, 0, 0)), mask_png(20, 40, (0, 0, 5, 5))))
    upright = pixels(turned).transpose(Image.Transpose.ROTATE_270)
    assert made.size == upright.size == (20, 40)
    assert made.getpixel((0, 0)) == (255, 0, 0)
    assert made.getpixel((19, 39)) == upright.getpixel((19, 39))
    assert made.getpixel((10, 3)) == upright.getpixel((10, 3))


def test_the_colour_profile_is_kept() -> None:
    """Equal numbers mean equal colours only under the original's own profile."""
    base = saved(picture(4, 4), icc_profile=b"a profile")
    assert pixels(composite(base, png(4, 4), mask_png(4, 4, (0, 0, 1, 1)))).info["icc_profile"] == b"a profile"


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "I;16"])
def test_originals_of_every_mode_can_be_kept(mode: str) -> None:
    """Grey, palette, CMYK and 16-bit originals come out in colour, of their own size."""
    image = Image.new(mode, (6, 5))
    out = BytesIO()
    image.save(out, "jpeg" if mode == "CMYK" else "png")
    made = pixels(composite(out.getvalue(), png(6, 5, (5, 5, 5)), mask_png(6, 5, (0, 0, 1, 1))))
    assert made.size == (6, 5)
    assert at(made, 0, 0)[:3] == (5, 5, 5)


def test_sixteen_bit_greys_are_scaled() -> None:
    """A 16-bit grey keeps its brightness and is not clipped."""
    image = Image.new("I;16", (2, 2), 0x8000)
    made = pixels(composite(saved(image), png(2, 2, (5, 5, 5)), mask_png(2, 2, (0, 0, 1, 1))))
    assert made.getpixel((1, 1)) == (128, 128, 128)


@pytest.mark.parametrize("broken", [b"", b"not an image", png(9, 9)[:60], b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_broken_inputs_are_the_callers_error(broken: bytes) -> None:
    """A mask or an original that cannot be decoded is a 400 that names the parameter; nothing else is raised."""
    for name, act in (
        ("mask", lambda: to_luminance(broken)),
        ("mask", lambda: has_hole(broken)),
        ("mask", lambda: composite(png(9, 9), png(9, 9), broken)),
        ("image", lambda: composite(broken, png(9, 9), mask_png(9, 9))),
    ):
        with pytest.raises(InvalidRequest) as caught:
            act()
        assert caught.value.param == name


def test_a_broken_edit_is_the_upstreams_error() -> None:
    """An edit that cannot be decoded is an upstream failure that may have been billed."""
    with pytest.raises(UpstreamError) as caught:
        composite(png(9, 9), b"<html>", mask_png(9, 9))
    assert caught.value.billed


def test_a_mask_of_another_size_is_refused() -> None:
    """A mask that does not measure what the upright image does is never stretched."""
    with pytest.raises(InvalidRequest, match="8x9"):
        composite(png(9, 9), png(9, 9), mask_png(8, 9))


def test_formats_mix() -> None:
    """A WebP original and a JPEG edit make a PNG."""
    base = encode(picture(16, 16, (10, 200, 30)), "webp", 100)
    made = pixels(composite(base, jpeg(16, 16), mask_png(16, 16, (0, 0, 4, 4))))
    assert made.format == "PNG"
    assert made.getpixel((10, 10)) == pixels(base).convert("RGB").getpixel((10, 10))


def test_a_plain_mask_keeps_its_alpha_alone() -> None:
    """A palette's transparency becomes a channel, and colours that nobody reads become black."""
    image = palette(1)
    image.putpixel((0, 0), 3)
    out = BytesIO()
    image.save(out, "png", transparency=3)
    made = pixels(plain(out.getvalue()))
    assert made.mode == "RGBA"
    assert [made.getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0, 0), (0, 0, 0, 255)]
