"""Making input images into what a model takes: format, size, bytes, and the mask with its image."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image, ImageCms

from providers.core.errors import InvalidRequest
from providers.core.inputs import Fit
from providers.core.spec import Inputs
from providers.core.types import ImageFormat, InputImage, Size
from providers.kit.images import inspect
from providers.kit.prepare import fitted, prepared
from tests.providers.asking import sent
from tests.providers.kit.fakes import calls
from tests.upstreams.images import jpeg, mask_png, pixels, png

PLENTY = 50_000_000


def fit(to: ImageFormat, width: int, height: int, most: int = PLENTY, **more: bool) -> Fit:
    """A fit."""
    return Fit(format=to, size=Size(width, height), max_bytes=most, **more)


@pytest.mark.parametrize("to", [ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP])
def test_an_image_becomes_what_is_asked(to: ImageFormat) -> None:
    """What the value says of itself is what its bytes say."""
    found = fitted(sent(png(96, 64, alpha=90)), fit(to, 48, 32))
    facts = inspect(found.data)

    assert (facts.format, facts.width, facts.height) == (found.format, found.width, found.height) == (to, 48, 32)
    assert facts.has_alpha is found.has_alpha is (to is not ImageFormat.JPEG)
    assert (found.orientation, found.deep) == (1, False)


def test_a_turned_photo_is_stored_upright() -> None:
    """Its size is the one the caller sees."""
    found = fitted(sent(jpeg(96, 64, orientation=6)), fit(ImageFormat.JPEG, 64, 96))
    facts = inspect(found.data)

    assert (facts.width, facts.height, facts.orientation) == (64, 96, 1)


def test_too_many_bytes_are_fewer_pixels_where_they_may_be() -> None:
    """The picture is made smaller until it fits, in its own shape."""
    source = sent(png(512, 256, "noise"))
    found = fitted(source, fit(ImageFormat.PNG, 512, 256, 60_000, shrinks=True))

    assert len(found.data) <= 60_000 < len(source.data)
    assert found.width / found.height == pytest.approx(2, rel=0.05)
    assert pixels(bytes(found.data)).size == (found.width, found.height)


@pytest.mark.parametrize("shrinks", [False, True])
def test_too_many_bytes_are_refused_elsewhere(shrinks: bool) -> None:
    """Where it may not become smaller, or cannot become small enough, the error has the size and the limit."""
    with pytest.raises(InvalidRequest, match="at most 60 are allowed") as caught:
        fitted(sent(png(512, 256, "noise"), "image[1]"), fit(ImageFormat.PNG, 512, 256, 60, shrinks=shrinks))

    assert (caught.value.param, caught.value.code) == ("image[1]", "image_too_large")


def test_what_became_smaller_is_told_and_the_mask_goes_with_it() -> None:
    """The plan cannot know how many bytes there will be: the calls come back with what really happened."""
    image, mask = sent(png(256, 256, "noise")), sent(mask_png(256, 256, (0, 0, 128, 256)), "mask")
    (call,) = (replace(call, images=(image,), mask=mask) for call in calls())
    found = prepared([call], (fit(ImageFormat.PNG, 256, 256, 60_000, shrinks=True),))
    (small,) = found.calls
    told = [(change.param, change.kind, change.asked, change.used) for change in found.adjustments]

    assert small.mask
    assert small.mask.size == small.images[0].size != image.size
    assert told == [("image", "emulated", "256x256", str(small.mask.size)), ("mask", "mapped", *told[0][2:])]
    assert prepared([call], (fit(ImageFormat.PNG, 128, 128),)).adjustments == ()


def test_a_mask_of_any_size_fits_its_image() -> None:
    """What lies under a mask does not count: made as large as its image, it has few bytes."""
    image, mask = sent(png(1300, 1300)), sent(png(1300, 1300, "noise", alpha=90), "mask")
    (call,) = (replace(call, images=(image,), mask=mask) for call in calls())
    (found,) = prepared([call], (fit(ImageFormat.PNG, 1200, 1200),)).calls

    assert found.mask
    assert found.mask.size == Size(1200, 1200)
    assert len(found.mask.data) < 100_000
    assert pixels(bytes(found.mask.data)).getchannel("A").getextrema() == (90, 90)


def test_a_mask_is_white_where_the_model_wants_white() -> None:
    """Once for all calls of a fan-out, and also where it is made smaller with its image."""
    image, mask = sent(png(128, 128)), sent(mask_png(128, 128, (0, 0, 64, 128)), "mask")
    spec = replace(calls()[0].spec, inputs=Inputs(white_mask=True))
    wanted = [replace(call, spec=spec, images=(image,), mask=mask) for call in calls(2)]
    for fits, edge in (((None,), 128), ((fit(ImageFormat.PNG, 64, 64),), 64)):
        first, second = (call.mask for call in prepared(wanted, fits).calls)
        assert first
        assert first is second
        shown = pixels(bytes(first.data))
        assert (shown.mode, shown.size) == ("L", (edge, edge))
        assert (shown.getpixel((4, 4)), shown.getpixel((edge - 4, 4))) == (255, 0)


def test_an_alpha_channel_is_made_where_the_model_wants_one() -> None:
    """Opaque, whatever the picture was; a 16-bit grey one too."""
    out = BytesIO()
    Image.new("I;16", (16, 16), 0x8000).save(out, "png")
    deep = InputImage(data=out.getvalue(), format=ImageFormat.PNG, width=16, height=16, deep=True)
    for image in (sent(png(16, 16)), sent(jpeg(16, 16)), deep):
        found = fitted(image, fit(ImageFormat.PNG, 16, 16, alpha=True))
        picture = pixels(bytes(found.data))
        assert (picture.mode, found.has_alpha) == ("RGBA", True)
        assert picture.getchannel("A").getextrema() == (255, 255)


@pytest.mark.parametrize("to", [ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP])
def test_a_colour_profile_stays_while_it_holds(to: ImageFormat) -> None:
    """Colours are not moved: the profile of an RGB picture goes along, that of a CMYK one does not."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for mode, kept in (("RGB", profile), ("CMYK", None)):
        out = BytesIO()
        Image.new(mode, (32, 32)).save(out, "jpeg", icc_profile=profile)
        image = InputImage(data=out.getvalue(), format=ImageFormat.JPEG, width=32, height=32)
        assert pixels(bytes(fitted(image, fit(to, 16, 16)).data)).info.get("icc_profile") == kept


def test_deep_samples_are_scaled() -> None:
    """Sixteen bits become eight, and a middle grey stays one."""
    out = BytesIO()
    Image.new("I;16", (16, 16), 0x8000).save(out, "png")
    image = InputImage(data=out.getvalue(), format=ImageFormat.PNG, width=16, height=16, deep=True)
    found = pixels(bytes(fitted(image, fit(ImageFormat.PNG, 16, 16)).data))

    assert found.mode == "RGB"
    assert found.getpixel((8, 8)) == (128, 128, 128)


@pytest.mark.parametrize("data", [b"", b"text", png(32, 32)[:60], jpeg(32, 32)[:60]])
def test_what_cannot_be_decoded_is_the_callers_mistake(data: bytes) -> None:
    """The error names the image by its place."""
    image = InputImage(data=data, format=ImageFormat.PNG, width=32, height=32, name="image[1]")
    with pytest.raises(InvalidRequest) as caught:
        fitted(image, fit(ImageFormat.PNG, 32, 32))

    assert caught.value.param == "image[1]"


def test_only_what_must_be_changed_is_changed() -> None:
    """An image without a fit is moved as it is, and every call of a fan-out gets the same bytes."""
    first, second = sent(png(64, 64)), sent(jpeg(64, 64), "image[1]")
    wanted = [replace(call, images=(first, second)) for call in calls(3)]
    found = prepared(wanted, (None, fit(ImageFormat.PNG, 64, 64))).calls

    assert all(call.images[0] is first for call in found)
    assert len({id(call.images[1].data) for call in found}) == 1
    assert found[0].images[1].format is ImageFormat.PNG
    assert [call.index for call in found] == [0, 1, 2]


def test_a_mask_goes_with_its_image() -> None:
    """Where the image became smaller the mask does too, its hole in the same place; else it is moved."""
    image, mask = sent(png(128, 128)), sent(mask_png(128, 128, (0, 0, 64, 128)), "mask")
    (call,) = (replace(call, images=(image,), mask=mask) for call in calls())
    (small,) = prepared([call], (fit(ImageFormat.PNG, 64, 64),)).calls
    (same,) = prepared([call], (fit(ImageFormat.WEBP, 128, 128),)).calls

    assert small.mask
    assert (small.mask.format, small.mask.size) == (ImageFormat.PNG, Size(64, 64))
    alpha = pixels(bytes(small.mask.data)).getchannel("A")
    assert (alpha.getpixel((8, 32)), alpha.getpixel((56, 32))) == (0, 255)
    assert same.mask is mask


def test_what_was_made_anew_counts_among_all_bytes() -> None:
    """A re-encoded picture may be larger than its file was: the request is refused before it is sent."""
    image = sent(png(96, 64, "noise"))
    (call,) = (replace(call, images=(image, image)) for call in calls())
    call = replace(call, spec=replace(call.spec, inputs=Inputs(count=2, total_bytes=len(image.data))))
    with pytest.raises(InvalidRequest, match="bytes together") as caught:
        prepared((call,), (fit(ImageFormat.PNG, 96, 64), None))

    assert (caught.value.param, caught.value.code) == ("image", "image_too_large")
