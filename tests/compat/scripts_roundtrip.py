"""Run by other environments' interpreters: a generation, a masked edit, a stream and an error, as JSON."""

import base64
import io
import json
import sys
from typing import Any

import openai

BASE_URL, PHOTO, MASK = sys.argv[1:4]


def main() -> None:
    """Print what the SDK saw."""
    client: Any = openai.OpenAI(base_url=BASE_URL, api_key="any", max_retries=0)
    made = client.images.generate(model="gpt-image-1", prompt="a boat", size="1024x1024", quality="low")
    with open(PHOTO, "rb") as photo, open(MASK, "rb") as mask:  # noqa: PTH123 - old interpreters too
        edited = client.images.edit(
            model="dall-e-2", prompt="a hat", image=photo, mask=mask, response_format="b64_json"
        )
    named = io.BytesIO(base64.b64decode(made.data[0].b64_json))
    named.name = "made.png"
    several = client.images.edit(model="gpt-image-1", prompt="both", image=[named, ("two.png", open(PHOTO, "rb"))])  # noqa: SIM115, PTH123
    try:
        client.images.generate(model="gpt-image-1", prompt="a boat", size="512x512")
        refused = None
    except openai.BadRequestError as error:
        refused = [error.status_code, error.param, error.code]
    stream = (
        client.images.generate(model="gpt-image-1", prompt="a boat", extra_body={"stream": True, "partial_images": 1})
        if openai.VERSION.startswith("1.0")
        else client.images.generate(model="gpt-image-1", prompt="a boat", stream=True, partial_images=1)
    )
    kinds = [event.type for event in stream]
    told = {
        "version": openai.VERSION,
        "generated": len(base64.b64decode(made.data[0].b64_json)),
        "edited": len(base64.b64decode(edited.data[0].b64_json)),
        "several": len(several.data),
        "refused": refused,
        "kinds": kinds,
    }
    sys.stdout.write(json.dumps(told))


main()
