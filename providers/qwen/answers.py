"""What an answer says: the images of both shapes of output, and what was not made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit

from providers.core.errors import Refused, UpstreamError, UpstreamFailure
from providers.core.http import HTTPRequest, HTTPResponse
from providers.core.plan import Call
from providers.core.provider import Completed, Failed, Image, Link, Outcome, Poll
from providers.kit.failures import failure, request_id, unreadable
from providers.kit.lift import LiftError, lift
from providers.qwen.errors import failed
from providers.qwen.rows import VENDOR

PENDING: Final = frozenset({"PENDING", "SUSPENDED"})
RUNNING: Final = "RUNNING"
# UNKNOWN is final too: an id that is wrong, older than 24 hours, or of another region or account.
OVER: Final = {"CANCELED": "was cancelled", "UNKNOWN": "is no longer known"}
# Twenty looks a second are allowed per account; advice goes from 1 s growing (SDK) to 10 s (2026-11-22).
FIRST_LOOK_SECONDS: Final = 1.0
_SIZE: Final = re.compile(r"([1-9][0-9]{0,4})[*x]([1-9][0-9]{0,4})")
_ERRORS_FROM: Final = 400


def read(call: Call, response: HTTPResponse) -> Outcome:
    """The outcome of a call or of a look at its task. Never raises for what an upstream may send."""
    try:
        document = lift(response.body)
    except LiftError:
        return Failed(unreadable(response, provider=VENDOR))
    if not isinstance(document, dict):
        return Failed(unreadable(response, provider=VENDOR))
    answer = _Answer(call=call, response=response, document=document)
    if response.status >= _ERRORS_FROM or (answer.text(document, "code") and not answer.output):
        return Failed(answer.refusal())
    return answer.task() or answer.images()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    call: Call
    response: HTTPResponse
    document: dict[str, Any] = field(repr=False)

    @property
    def output(self) -> dict[str, Any]:
        return _mapping(self.document.get("output"))

    @property
    def id(self) -> str | None:
        return self.text(self.document, "request_id") or request_id(self.response)

    @staticmethod
    def text(document: dict[str, Any], key: str) -> str | None:
        value = document.get(key)
        return value if isinstance(value, str) and value else None

    def refusal(self) -> UpstreamFailure:
        """An error answer, in the vendor's own shape or in the envelope of its compatible endpoints."""
        said = _mapping(self.document.get("error")) or self.document
        return failed(self.response, said.get("code"), said.get("message"), ours=self.id, made=False)

    def task(self) -> Outcome | None:
        """What the state of a task means; None when its images are to be read (or there is no task)."""
        output, status = self.output, self.text(self.output, "task_status")
        if status in PENDING or status == RUNNING:
            return self._poll(is_pending=status != RUNNING)
        if status == "FAILED":
            return Failed(failed(self.response, output.get("code"), output.get("message"), ours=self.id, made=True))
        if status in OVER:
            return Failed(self._error(f"The task {OVER[status]}.", code=status))
        return None

    def images(self) -> Outcome:
        """All images that were made; what is missing is reported image by image."""
        found = [*self._results(), *self._choices()]
        made = tuple(each for each in found if isinstance(each, Image))
        missed = [each for each in found if not isinstance(each, Image)]
        if not made:
            refused = (each for each in missed if isinstance(each, Refused))
            nothing = self._error("The answer of the upstream holds no image.")
            return Failed(next(refused, missed[0] if missed else nothing))
        missing = self.call.n - len(made) - len(missed)
        missed += [self._error("The upstream made fewer images than were asked.") for _ in range(missing)]
        size = self._size()
        return Completed(
            images=made,
            failures=tuple(missed),
            upstream_request_id=self.id,
            resolved={"size": size} if size else {},
        )

    def _poll(self, *, is_pending: bool) -> Outcome:
        task = self.text(self.output, "task_id")
        if task is None:
            return Failed(unreadable(self.response, provider=VENDOR, why="names no task"))
        path = f"/api/v1/tasks/{quote(task, safe='')}"
        cancel = HTTPRequest(method="POST", url=f"{path}/cancel") if is_pending else None
        look = HTTPRequest(method="GET", url=path)
        return Poll(request=look, after=FIRST_LOOK_SECONDS, task_id=task, cancel=cancel)

    def _results(self) -> Iterator[Image | UpstreamFailure]:
        """Items of prompt-style tasks: a URL each, or the code of an image that was not made."""
        for item in map(_mapping, _list(self.output.get("results"))):
            if link := _link(item.get("url")):
                yield Image(content=link, revised_prompt=self._revised(self.text(item, "actual_prompt")))
            elif self.text(item, "code"):
                yield failed(self.response, item["code"], item.get("message"), ours=self.id, made=True)

    def _choices(self) -> Iterator[Image]:
        """Several images come as parts of one choice, or as several choices; one text speaks for its choice."""
        for choice in map(_mapping, _list(self.output.get("choices"))):
            parts = [*map(_mapping, _list(_mapping(choice.get("message")).get("content")))]
            revised = next((text for part in parts if (text := self.text(part, "text"))), None)
            for part in parts:
                if link := _link(part.get("image")):
                    yield Image(content=link, revised_prompt=self._revised(revised))

    def _revised(self, prompt: str | None) -> str | None:
        return prompt if prompt != self.call.prompt else None

    def _size(self) -> str | None:
        """The size that the usage gives, in whichever of its three spellings."""
        usage = _mapping(self.document.get("usage"))
        spelled = self.text(usage, "size") or "x".join(
            str(usage.get(edge, usage.get(f"output_{edge}"))) for edge in ("width", "height")
        )
        match = _SIZE.fullmatch(spelled)
        return f"{match[1]}x{match[2]}" if match else None

    def _error(self, message: str, code: str | None = None) -> UpstreamFailure:
        return failure(
            UpstreamError,
            self.response,
            provider=VENDOR,
            message=message,
            upstream_code=code,
            upstream_request_id=self.id,
        )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _link(value: object) -> Link | None:
    """A link to fetch; the vendor's storage is sometimes given as http, and answers https too."""
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        return None
    try:
        host = urlsplit(value).hostname or ""
    except ValueError:
        return None
    if value.startswith("http://") and host.endswith(".aliyuncs.com"):
        return Link(f"https://{value.removeprefix('http://')}")
    return Link(value)
