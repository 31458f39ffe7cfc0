"""Rules of a row that look at the input picture: pixels, shape, a mask that must be there, a size around it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from providers.core.errors import InvalidRequest
from providers.core.fate import Fate
from providers.core.plan import plan
from providers.core.sizes import SQUARE, FollowsInput, OfInput, PixelSizes, SizeRule
from providers.core.spec import ImageCount, Inputs, Mask, ModelSpec, PromptLimit
from providers.core.types import (
    AUTO,
    AskedSize,
    AspectRatio,
    ImageFormat,
    ImageRequest,
    InputImage,
    Operation,
    Policy,
    Size,
)

SPEC = ModelSpec(
    id="editor",
    provider="test",
    source="this test",
    checked=date(2026, 11, 22),
    operations=frozenset({Operation.EDIT}),
    prompt=PromptLimit(100),
    sizes=FollowsInput(),
    n=ImageCount(),
    inputs=Inputs(max_pixels=10_000, max_elongation=2.5),
)


def picture(width: int, height: int, *, has_alpha: bool = False) -> InputImage:
    return InputImage(data=b"", format=ImageFormat.PNG, width=width, height=height, has_alpha=has_alpha)


def asked(image: InputImage, prompt: str = "x", size: Size | None = None) -> ImageRequest:
    return ImageRequest(operation=Operation.EDIT, prompt=prompt, images=(image,), size=size)


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [(101, 100, "10100 pixels; at most 10000"), (26, 10, "at most 2.5:1"), (10, 26, "at most 2.5:1")],
)
def test_pixels_and_elongation_are_bounded(width: int, height: int, message: str) -> None:
    """A picture of too many pixels or too long a shape is a violation of image."""
    with pytest.raises(InvalidRequest, match=message) as caught:
        plan(asked(picture(width, height)), SPEC)
    assert (caught.value.param, caught.value.code) == ("image", "invalid_image_size")


@pytest.mark.parametrize("policy", Policy)
def test_the_bytes_of_all_pictures_are_bounded_together(policy: Policy) -> None:
    """Each of them may fit and the request still be too large; what is made anew is counted when it is there."""
    spec = replace(SPEC, inputs=Inputs(count=4, total_bytes=1000))
    large, turned = (replace(picture(10, 10), data=bytes(400), orientation=each) for each in (1, 6))
    wish = replace(asked(large), images=(large,) * 3, policy=policy)
    with pytest.raises(InvalidRequest, match="1200 bytes together; 'editor' takes at most 1000") as caught:
        plan(wish, spec)
    assert (caught.value.param, caught.value.code) == ("image", "image_too_large")
    assert plan(replace(wish, images=(large,) * 2), spec).calls
    upright = replace(spec, inputs=Inputs(count=4, total_bytes=1000, upright=True))
    assert plan(replace(wish, images=(large, large, turned)), upright).fits[2]


@pytest.mark.parametrize(("width", "height"), [(100, 100), (25, 10), (10, 25)])
def test_the_bounds_themselves_are_allowed(width: int, height: int) -> None:
    """The largest area and the longest shape are allowed."""
    assert plan(asked(picture(width, height)), SPEC).calls


def test_a_required_mask_may_be_the_pictures_own() -> None:
    """Where the model must be told what to edit, a mask or an alpha channel does, and nothing else."""
    spec = replace(SPEC, inputs=Inputs(mask_required=True))
    with pytest.raises(InvalidRequest) as caught:
        plan(asked(picture(10, 10)), spec)
    assert (caught.value.param, caught.value.code) == ("mask", "missing_required_parameter")
    assert plan(asked(picture(10, 10, has_alpha=True)), spec).calls


def test_an_unused_prompt_is_reported() -> None:
    """Where the upstream has no field for a prompt, one is taken and reported as unused, and none is needed."""
    spec = replace(SPEC, prompt=PromptLimit(5, used=False))
    for prompt in ("much longer than five", ""):
        made = plan(asked(picture(10, 10), prompt), spec)
        assert [(fate.param, fate.fate) for fate in made.fates if fate.param == "prompt"] == [
            ("prompt", Fate.DEFAULTED)
        ]


def test_each_change_of_an_image_is_told() -> None:
    """One that becomes smaller does not hide that it, or another one, is re-encoded; equal changes are told once."""
    photo = replace(picture(200, 100), format=ImageFormat.JPEG)
    palette = replace(picture(20, 20), indexed=True, has_alpha=True)
    spec = replace(SPEC, inputs=Inputs(count=4, max_pixels=10_000, formats=(ImageFormat.PNG,), alpha=True))
    wish = ImageRequest(
        operation=Operation.EDIT,
        prompt="x",
        images=(photo, palette, picture(20, 20), palette),
        policy=Policy.LENIENT,
    )
    made = plan(wish, spec)
    told = [(change.asked, change.used) for change in made.adjustments if change.param == "image"]

    assert told == [("200x100", "141x70"), ("jpeg", "png"), ("palette", "png"), ("rgb", "rgba")]
    assert all(fit and fit.shrinks for fit in made.fits)


class Doubled(FollowsInput):
    """Twice the input."""

    def around(self, size: Size) -> SizeRule:
        return PixelSizes.of(f"{size.width * 2}x{size.height * 2}")


def test_a_size_rule_may_depend_on_the_input() -> None:
    """A rule that asks for the input's size is given that of the first picture; no other rule is taken for one."""
    spec = replace(SPEC, sizes=Doubled())
    assert plan(asked(picture(10, 20), size=Size(20, 40)), spec).calls[0].resolution.wire == Size(20, 40)
    with pytest.raises(InvalidRequest):
        plan(asked(picture(10, 20), size=Size(20, 41)), spec)
    assert not isinstance(PixelSizes.of("1024x1024"), OfInput)


MASKED = replace(SPEC, mask=Mask.EMULATED, sizes=PixelSizes.of("1024x1024", "1536x1024"), inputs=Inputs())


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (None, None),
        (Size(600, 400), None),
        (AspectRatio(3, 2), None),
        (AUTO, ("mapped", "auto")),
        (SQUARE, ("defaulted", "1024x1024")),
        (Size(1536, 1024), ("mapped", "1536x1024")),
    ],
)
def test_an_emulated_mask_gives_the_inputs_size(asked: AskedSize | None, told: tuple[str, str] | None) -> None:
    """The picture is put back into its input: another size is told, and the model is not asked for it."""
    image = picture(600, 400)
    wish = replace(asked_masked(image), size=asked)
    made = plan(wish, MASKED)

    assert [(one.kind, one.asked) for one in made.adjustments if one.param == "size"] == ([told] if told else [])
    assert all(one.used == "600x400" for one in made.adjustments if one.param == "size")
    assert made.calls[0].resolution.wire is None


@pytest.mark.parametrize("asked", [AspectRatio(16, 9), Size(512, 512)])
def test_an_emulated_mask_gives_no_other_shape(asked: AskedSize) -> None:
    """Strict callers are told what they would get; lenient ones get it and are told."""
    wish = replace(asked_masked(picture(600, 400)), size=asked)
    with pytest.raises(InvalidRequest, match="returns the input's own size, 600x400") as caught:
        plan(wish, MASKED)
    made = plan(replace(wish, policy=Policy.LENIENT), MASKED)

    assert caught.value.param == "size"
    assert [one.used for one in made.adjustments if one.param == "size"] == ["600x400"]


def asked_masked(image: InputImage) -> ImageRequest:
    """An edit of this picture, with a mask."""
    mask = replace(image, has_alpha=True, name="mask")
    return ImageRequest(operation=Operation.EDIT, prompt="x", images=(image,), mask=mask)
