"""An answer without the way to it: all that a caller is told, small enough to keep, the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any, Final

from app import answer as answers
from app.answer import Answer, Failure
from app.delivery import Delivered
from providers.core.http import Buffer
from providers.core.prices import Usage
from providers.core.types import ImageFormat, Size
from providers.core.valueclass import valueclass
from providers.kit.bodies import PLACE, filled, plain

FORM: Final = 1  # of documents; one that a later release wrote otherwise is not read


@valueclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What first answers and replays are rendered from. It holds no plan, and so no input image.

    `limits` are headers of the moment: the first caller gets them, no replay does.
    """

    created: int
    images: tuple[Delivered, ...]
    failures: tuple[Failure, ...] = ()
    facts: Mapping[str, str]
    usage: Usage | None = None
    headers: Mapping[str, str]
    limits: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, answer: Answer) -> Kept:
        """Of what the pipeline made."""
        return cls(
            created=answer.created,
            images=answer.images,
            failures=answer.failures,
            facts=answers.facts(answer),
            usage=answer.usage,
            headers=answers.headers(answer),
            limits=answers.limits(answer.standings),
        )

    @property
    def weight(self) -> int:
        """The bytes of its images."""
        return sum(len(image.base64 or b"") for image in self.images)


def body(kept: Kept) -> list[Buffer]:
    """OpenAI's body as buffers: the text around the images, and the images where they lie."""
    document: dict[str, Any] = {
        "created": kept.created,
        "data": [_item(image) for image in kept.images],
        **kept.facts,
    }
    if kept.usage is not None:
        document["usage"] = answers.usage_document(kept.usage, kept.images)
    if kept.failures:
        document["pinhole"] = {"errors": [{"code": f.code, "message": f.message} for f in kept.failures]}
    return filled(plain(document), [image.base64 or b"" for image in kept.images if not image.url])


def ending(kept: Kept) -> dict[str, Any]:
    """What answers say in headers, for the last event of a stream."""
    told = kept.headers
    found: dict[str, Any] = {
        "provider": told["pinhole-provider"],
        "model": told["pinhole-model"],
        "attempts": int(told["pinhole-attempts"]),
        "adjustments": told.get("pinhole-adjustments", ""),
        "cost_usd": float(told["pinhole-cost-usd"]) if "pinhole-cost-usd" in told else None,
    }
    if kept.failures:
        found["errors"] = [{"code": f.code, "message": f.message} for f in kept.failures]
    return found


def document(kept: Kept) -> list[Buffer]:
    """The form in which a store keeps it: a line of JSON, then the base64 of each image as it is."""
    head = {
        "form": FORM,
        "created": kept.created,
        "images": [_described(image) for image in kept.images],
        "failures": [[failure.code, failure.message] for failure in kept.failures],
        "facts": dict(kept.facts),
        "usage": None if kept.usage is None else asdict(kept.usage),
        "headers": dict(kept.headers),
    }
    line = json.dumps(head, ensure_ascii=True).encode() + b"\n"
    return [line, *(image.base64 for image in kept.images if image.base64 is not None)]


def read(data: bytes) -> Kept:
    """A document as it was kept. Raises ValueError for one that is torn or of another form."""
    line, newline, _ = data.partition(b"\n")
    head = json.loads(line)
    if not newline or head["form"] != FORM:
        raise ValueError("not a kept answer of this form")
    rest = memoryview(data)[len(line) + 1 :]
    images = []
    for item in head["images"]:
        length = item["length"] or 0
        if length > len(rest):
            raise ValueError("a torn document")
        images.append(_image(item, None if item["length"] is None else rest[:length]))
        rest = rest[length:]
    if rest:
        raise ValueError("a document with more behind it")
    return Kept(
        created=head["created"],
        images=tuple(images),
        failures=tuple(Failure(*failure) for failure in head["failures"]),
        facts=head["facts"],
        usage=None if head["usage"] is None else Usage(**head["usage"]),
        headers=head["headers"],
    )


def _item(image: Delivered) -> dict[str, Any]:
    """One item of `data`."""
    item = {"url": image.url} if image.url else {"b64_json": PLACE}
    if image.revised_prompt:
        item["revised_prompt"] = image.revised_prompt
    return item


def _described(image: Delivered) -> dict[str, Any]:
    return {
        "format": image.format.value,
        "size": None if image.size is None else [image.size.width, image.size.height],
        "revised_prompt": image.revised_prompt,
        "url": image.url,
        "length": None if image.base64 is None else len(image.base64),
    }


def _image(item: Mapping[str, Any], text: Buffer | None) -> Delivered:
    return Delivered(
        format=ImageFormat(item["format"]),
        size=None if item["size"] is None else Size(*item["size"]),
        revised_prompt=item["revised_prompt"],
        url=item["url"],
        base64=text,
    )
