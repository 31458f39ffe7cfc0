"""providers.qwen: the bytes of a call, endpoint by endpoint."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from PIL import Image

from providers.core.errors import InvalidRequest
from providers.core.http import HTTPRequest
from providers.core.plan import Call, plan
from providers.core.types import AUTO, AspectRatio, ImageFormat, ImageRequest, InputImage, Operation, Policy, Size
from providers.kit.bodies import encode
from providers.qwen import MODELS, PROVIDER
from tests.providers.asking import call, calls, row, sent
from tests.upstreams.images import jpeg, mask_png, pixels, png

ASYNC = {"X-DashScope-Async": "enable"}
SOURCE = sent(png(640, 512, (0, 0, 200)))
WIDE = sent(png(1024, 512, "checker"))


def text(request: HTTPRequest) -> str:
    assert request.body is not None
    content_type, buffers = encode(request.body)
    assert content_type == "application/json"
    return b"".join(buffers).decode()


def document(asked: Call) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text(PROVIDER.request(asked)))
    return found


def parameters(model: str, **wishes: Any) -> dict[str, Any]:
    found: dict[str, Any] = document(call(row(MODELS, model), **wishes))["parameters"]
    return found


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def opened(url: str) -> Image.Image:
    return pixels(base64.b64decode(url.split(",", 1)[1], validate=True))


def test_text_to_image_is_a_task_with_the_negative_prompt_in_input() -> None:
    """The prompt-style endpoint carries the async header, and zero and false values are sent."""
    options = {"negative_prompt": "fog", "seed": 0, "prompt_extend": False, "watermark": False}
    request = PROVIDER.request(call(row(MODELS, "wan2.2-t2i-flash"), options=options))
    assert (request.method, request.url) == ("POST", "/api/v1/services/aigc/text2image/image-synthesis")
    assert request.headers == ASYNC
    assert text(request) == (
        '{"model":"wan2.2-t2i-flash","input":{"prompt":"a red kite","negative_prompt":"fog"},'
        '"parameters":{"size":"1024*1024","n":1,"seed":0,"prompt_extend":false,"watermark":false}}'
    )


def test_multimodal_is_synchronous_with_the_negative_prompt_in_parameters() -> None:
    """The message-style endpoint refuses the async header, and knows the negative prompt as a parameter only."""
    request = PROVIDER.request(call(row(MODELS, "qwen-image-plus"), options={"negative_prompt": ""}))
    assert request.url == "/api/v1/services/aigc/multimodal-generation/generation"
    assert request.headers == {}
    assert text(request) == (
        '{"model":"qwen-image-plus",'
        '"input":{"messages":[{"role":"user","content":[{"text":"a red kite"}]}]},'
        '"parameters":{"negative_prompt":"","size":"1664*928","n":1}}'
    )


def test_image_generation_is_the_message_as_a_task() -> None:
    """The newest models take a message and answer with a task."""
    request = PROVIDER.request(call(row(MODELS, "qwen-image-3.0-pro"), options={"seed": 7}))
    assert (request.url, request.headers) == ("/api/v1/services/aigc/image-generation/generation", ASYNC)
    assert text(request) == (
        '{"model":"qwen-image-3.0-pro",'
        '"input":{"messages":[{"role":"user","content":[{"text":"a red kite"}]}]},'
        '"parameters":{"size":"1024*1024","n":1,"seed":7}}'
    )


def test_images_come_before_the_text_in_their_order() -> None:
    """An edit of several images names them in order as data URLs, and the first one sets the shape."""
    asked = call(row(MODELS, "qwen-image-edit-plus"), images=(WIDE, SOURCE))
    assert document(asked) == {
        "model": "qwen-image-edit-plus",
        "input": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"image": data_url(bytes(WIDE.data))},
                        {"image": data_url(bytes(SOURCE.data))},
                        {"text": "a red kite"},
                    ],
                }
            ]
        },
        "parameters": {"size": "1440*720", "n": 1},
    }
    assert asked.resolution.pixels == Size(1440, 720)


def test_image_to_image_lists_its_images() -> None:
    """The older edit model takes a list of images beside the prompt."""
    asked = call(row(MODELS, "wan2.5-i2i-preview"), images=(SOURCE,), options={"negative_prompt": "fog"})
    request = PROVIDER.request(asked)
    assert (request.url, request.headers) == ("/api/v1/services/aigc/image2image/image-synthesis", ASYNC)
    assert document(asked)["input"] == {
        "prompt": "a red kite",
        "negative_prompt": "fog",
        "images": [data_url(bytes(SOURCE.data))],
    }


def test_a_native_mask_is_white_where_the_caller_edits() -> None:
    """OpenAI's transparent hole becomes white on black in the very size of the image; without one it is not named."""
    spec = row(MODELS, "wanx2.1-imageedit")
    mask = sent(mask_png(640, 512, (0, 0, 320, 512)), "mask")
    masked = document(call(spec, images=(SOURCE,), mask=mask, options={"seed": 0}))
    drawn = opened(masked["input"].pop("mask_image_url"))
    assert masked == {
        "model": "wanx2.1-imageedit",
        "input": {
            "function": "description_edit_with_mask",
            "prompt": "a red kite",
            "base_image_url": data_url(bytes(SOURCE.data)),
        },
        "parameters": {"n": 1, "seed": 0},
    }
    assert (drawn.mode, drawn.size) == ("L", (640, 512))
    assert (drawn.getpixel((10, 10)), drawn.getpixel((600, 10))) == (255, 0)
    plain = document(call(spec, images=(SOURCE,)))
    assert plain["input"]["function"] == "description_edit"
    assert "mask_image_url" not in plain["input"]


def test_alpha_is_flattened_where_the_model_refuses_it() -> None:
    """Wan refuses transparent pictures: they are laid on white, and go untouched to models that take them."""
    clear = sent(png(640, 512, (0, 0, 200), alpha=0))
    wan = document(call(row(MODELS, "wan2.7-image"), images=(clear,)))
    shown = opened(wan["input"]["messages"][0]["content"][0]["image"])
    assert (shown.mode, shown.getpixel((0, 0))) == ("RGB", (255, 255, 255))
    qwen = document(call(row(MODELS, "qwen-image-edit-max"), images=(clear,)))
    assert qwen["input"]["messages"][0]["content"][0]["image"] == data_url(bytes(clear.data))


def test_a_turned_picture_goes_upright() -> None:
    """EXIF turns are drawn, as nothing says that the upstream reads them."""
    turned = sent(jpeg(640, 512, orientation=6))
    wire = document(call(row(MODELS, "qwen-image-2.0"), images=(turned,)))
    assert opened(wire["input"]["messages"][0]["content"][0]["image"]).size == (512, 640)


def test_a_picture_that_cannot_be_flattened_is_the_callers_fault() -> None:
    """Broken pixels behind a sound header are an invalid image, not a failure of the gateway."""
    cut = png(640, 512, (0, 0, 200), alpha=0)[:60]
    broken = InputImage(data=cut, format=ImageFormat.PNG, width=640, height=512, has_alpha=True)
    with pytest.raises(InvalidRequest, match="cannot be decoded"):
        PROVIDER.request(call(row(MODELS, "wan2.7-image"), images=(broken,)))


def test_interleaved_output_is_switched_off() -> None:
    """The edit model that can also write a story is told not to: it would need a stream."""
    assert parameters("wan2.6-image", images=(SOURCE,))["enable_interleave"] is False


def test_the_number_of_images_is_always_sent() -> None:
    """Wan makes four images when none is asked; only the model that has no such field is not told."""
    for spec in MODELS:
        images = () if Operation.GENERATE in spec.operations else (SOURCE,)
        assert document(call(spec, images=images))["parameters"].get("n") == (
            None if spec.id == "z-image-turbo" else 1
        ), spec.id


def test_the_sdk_default_size_is_snapped_to_the_models_square() -> None:
    """1024x1024 is sent by SDKs unasked; a model that lacks it draws its own square instead of refusing."""
    square = Size(1024, 1024)
    assert parameters("qwen-image-max", size=square)["size"] == "1328*1328"
    assert parameters("wan2.5-t2i-preview", size=square)["size"] == "1280*1280"
    assert parameters("wanx-v1", size=square)["size"] == "1024*1024"
    assert "size" not in parameters("wanx2.1-imageedit", size=square, images=(SOURCE,))


@pytest.mark.parametrize(
    ("model", "asked", "drawn"),
    [
        ("qwen-image", Size(1792, 1024), "1664*928"),
        ("qwen-image", Size(1024, 1536), "1104*1472"),
        ("wan2.6-t2i", Size(1536, 1024), "1584*1056"),
        ("wan2.6-t2i", Size(1792, 1024), "1792*1024"),
        ("wan2.2-t2i-plus", Size(1536, 1024), "1440*960"),
        ("wanx-v1", Size(1792, 1024), "1280*720"),
        ("qwen-image-2.0", Size(2688, 1536), "2688*1536"),
        ("wan2.7-image-pro", AspectRatio(16, 9), "1360*768"),
    ],
)
def test_sizes_are_snapped_for_the_lenient(model: str, asked: Any, drawn: str) -> None:
    """A lenient caller gets the nearest shape first, then the nearest area."""
    assert parameters(model, size=asked, policy=Policy.LENIENT)["size"] == drawn


def test_a_strict_caller_is_told_the_nearest_size() -> None:
    """A size that was really asked for is refused with what the model would draw."""
    with pytest.raises(InvalidRequest, match="1664x928"):
        call(row(MODELS, "qwen-image-plus"), size=Size(1792, 1024))


def test_quality_is_a_resolution_where_there_are_tiers() -> None:
    """Hd is 2K and 4k is 4K, in the shape that was asked; without a size it is the tier's square."""
    assert parameters("wan2.7-image-pro")["size"] == "1024*1024"
    assert parameters("wan2.7-image-pro", quality="hd")["size"] == "2048*2048"
    assert parameters("wan2.7-image-pro", quality="4k")["size"] == "4096*4096"
    assert parameters("qwen-image-3.0", quality="hd", size=Size(1024, 1024))["size"] == "2048*2048"
    assert parameters("qwen-image-3.0", size=Size(2048, 2048))["size"] == "2048*2048"
    assert parameters("wan2.6-image", quality="hd", images=(WIDE,))["size"] == "2880*1440"
    with pytest.raises(InvalidRequest, match="quality"):
        call(row(MODELS, "qwen-image-max"), quality="hd")


def test_an_edit_has_no_4k() -> None:
    """The vendor edits in 2K at most: 4k is refused by name, or drawn and reported as 2K for a lenient caller."""
    spec = row(MODELS, "wan2.7-image-pro")
    with pytest.raises(InvalidRequest, match="takes in edits: standard, auto, low, medium, hd, high") as caught:
        call(spec, quality="4k", images=(WIDE,))
    assert [violation.nearest for violation in caught.value.violations] == ["hd"]
    request = ImageRequest(operation=Operation.EDIT, prompt="x", images=(WIDE,), quality="4k", policy=Policy.LENIENT)
    made = plan(request, spec)
    assert document(made.calls[0])["parameters"]["size"] == "2880*1440"
    assert [(a.param, a.asked, a.used) for a in made.adjustments] == [("quality", "4k", "2K")]


def test_auto_leaves_the_size_to_the_model_that_chooses() -> None:
    """Only the newest family chooses a size by the prompt; others are sent their default."""
    assert "size" not in parameters("qwen-image-3.0-pro", size=AUTO)
    assert parameters("qwen-image-3.0-pro", size=AUTO, quality="hd")["size"] == "2048*2048"
    assert parameters("qwen-image-2.0-pro", size=AUTO)["size"] == "2048*2048"


def test_style_is_written_in_angle_brackets() -> None:
    """The brackets are part of the value upstream; a caller says the bare word, and the SDK's vivid is no wish."""
    assert parameters("wanx-v1", options={"style": "oil painting"})["style"] == "<oil painting>"
    assert "style" not in parameters("wanx-v1", options={"style": "vivid"})


def test_the_spec_documents_models_keep_its_limits() -> None:
    """One image in strict, more for the lenient in as few calls as the upstream allows; never a retouching option."""
    spec = row(MODELS, "wanx-v1")
    with pytest.raises(InvalidRequest, match="'n' is 2"):
        call(spec, n=2)
    lenient = calls(spec, n=10, policy=Policy.LENIENT, options={"seed": 2147483647})
    assert [each.n for each in lenient] == [4, 4, 2]
    assert [each.options["seed"] for each in lenient] == [2147483647, 3, 7]
    for option in ("prompt_extend", "watermark"):
        with pytest.raises(InvalidRequest, match=option):
            call(spec, options={option: True})


def test_stable_diffusion_loses_its_prefix() -> None:
    """The upstream does not know the gateway's `ali-`."""
    assert document(call(row(MODELS, "ali-stable-diffusion-xl")))["model"] == "stable-diffusion-xl"


def test_no_prompt_is_read_as_a_file() -> None:
    """A prompt that looks like a path is text: unlike the vendor's own client, nothing is opened or uploaded."""
    asked = call(row(MODELS, "qwen-image-2.0"), "file:///etc/hostname")
    assert document(asked)["input"]["messages"][0]["content"] == [{"text": "file:///etc/hostname"}]
