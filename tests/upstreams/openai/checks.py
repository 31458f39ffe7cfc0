"""The checks between a parsed request and a picture. Each raises `Refusal` or returns nothing."""

import re
from typing import Any

from tests.upstreams.openai.refusal import (
    Refusal,
    image_user_error,
    invalid,
    missing,
    not_among,
    out_of_range,
    unknown_parameter,
    wrong_type,
)
from tests.upstreams.openai.rules import MB, MODELS, SHUTDOWN, Rules, breaks_rule_a
from tests.upstreams.openai.wish import BOOLEANS, INTEGERS, Picture, Wish

_RANGES = {"output_compression": (0, 100), "partial_images": (0, 3)}
_WORDS = {
    "background": frozenset({"transparent", "opaque", "auto"}),
    "output_format": frozenset({"png", "jpeg", "webp"}),
    "moderation": frozenset({"auto", "low"}),
    "response_format": frozenset({"url", "b64_json"}),
    "style": frozenset({"vivid", "natural"}),
    "complexity": frozenset({"low", "medium", "high"}),
}


def rules_for(fields: dict[str, Any], retired: frozenset[str]) -> Rules:
    """The named model's rules; naming none is refused, as the documents ask since November 2026."""
    name = fields.get("model")
    if name is None:
        raise missing("model")
    if not isinstance(name, str):
        raise wrong_type("model", "a string", name)
    if name not in MODELS:
        raise image_user_error(f"The model '{name}' does not exist.", "invalid_value", "model")
    if name in retired:  # 410 is declared for retired models; its body is unverified
        message = f"The model '{name}' was shut down on {SHUTDOWN.get(name)}."
        raise Refusal(message, code="model_retired", param="model", status=410)
    return MODELS[name]


def check_generation(wish: Wish, rules: Rules) -> None:
    _check_fields(wish, rules, rules.generations)


def check_edit(wish: Wish, rules: Rules) -> None:
    if rules.edits is None:
        raise not_among("model", wish.fields["model"], [name for name, each in MODELS.items() if each.edits])
    if not wish.is_form and not rules.gpt:
        raise invalid("JSON edits need a GPT image model.", "model")
    _check_fields(wish, rules, rules.edits)
    _check_fidelity(wish, rules)
    _check_images(wish, rules)
    if wish.mask is not None:
        _check_mask(wish, rules)


def _check_fields(wish: Wish, rules: Rules, known: frozenset[str]) -> None:
    fields = wish.fields
    for name in fields:
        if name not in known:
            raise unknown_parameter(name)
        _check_type(name, fields[name])
    _check_prompt(fields.get("prompt"), rules.prompt_max)
    for name, (low, high) in {**_RANGES, "n": (1, rules.n_max)}.items():
        if name in fields and not low <= fields[name] <= high:
            raise out_of_range(name, fields[name], low, high)
    for name, words in {**_WORDS, "quality": rules.qualities}.items():
        if name in fields and fields[name] not in words:
            raise not_among(name, fields[name], words)
    if "size" in fields:
        _check_size(fields["size"], rules.sizes)
    _check_together(fields)


def _check_type(name: str, value: object) -> None:
    if name in INTEGERS:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong_type(name, "an integer", value)
    elif name in BOOLEANS:
        if not isinstance(value, bool):
            raise wrong_type(name, "a boolean", value)
    elif not isinstance(value, str):
        raise wrong_type(name, "a string", value)


def _check_prompt(prompt: str | None, longest: int) -> None:
    if not prompt:
        raise missing("prompt")
    if len(prompt) > longest:
        message = f"Invalid 'prompt': string too long. Expected at most {longest}, but got {len(prompt)} characters."
        raise Refusal(message, code="string_above_max_length", param="prompt")


def _check_size(size: str, sizes: frozenset[str] | None) -> None:
    if sizes is not None:
        if size not in sizes:
            raise not_among("size", size, sizes)
        return
    if size == "auto":
        return
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", size)
    why = breaks_rule_a(int(match[1]), int(match[2])) if match else "Expected WIDTHxHEIGHT or 'auto'."
    if why is not None:
        raise invalid(f"Invalid size '{size}'. {why}", "size")


def _check_together(fields: dict[str, Any]) -> None:
    kind = fields.get("output_format", "png")
    if fields.get("background") == "transparent" and kind == "jpeg":
        raise invalid("Transparent background needs output format png or webp.", "background")
    if fields.get("output_compression", 100) != 100 and kind == "png":
        raise invalid("Compression needs output format jpeg or webp.", "output_compression")
    if fields.get("stream") and fields.get("n", 1) > 1:
        raise invalid("Streaming is only supported with n=1.", None, None)
    if fields.get("partial_images") and not fields.get("stream"):
        raise invalid("'partial_images' is only supported when streaming.", "partial_images")


def _check_fidelity(wish: Wish, rules: Rules) -> None:
    if "input_fidelity" not in wish.fields:
        return
    if rules.fidelities is None:
        message = f"The model '{wish.fields['model']}' does not support 'input_fidelity'; omit it."
        raise image_user_error(message, "invalid_input_fidelity_model", "input_fidelity")
    if wish.fields["input_fidelity"] not in rules.fidelities:
        raise not_among("input_fidelity", wish.fields["input_fidelity"], rules.fidelities)


def _check_images(wish: Wish, rules: Rules) -> None:
    field = "image" if wish.is_form else "images"
    if not wish.images:
        raise missing(field)
    if len(wish.images) > rules.images_max:
        message = f"Invalid '{field}': expected at most {rules.images_max} images, but got {len(wish.images)}."
        raise invalid(message, field, "array_above_max_length")
    for picture in wish.images:
        _check_bytes(picture, rules.image_below)
        image = picture.opened()
        _check_mode(picture, image.mode, rules)
        if not rules.gpt and (image.format != "PNG" or image.width != image.height):
            raise image_user_error("The image must be a square PNG.", "invalid_image_file", picture.param)


def _check_mode(picture: Picture, mode: str, rules: Rules) -> None:
    """No palettes, and for DALL-E no plain RGB (sashabaranov/go-openai#188); palettes: unverified for GPT models."""
    if mode == "P" or (mode == "RGB" and not rules.gpt):
        message = f"Invalid input image - format must be in ['RGBA', 'LA', 'L'], got {mode}."
        raise image_user_error(message, "invalid_image_file", picture.param)


def _check_mask(wish: Wish, rules: Rules) -> None:
    """PNG below 4 MB with an alpha channel, as large as the first image (the code is unverified)."""
    if wish.mask is None:
        return
    _check_bytes(wish.mask, 4 * MB)
    mask = wish.mask.opened()
    first = wish.images[0].opened()
    _check_mode(wish.mask, mask.mode, rules)
    if mask.format != "PNG" or not mask.has_transparency_data:
        message = "The mask must be a PNG with an alpha channel."
        raise image_user_error(message, "invalid_image_file", "mask")
    if mask.size != first.size:
        message = f"The mask is {mask.width}x{mask.height}, the first image {first.width}x{first.height}."
        raise image_user_error(message, "invalid_image_file", "mask")


def _check_bytes(picture: Picture, below: int) -> None:
    """Raises `Refusal` unless the file is smaller than `below` bytes (the code is unverified)."""
    if len(picture.data) >= below:
        message = f"Invalid file '{picture.param}': it must be smaller than {below // MB} MB."
        raise invalid(message, picture.param, "file_too_large")
