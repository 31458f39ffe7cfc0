"""Reading a GenerateContentRequest as strictly as the service's parser does, in both of the cases that it takes."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image, UnidentifiedImageError

from tests.upstreams.gemini.rules import Pixels, Rules
from tests.upstreams.gemini.status import bad, unknown
from tests.upstreams.http import strict_json
from tests.upstreams.images import pixels

MAX_BODY: Final = 100 * 10**6
TOP: Final = frozenset(
    {"contents", "generationConfig", "safetySettings", "systemInstruction", "tools", "toolConfig", "serviceTier"}
)
GENERATION: Final = frozenset(
    {
        "responseModalities",
        "imageConfig",
        "seed",
        "candidateCount",
        "thinkingConfig",
        "temperature",
        "topP",
        "topK",
        "maxOutputTokens",
    }
)
IMAGE: Final = frozenset({"aspectRatio", "imageSize"})
PART: Final = frozenset({"text", "inlineData", "thoughtSignature"})
_SNAKE: Final = re.compile(r"_([a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that the service takes."""

    rules: Rules
    prompt: str
    images: tuple[Image.Image, ...]
    shape: str
    tier: str
    seed: int

    @property
    def size(self) -> Pixels:
        return self.rules.pixels(self.shape, self.tier)


def read(body: bytes, rules: Rules) -> Asked:
    """The request, checked whole. Raises ServiceError."""
    if len(body) > MAX_BODY:
        raise bad("Request payload size exceeds the limit: 104857600 bytes.")
    try:
        document = _camel(strict_json(body))
    except ValueError:
        raise bad("Invalid JSON payload received. Unexpected token.") from None
    if not isinstance(document, dict):
        raise bad("Invalid JSON payload received. The root is not an object.")
    _known(document, TOP, "")
    text, images = _contents(document.get("contents"), rules)
    config = document.get("generationConfig", {})
    _known(config, GENERATION, "generation_config")
    image = config.get("imageConfig", {})
    _known(image, IMAGE, "generation_config.image_config")
    _generation(config, rules)
    return Asked(
        rules=rules,
        prompt=text,
        images=images,
        shape=_shape(image, images, rules),
        tier=_tier(image, rules),
        seed=config.get("seed", 0),
    )


def _camel(value: Any) -> Any:
    """Proto-JSON takes both cases; a name in both is a name twice."""
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = [(_SNAKE.sub(lambda match: match[1].upper(), key), _camel(each)) for key, each in value.items()]
    if len(dict(named)) != len(named):
        raise ValueError("an object names a field twice")
    return dict(named)


def _known(value: Any, names: frozenset[str], where: str) -> None:
    if not isinstance(value, Mapping):
        raise bad("Invalid JSON payload received. Not an object.", where)
    for name in value:
        if name not in names:
            raise unknown(name, where)


def _contents(contents: Any, rules: Rules) -> tuple[str, tuple[Image.Image, ...]]:
    if not isinstance(contents, list) or len(contents) != 1:
        raise bad("GenerateContentRequest.contents: contents is not specified", "contents")
    _known(contents[0], frozenset({"role", "parts"}), "contents[0]")
    if contents[0].get("role") != "user" or not contents[0].get("parts"):
        raise bad("Please use a valid role: user, model.", "contents[0].role")
    texts, images = [], []
    for index, part in enumerate(contents[0]["parts"]):
        where = f"contents[0].parts[{index}]"
        _known(part, PART, where)
        if ("text" in part) == ("inlineData" in part):
            raise bad("A part holds exactly one kind of data.", where)
        if "text" in part:
            texts.append(part["text"])
        else:
            images.append(_picture(part["inlineData"], rules, f"{where}.inline_data"))
    if len(images) > rules.inputs:
        raise bad(f"At most {rules.inputs} images are supported.", "contents[0].parts.inline_data")
    if not "".join(texts).strip():
        raise bad("Unable to submit request because it must have a text parameter.", "contents[0].parts")
    return " ".join(texts), tuple(images)


def _picture(blob: Any, rules: Rules, where: str) -> Image.Image:
    """The declared type must be taken by the model and be that of the bytes."""
    _known(blob, frozenset({"mimeType", "data"}), where)
    if blob.get("mimeType") not in rules.mime:
        raise bad(f"Unsupported MIME type: {blob.get('mimeType')}", f"{where}.mime_type")
    try:
        data = base64.b64decode(str(blob.get("data")).translate(str.maketrans("-_", "+/")), validate=True)
        image = pixels(data)
    except (binascii.Error, UnidentifiedImageError):
        raise bad("Unable to process input image.", f"{where}.data") from None
    if f"image/{(image.format or '').lower()}" != blob["mimeType"]:
        raise bad("Unhandled generated data mime type.", f"{where}.mime_type")
    return image


def _generation(config: Mapping[str, Any], rules: Rules) -> None:
    if config.get("candidateCount", 1) != 1:
        raise bad("Multiple candidates is not enabled for this model")
    modalities = config.get("responseModalities", ["TEXT", "IMAGE"])
    if not isinstance(modalities, list) or not {"IMAGE"} <= set(modalities) <= {"TEXT", "IMAGE"}:
        raise bad("The requested combination of response modalities is not supported by the model.")
    seed = config.get("seed", 0)
    if type(seed) is not int or not -(2**31) <= seed < 2**31:
        raise bad("Invalid value at 'generation_config.seed' (TYPE_INT32)", "generation_config.seed")
    thinking = config.get("thinkingConfig")
    if thinking is not None:
        _known(thinking, frozenset({"thinkingLevel", "includeThoughts"}), "generation_config.thinking_config")
        if thinking.get("thinkingLevel", "HIGH") not in rules.thinking:
            raise bad("Thinking level is not supported for this model.")


def _shape(config: Mapping[str, Any], images: tuple[Image.Image, ...], rules: Rules) -> str:
    """Unasked the last input's nearest shape, square without one."""
    asked = config.get("aspectRatio")
    if asked is not None:
        if asked not in rules.shapes:
            raise bad("aspect_ratio is not supported.", "generation_config.image_config.aspect_ratio")
        return str(asked)
    if not images:
        return "1:1"
    wanted = images[-1].width / images[-1].height
    return min(rules.shapes, key=lambda name: abs(rules.shapes[name][0] / rules.shapes[name][1] - wanted))


def _tier(config: Mapping[str, Any], rules: Rules) -> str:
    asked = config.get("imageSize")
    if asked is None:
        return "1K"
    if asked not in rules.tiers:
        raise bad("image_size is not supported by this model.", "generation_config.image_config.image_size")
    return str(asked)
