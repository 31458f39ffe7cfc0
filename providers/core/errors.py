"""The error tree of everything that can go wrong with an upstream or a request.

PinholeError
    InvalidRequest            400  the caller's request breaks a rule of the model (violations, all at once)
    ModelNotFound             404  no such model, or no credential for its provider
    PermissionDenied          403  the caller may not use this model
    UpstreamFailure                anything that an upstream did
        Refused               400  the provider refuses the content: moderation
        UpstreamBadRequest    400  the provider calls the request invalid
        UpstreamRateLimited   429  too fast for the provider
        UpstreamQuota         429  our account has no balance or quota
        UpstreamAuth          502  our credential is bad
        UpstreamModelMissing  404  the provider has no such model (for us)
        UpstreamUnavailable   503  a complete answer that says: overloaded, try later
            BreakerOpen            503  it has been failing, and is left alone for a while: nothing was sent
        UpstreamError         502  5xx, unreadable, incomplete or empty answers
            UpstreamUnreachable    502  no connection was made: nothing can have been billed
        UpstreamTimeout       504  no answer in time: may have been billed
            DeadlinePassed         504  our own deadline ended the waiting; says nothing of the upstream

The HTTP status, `type` and `code` of each class stand in app.errors, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Violation:
    """One parameter that the model cannot honour: what was asked, what is allowed, the nearest allowed value."""

    param: str
    message: str
    code: str = "invalid_value"
    allowed: Any = None
    nearest: str | None = None


class PinholeError(Exception):
    """The root. `message` is written for the caller and never holds secrets, base64 or upstream HTML."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class InvalidRequest(PinholeError):
    """The request breaks rules; `violations` holds every one of them."""

    def __init__(self, *violations: Violation) -> None:
        first = violations[0]
        super().__init__(" ".join(v.message for v in violations), param=first.param, code=first.code)
        self.violations = violations


class ModelNotFound(PinholeError):
    """No model of that name can be called."""


class PermissionDenied(PinholeError):
    """The caller is known but may not do this."""


class UpstreamFailure(PinholeError):
    """What an upstream did wrong or refused.

    `billed` says whether it may have cost money, `readable` whether the answer was one that the provider documents.
    """

    billed: bool = False
    readable: bool = True

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        provider: str = "",
        upstream_code: str | None = None,
        upstream_status: int | None = None,
        upstream_request_id: str | None = None,
        retry_after: float | None = None,
        stage: str | None = None,
        billed: bool | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.provider = provider
        self.upstream_code = upstream_code
        self.upstream_status = upstream_status
        self.upstream_request_id = upstream_request_id
        self.retry_after = retry_after
        self.stage = stage
        if billed is not None:
            self.billed = billed


class Refused(UpstreamFailure):
    """The provider refuses the content. `stage` is `input`, `output` or `unknown`; `upstream_code` its reason."""


class UpstreamBadRequest(UpstreamFailure):
    """The provider calls the request invalid: what our row let through, it does not take."""


class UpstreamRateLimited(UpstreamFailure):
    """The provider asks us to slow down; `retry_after` in seconds when it says."""


class UpstreamQuota(UpstreamFailure):
    """Our account at the provider has no money or quota left."""


class UpstreamAuth(UpstreamFailure):
    """Our credential is missing, wrong or not allowed."""


class UpstreamModelMissing(UpstreamFailure):
    """The provider does not have the model, or not for our account."""


class UpstreamUnavailable(UpstreamFailure):
    """A complete answer that says the service is overloaded or down; nothing was accepted."""


class BreakerOpen(UpstreamUnavailable):
    """Every deployment that could serve has been failing; nothing was sent. `retry_after` is when one is tried."""


class UpstreamError(UpstreamFailure):
    """A failure behind the upstream, or an answer that cannot be read."""

    billed = True


class UpstreamUnreachable(UpstreamError):
    """No connection could be made."""

    billed = False


class UpstreamTimeout(UpstreamFailure):
    """No whole answer before the deadline."""

    billed = True


class DeadlinePassed(UpstreamTimeout):
    """The request's own deadline came first."""
