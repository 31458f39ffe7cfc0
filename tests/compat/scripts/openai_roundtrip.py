"""Run by the interpreters of older SDKs: what the package sends and reads, printed as one line of JSON.

openai_roundtrip.py BASE_URL PHOTO MASK
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import openai

BASE_URL = sys.argv[1]
PHOTO, MASK = Path(sys.argv[2]), Path(sys.argv[3])
CANVAS = "sandbox/canvas"


def generations(client: Any) -> dict[str, Any]:
    """Both forms of an answer, and the headers."""
    made = client.images.generate(model="gpt-image-2", prompt="A boat", size="1024x1024", quality="low")
    raw = client.images.with_raw_response.generate(
        model=CANVAS, prompt="A boat", size="128x128", n=2, response_format="url"
    )
    return {
        "png": made.data[0].b64_json,
        "total_tokens": made.usage.total_tokens,
        "urls": [image.url for image in raw.parse().data],
        "headers": {name: raw.headers.get(name) for name in ("pinhole-model", "x-request-id")},
    }


def edits(client: Any) -> dict[str, Any]:
    """A masked edit of open files, and several images in several forms."""
    with PHOTO.open("rb") as photo, MASK.open("rb") as mask:
        masked = client.images.edit(
            model="dall-e-2", prompt="A hat", image=photo, mask=mask, size="256x256", response_format="b64_json"
        )
    named = io.BytesIO(PHOTO.read_bytes())
    named.name = "cat.png"
    several = client.images.edit(
        model=CANVAS,
        prompt="Both",
        size="128x128",
        image=[named, ("two.png", PHOTO.read_bytes(), "image/png"), PHOTO.read_bytes()],
    )
    return {"masked": masked.data[0].b64_json, "several": several.data[0].url}


def streams(client: Any) -> dict[str, Any]:
    """The events of both routes; 1.x and 2.x know both as parameters."""
    asked = {"model": CANVAS, "prompt": "A boat", "size": "128x128", "stream": True, "partial_images": 2}
    made = list(client.images.generate(**asked))
    edited = list(client.images.edit(image=PHOTO.read_bytes(), **asked))
    last = base64.b64decode(made[-1].b64_json)
    return {
        "generation": [event.type for event in made],
        "edit": [event.type for event in edited],
        "indexes": [event.partial_image_index for event in made[:-1]],
        "last": hashlib.sha256(last).hexdigest(),
        "size": made[-1].size,
    }


def errors(client: Any) -> dict[str, Any]:
    """Class, status, parameter and code of what is refused."""
    asked = {
        "size": {"model": "gpt-image-1", "size": "512x512"},
        "model": {"model": "no-such-model"},
        "refused": {"model": "sandbox/refuse"},
        "limited": {"model": "sandbox/rate-limited"},
        "broken": {"model": "sandbox/error"},
    }
    found = {}
    for name, change in asked.items():
        try:
            client.images.generate(prompt="A boat", **change)
        except openai.APIStatusError as error:
            found[name] = [type(error).__name__, error.status_code, error.param, error.code]
    return found


def main() -> None:
    """Print what the SDK saw."""
    with openai.OpenAI(base_url=BASE_URL, api_key="any", max_retries=0) as client:
        told = {
            "version": openai.VERSION,
            "generations": generations(client),
            "edits": edits(client),
            "streams": streams(client),
            "errors": errors(client),
            "models": [model.id for model in client.models.list()],
            "one": client.models.retrieve("openai/gpt-image-2").id,
        }
    sys.stdout.write(json.dumps(told))


main()
