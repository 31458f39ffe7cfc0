"""Provider x response_format x output_format x {generate, edit, masked edit, stream}, with pixels compared."""

from __future__ import annotations

import io
from typing import Any

import openai
import pytest
from PIL import Image

from providers.kit.images import inspect
from tests.matrix.bench import FORMATS, FORMS, HOLE, SIZE, Bench, alike, ask, outside, picture, same_outside, shown
from tests.upstreams.images import encode, mask_png, pixels, png

EVERY_FORM = pytest.mark.parametrize("form", FORMS)
EVERY_FORMAT = pytest.mark.parametrize("wanted", FORMATS)
PHOTO = png(SIZE, SIZE)
MASK = mask_png(SIZE, SIZE, HOLE)


@EVERY_FORM
@EVERY_FORMAT
def test_output_format(bench: Bench, route: str, wanted: str, form: str) -> None:
    """The asked encoding comes back in the asked form, by model or gateway, and shows the same picture."""
    plain, _ = ask(bench, route, "a red kite", response_format="b64_json")
    answer, _ = ask(bench, route, "a red kite", output_format=wanted, response_format=form)
    data = picture(answer, form)

    assert inspect(data).format == wanted
    assert answer.output_format == wanted
    assert alike(picture(plain, "b64_json"), data)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_opaque_already_is_not_touched(bench: Bench, route: str, form: str) -> None:
    """background=opaque flattens an alpha channel; a picture without one keeps its bytes and its metadata."""
    plain, _ = ask(bench, route, "a red kite", response_format="b64_json")
    asked = {"background": "opaque"}
    answer, headers = ask(bench, route, "a red kite", response_format=form, extra_body=asked)
    before, after = picture(plain, "b64_json"), picture(answer, form)

    assert answer.background == "opaque"
    assert not inspect(after).has_alpha
    if not inspect(before).has_alpha:
        assert after == before
        assert "content_credentials" not in headers.get("pinhole-adjustments", "")


def streamed(bench: Bench, route: str, **more: Any) -> list[Any]:
    """The events of one request."""
    if route == "generate":
        return list(
            bench.client.images.generate(model=bench.vendor.generates, prompt="a red kite", stream=True, **more)
        )
    photo = ("photo.png", PHOTO)
    return list(
        bench.client.images.edit(model=str(bench.vendor.edits), prompt="a red kite", image=photo, stream=True, **more)
    )


@EVERY_FORM
@EVERY_FORMAT
def test_stream(bench: Bench, route: str, wanted: str, form: str) -> None:
    """Every provider streams: whatever comes before, the last event completes the very image of a plain request."""
    plain, _ = ask(bench, route, "a red kite", response_format="b64_json")
    events = streamed(bench, route, output_format=wanted, response_format=form)
    family = "image_generation" if route == "generate" else "image_edit"
    last = events[-1].to_dict()
    data = shown(last, form)

    assert last["type"] == f"{family}.completed"
    assert last["pinhole"]["provider"] == bench.vendor.name
    assert inspect(data).format == last["output_format"] == wanted
    assert alike(picture(plain, "b64_json"), data)


@EVERY_FORM
@EVERY_FORMAT
@pytest.mark.parametrize("which", ["masks", "edits"])
def test_masked_edit(bench: Bench, which: str, wanted: str, form: str) -> None:
    """A mask means the same natively and emulated; around the model, every pixel outside it is the input's."""
    model = getattr(bench.vendor, which)
    if model is None or (which == "edits" and model == bench.vendor.masks):
        pytest.skip("the provider has no such model, or it was tried as the other one")
    limits: Any = bench.client.models.retrieve(model).model_extra
    how = limits["constraints"]["mask"]
    asked: Any = {"model": model, "prompt": "a red kite", "image": ("p.png", PHOTO), "mask": ("m.png", MASK)}
    if how == "none":
        with pytest.raises(openai.BadRequestError, match="mask"):
            bench.client.images.edit(**asked)
        return
    edit: Any = bench.client.images.with_raw_response.edit
    plain = picture(edit(**asked, response_format="b64_json").parse(), "b64_json")
    raw = edit(**asked, output_format=wanted, response_format=form)
    data = picture(raw.parse(), form)

    assert inspect(data).format == wanted
    assert alike(plain, data)
    assert ("mask;kind=emulated" in raw.headers.get("pinhole-adjustments", "")) == (how == "emulated")
    if how == "emulated":
        assert same_outside(PHOTO, plain)
        assert alike(outside(PHOTO), outside(data))
        assert wanted != "png" or same_outside(PHOTO, data)


@pytest.mark.parametrize("which", ["masks", "edits"])
def test_palettes(bench: Bench, which: str) -> None:
    """An indexed photo, and a mask whose hole is one transparent colour of a palette, do what plain ones do."""
    model = getattr(bench.vendor, which)
    if model is None or (which == "edits" and model == bench.vendor.masks):
        pytest.skip("the provider has no such model, or it was tried as the other one")
    limits: Any = bench.client.models.retrieve(model).model_extra
    edit: Any = bench.client.images.with_raw_response.edit
    asked: dict[str, Any] = {"model": model, "prompt": "a red kite", "response_format": "b64_json"}
    photo = pixels(PHOTO).quantize(16)
    if limits["constraints"]["mask"] == "none":
        raw = edit(**asked, image=("p.png", encode(photo, "png")))
    else:
        hole = Image.new("P", photo.size, 1)
        hole.putpalette([0, 0, 0, 255, 255, 255])
        hole.paste(0, HOLE)
        out = io.BytesIO()
        hole.save(out, "png", transparency=0)
        plain = edit(**asked, image=("p.png", encode(photo.convert("RGB"), "png")), mask=("m.png", MASK))
        raw = edit(**asked, image=("p.png", encode(photo, "png")), mask=("m.png", out.getvalue()))
        assert alike(picture(plain.parse(), "b64_json"), picture(raw.parse(), "b64_json"))
        native = limits["constraints"]["mask"] == "native"
        assert ('mask;kind=mapped;from="palette"' in raw.headers["pinhole-adjustments"]) == native
    assert 'image;kind=emulated;from="palette";to="png"' in raw.headers["pinhole-adjustments"]
    assert inspect(picture(raw.parse(), "b64_json")).width
