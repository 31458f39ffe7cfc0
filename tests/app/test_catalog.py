"""app.commands.catalog: what a row says, as callers discover it."""

from __future__ import annotations

import pytest

from app.commands.catalog import model
from providers import discover
from providers.core.errors import InvalidRequest
from providers.core.plan import plan
from providers.core.spec import ModelSpec
from providers.core.types import ImageFormat, ImageRequest, InputImage, Operation, Size

ROWS = {spec.id: spec for provider in discover() for spec in provider.models}
PHOTO = InputImage(data=b"", format=ImageFormat.PNG, width=1024, height=1024)


def wish(spec: ModelSpec, operation: Operation, **more: object) -> ImageRequest:
    images = (PHOTO,) if operation is Operation.EDIT else ()
    return ImageRequest(operation=operation, prompt="a cat", images=images, **more)  # type: ignore[arg-type]  # of fields


def test_edits_say_their_own_quality() -> None:
    """Where edits have fewer tiers than generations, both lists are there, and each is what its route takes."""
    spec = ROWS["wan2.7-image-pro"]
    limits = model(spec)["constraints"]

    assert "4k" in limits["quality"]
    assert "4k" not in limits["input_images"]["edit_quality"]
    assert plan(wish(spec, Operation.GENERATE, quality="4k"), spec).calls[0].resolution.tier == "4K"
    with pytest.raises(InvalidRequest, match="in edits"):
        plan(wish(spec, Operation.EDIT, quality="4k"), spec)


def test_edits_say_the_options_that_only_they_have() -> None:
    """`input_fidelity` is told apart: an edit's parameter, and a violation in a generation."""
    spec = ROWS["gpt-image-1.5"]
    document = model(spec)
    fidelity = {"input_fidelity": "high"}

    assert document["constraints"]["input_images"]["edit_options"] == ["input_fidelity"]
    assert document["supported_parameters"]["input_fidelity"]["values"] == ["low", "high"]
    assert plan(wish(spec, Operation.EDIT, options=fidelity), spec).calls[0].options == fidelity
    with pytest.raises(InvalidRequest, match="does not support 'input_fidelity' in generations"):
        plan(wish(spec, Operation.GENERATE, options=fidelity), spec)


def test_pixels_of_a_larger_tier_are_reported_as_that_tier() -> None:
    """`standard` with the pixels of 2K is drawn, priced and reported as 2K."""
    spec = ROWS["gemini-3-pro-image"]
    made = plan(wish(spec, Operation.GENERATE, quality="standard", size=Size(2048, 2048)), spec)

    assert made.calls[0].resolution.tier == "2K"
    assert [(a.asked, a.used) for a in made.adjustments if a.param == "quality"] == [("standard", "2K")]
