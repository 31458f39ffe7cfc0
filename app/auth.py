"""Who is calling: the key of a request becomes a Caller."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

from app.config import Limits
from app.errors import Unauthenticated
from providers.core.types import Policy, ResponseFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A caller and what its key allows. `id` names it in limits and ledger."""

    id: str
    name: str
    models: tuple[str, ...] = ("*",)
    policy: Policy | None = None
    response_format: ResponseFormat | None = None
    limits: Limits = field(default_factory=Limits)
    user_limits: Limits = field(default_factory=Limits)
    expires: datetime | None = None
    emulation: bool = True

    def may_call(self, model: str) -> bool:
        """Whether the key's model patterns match a resolved row id."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


ANONYMOUS = Caller(id="anonymous", name="anonymous")


def presented(headers: Mapping[str, str]) -> str | None:
    """The key that a request shows: `Authorization: Bearer`, `api-key` or `x-api-key`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("api-key") or headers.get("x-api-key") or None


class Keyring:
    """The static keys of the environment and the config file, compared by digest in constant time."""

    def __init__(self, keys: Sequence[tuple[str, Caller]]) -> None:
        self._callers = [(_digest(key), caller) for key, caller in keys]

    @property
    def closed(self) -> bool:
        """Whether a key is needed at all."""
        return bool(self._callers)

    def caller(self, headers: Mapping[str, str], now: float) -> Caller:
        """The caller of a request at Unix time `now`. Raises Unauthenticated."""
        if not self.closed:
            return ANONYMOUS
        key = presented(headers)
        if key is None:
            raise Unauthenticated("No API key was sent. Use the header Authorization: Bearer <key>.")
        digest = _digest(key)
        found = [caller for known, caller in self._callers if hmac.compare_digest(known, digest)]
        if not found:
            raise Unauthenticated("The API key is not valid.")
        if found[0].expires and found[0].expires.timestamp() <= now:
            raise Unauthenticated("The API key has expired.")
        return found[0]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
