"""The documents that the service answers with status 200, those without a picture included."""

from __future__ import annotations

import base64
import zlib
from typing import Any, Final

from PIL import ImageOps

from tests.upstreams.gemini.asked import Asked
from tests.upstreams.images import encode, picture

RESPONSE_ID: Final = "mAh3adH0Nv-stand-in"
INPUT_TOKENS: Final = 560


def made(asked: Asked) -> dict[str, Any]:
    """One picture."""
    return _answer(asked, [_blob(asked)], "STOP")


def drafted(asked: Asked) -> dict[str, Any]:
    """Thoughts in words and in a picture, then the picture."""
    thoughts = [{"text": "A kite. Red.", "thought": True}, {**_blob(asked, (1, 2, 3)), "thought": True}]
    return _answer(asked, [*thoughts, {"text": "Here it is."}, {**_blob(asked), "thoughtSignature": "AAAA"}], "STOP")


def twice(asked: Asked) -> dict[str, Any]:
    """Two final pictures for one that was asked."""
    return _answer(asked, [_blob(asked), _blob(asked, (9, 9, 9))], "STOP")


def mislabelled(asked: Asked) -> dict[str, Any]:
    """A relay's spelling, and a declared type that is not true."""
    inline = _blob(asked)["inlineData"]
    return _answer(asked, [{"inline_data": {"mime_type": "image/webp", "data": inline["data"]}}], "STOP")


def talked(asked: Asked) -> dict[str, Any]:
    """Words alone."""
    return _answer(asked, [{"text": "I would rather not draw that."}], "STOP")


def finished(asked: Asked, reason: str) -> dict[str, Any]:
    """A candidate without any part."""
    return _answer(asked, [], reason)


def blocked(asked: Asked) -> dict[str, Any]:
    """The drawn picture is withheld; input and thoughts are counted all the same."""
    document = _answer(asked, [], "IMAGE_PROHIBITED_CONTENT")
    document["candidates"][0]["finishMessage"] = "Unable to show the generated image. Support code: 42876398."
    return document


def prompt_blocked(asked: Asked) -> dict[str, Any]:
    """No candidates."""
    counted = {"promptTokenCount": len(asked.prompt.split()), "totalTokenCount": len(asked.prompt.split())}
    return {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": counted,
        "modelVersion": "stand-in",
        "responseId": RESPONSE_ID,
    }


def _blob(asked: Asked, look: tuple[int, int, int] | None = None) -> dict[str, Any]:
    """A picture of the size asked: of an edit the first input inverted, else a ground of the prompt and the seed."""
    if asked.images and look is None:
        image = ImageOps.invert(asked.images[0].convert("RGB")).resize(asked.size)
    else:
        mark = zlib.crc32(f"{asked.prompt}{asked.seed}".encode())
        image = picture(*asked.size, look or (mark % 256, mark // 256 % 256, mark // 65536 % 256))
    data = base64.b64encode(encode(image, asked.rules.makes)).decode()
    return {"inlineData": {"mimeType": f"image/{asked.rules.makes}", "data": data}}


def _answer(asked: Asked, parts: list[dict[str, Any]], reason: str) -> dict[str, Any]:
    words, images = len(asked.prompt.split()), INPUT_TOKENS * len(asked.images)
    drawn = asked.rules.tokens if any("thought" not in part and "text" not in part for part in parts) else 0
    details = [{"modality": "TEXT", "tokenCount": words}]
    if images:
        details.append({"modality": "IMAGE", "tokenCount": images})
    usage: dict[str, Any] = {
        "promptTokenCount": words + images,
        "promptTokensDetails": details,
        "totalTokenCount": words + images + drawn,
    }
    if drawn:
        usage["candidatesTokenCount"] = drawn
        usage["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": drawn}]
    if asked.rules.thinking:
        usage["thoughtsTokenCount"] = 175
        usage["totalTokenCount"] += 175
    content = {"role": "model", "parts": parts} if parts else {"role": "model"}
    return {
        "candidates": [{"content": content, "finishReason": reason, "index": 0}],
        "usageMetadata": usage,
        "modelVersion": "stand-in",
        "responseId": RESPONSE_ID,
    }
