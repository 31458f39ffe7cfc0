"""What an answer says: one link, a refusal, or an error with the vendor's own code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from providers.cogview.errors import failed, page
from providers.cogview.rows import VENDOR
from providers.core.errors import Refused, UpstreamError, UpstreamFailure
from providers.core.http import HTTPResponse
from providers.core.provider import Completed, Failed, Image, Link, Outcome
from providers.kit.failures import failure, request_id
from providers.kit.lift import Lifted, LiftError, lift

_STAGES: Final = {"user": "input", "history": "input", "assistant": "output"}
_ERRORS_FROM: Final = 400


def read(response: HTTPResponse) -> Outcome:
    """The outcome of a call. Never raises for what an upstream may send."""
    try:
        document = lift(response.body)
    except LiftError:
        document = None
    if not isinstance(document, dict):
        return Failed(page(response))
    answer = _Answer(response=response, document=document)
    if response.status >= _ERRORS_FROM or isinstance(document.get("error"), dict):
        return Failed(answer.error())
    return answer.image()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    response: HTTPResponse
    document: dict[str, Any] = field(repr=False)

    @property
    def id(self) -> str | None:
        said = (self.document.get(name) for name in ("request_id", "id"))
        return next((value for value in said if isinstance(value, str) and value), None) or request_id(self.response)

    def error(self) -> UpstreamFailure:
        """An error answer; what is not in its envelope may stand beside it."""
        said = _mapping(self.document.get("error")) or self.document
        return failed(self.response, said.get("code"), said.get("message"), ours=self.id, stage=self._stage())

    def image(self) -> Outcome:
        """The image, as the documented link or in a form that other gateways have met."""
        made = tuple(self._made())
        if made:
            return Completed(images=made, upstream_request_id=self.id)
        if self._filtered():
            return Failed(
                self._failure(Refused, "The upstream's content filter withheld the image.", "content_filter")
            )
        return Failed(self._failure(UpstreamError, "The answer of the upstream holds no image."))

    def _made(self) -> Iterator[Image]:
        items = self.document.get("data")
        for item in map(_mapping, items if isinstance(items, list) else []):
            forms = (_link(item.get("url")), _inline(item.get("b64_json")))
            more = (_link(item.get("image_url")), _inline(item.get("b64_image")))
            content = next((form for form in (*forms, *more) if form is not None), None)
            if content is not None:
                yield Image(content=content)

    def _filtered(self) -> list[dict[str, Any]]:
        """The content filter's findings; beside an image they are for information only."""
        found = self.document.get("content_filter") or self.document.get("contentFilter")
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def _stage(self) -> str:
        """Whose text or picture was refused: 1301 itself stands for both."""
        roles = [item.get("role") for item in self._filtered()]
        stages = {_STAGES[role] for role in roles if isinstance(role, str) and role in _STAGES}
        return stages.pop() if len(stages) == 1 else "unknown"

    def _failure(self, kind: type[UpstreamFailure], message: str, code: str | None = None) -> UpstreamFailure:
        return failure(
            kind,
            self.response,
            provider=VENDOR,
            message=message,
            upstream_code=code,
            stage=self._stage() if kind is Refused else None,
            upstream_request_id=self.id,
        )


def _link(value: object) -> Link | None:
    return Link(value) if isinstance(value, str) and value.startswith(("https://", "http://")) else None


def _inline(value: object) -> Lifted | None:
    if not value:
        return None
    try:
        return Lifted.of(value)
    except LiftError:
        return None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
