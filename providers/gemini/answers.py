"""Reading a GenerateContentResponse: its pictures, its words, its tokens. Every field of it is optional."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from providers.core.prices import TOKENS, Usage
from providers.core.provider import Base64Image, Link
from providers.core.valueclass import valueclass
from providers.kit.lift import Lifted, LiftError

_STANDARD = str.maketrans("-_", "+/")


@valueclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the candidates hold together. `drafts` are pictures of the model's thinking, not results."""

    pictures: tuple[Base64Image | Link, ...]
    drafts: tuple[Base64Image | Link, ...]
    text: str
    finish: str
    why: object


def read(document: Mapping[str, Any]) -> Answer:
    """All candidates as one answer; the finish reason is the first that is not STOP, else STOP or ''."""
    candidates = tuple(_mappings(document.get("candidates")))
    parts = [part for candidate in candidates for part in _parts(candidate)]
    finishes = [(_word(each.get("finishReason")), each.get("finishMessage")) for each in candidates]
    finish, why = next((pair for pair in finishes if pair[0] not in {"", "STOP"}), (finishes or [("", None)])[0])
    final = [part for part in parts if part.get("thought") is not True]
    return Answer(
        pictures=tuple(_pictures(final)),
        drafts=tuple(_pictures(part for part in parts if part.get("thought") is True)),
        text=" ".join(part["text"] for part in final if isinstance(part.get("text"), str)),
        finish=finish,
        why=why,
    )


def usage(document: Mapping[str, Any]) -> Usage | None:
    """`usageMetadata` with thoughts among the text that came out; None when it counts nothing."""
    told = document.get("usageMetadata")
    if not isinstance(told, Mapping):
        return None
    into, out, thoughts = (_count(told, f"{name}TokenCount") for name in ("prompt", "candidates", "thoughts"))
    if not into + out + thoughts:
        return None
    input_image = min(_of_images(told.get("promptTokensDetails")) or 0, into)
    drawn = _of_images(told.get("candidatesTokensDetails"))
    output_image = out if drawn is None else min(drawn, out)
    return Usage(
        input_text=into - input_image,
        input_image=input_image,
        output_image=output_image,
        output_text=out - output_image + thoughts,
    )


def blocked(document: Mapping[str, Any]) -> tuple[str, object]:
    """The prompt's block reason ('' when it was not blocked) and the upstream's words for it."""
    feedback = document.get("promptFeedback")
    told = feedback if isinstance(feedback, Mapping) else {}
    reason = _word(told.get("blockReason"))
    return ("" if reason == "BLOCK_REASON_UNSPECIFIED" else reason), told.get("blockReasonMessage")


def _parts(candidate: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    content = candidate.get("content")
    return _mappings(content.get("parts")) if isinstance(content, Mapping) else iter(())


def _pictures(parts: Iterator[Mapping[str, Any]] | list[Mapping[str, Any]]) -> Iterator[Base64Image | Link]:
    for part in parts:
        picture = _picture(part)
        if picture is not None:
            yield picture


def _picture(part: Mapping[str, Any]) -> Base64Image | Link | None:
    """`inlineData` (relays write it in snake case), or a link. The declared type may lie, so it is not read."""
    inline = part.get("inlineData", part.get("inline_data"))
    if isinstance(inline, Mapping):
        data = inline.get("data")
        try:
            picture = Lifted.of(data.translate(_STANDARD) if isinstance(data, str) else data)
        except LiftError:
            return None
        return picture if picture.size else None
    stored = part.get("fileData")
    uri = stored.get("fileUri") if isinstance(stored, Mapping) else None
    return Link(uri) if isinstance(uri, str) and uri.startswith("https://") else None


def _of_images(details: Any) -> int | None:
    """The tokens of pictures among details by modality; None when there are no details."""
    listed = tuple(_mappings(details))
    return sum(_count(each, "tokenCount") for each in listed if each.get("modality") == "IMAGE") if listed else None


def _count(document: Mapping[str, Any], name: str) -> int:
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= TOKENS else 0


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    return (each for each in value if isinstance(each, Mapping)) if isinstance(value, list) else iter(())


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""
