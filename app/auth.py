"""Who is calling: the key of a request becomes a Caller."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Protocol

from app.config import Config, KeyFields, Limits
from app.errors import Unauthenticated
from app.limiter.protocol import Scope
from app.settings import Settings, SettingsError
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
    scope: Scope = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scope", Scope("caller", self.id, self.limits))

    def may_call(self, model: str) -> bool:
        """Whether the key's model patterns match a resolved row id."""
        return "*" in self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


ANONYMOUS = Caller(id="anonymous", name="anonymous")


def presented(headers: Mapping[str, str]) -> str | None:
    """The key that a request shows: `Authorization: Bearer`, `api-key` or `x-api-key`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return (headers.get("api-key") or headers.get("x-api-key") or "").strip() or None


def of_fields(key_id: str, entry: KeyFields) -> Caller:
    """The caller that a key's fields describe."""
    return Caller(
        id=key_id,
        name=entry.name,
        models=entry.models,
        policy=Policy(entry.policy) if entry.policy else None,
        response_format=ResponseFormat(entry.response_format) if entry.response_format else None,
        limits=entry.limits,
        user_limits=entry.user_limits,
        expires=entry.expires,
        emulation=entry.emulation == "allow",
    )


class KeyStore(Protocol):
    """Where dynamic keys live."""

    async def find(self, key: str) -> Caller | None:
        """The caller of a key that this store made and that is not revoked."""


class Keyring:
    """Static keys of the environment and the config file, then dynamic ones.

    Keys are found by their SHA-256: what a search among digests takes tells nothing of a key, and does not grow with
    their number.
    `admin_key` opens the admin routes alone: as a caller's key it is refused.
    """

    def __init__(
        self, keys: Sequence[tuple[str, Caller]], *, admin_key: str | None = None, store: KeyStore | None = None
    ) -> None:
        self._callers = {_digest(key): caller for key, caller in reversed(keys)}
        self._admin = _digest(admin_key) if admin_key else None
        self._store = store

    @property
    def closed(self) -> bool:
        """Whether a key is needed at all: as soon as there is one, or somebody who can make one."""
        return bool(self._callers) or self._admin is not None

    async def caller(self, headers: Mapping[str, str], now: float) -> Caller:
        """The caller of a request at Unix time `now`. Raises Unauthenticated."""
        if not self.closed:
            return ANONYMOUS
        key = presented(headers)
        if key is None:
            raise Unauthenticated("No API key was sent. Use the header Authorization: Bearer <key>.")
        digest = _digest(key)
        found = self._callers.get(digest)
        if found is None and self._store is not None:
            found = await self._store.find(key)
        if found is None:
            raise Unauthenticated("The API key is not valid.")
        if found.expires and found.expires.timestamp() <= now:
            raise Unauthenticated("The API key has expired.")
        return found

    def admin(self, headers: Mapping[str, str]) -> None:
        """Let the admin key pass. Raises Unauthenticated."""
        key = presented(headers)
        if self._admin is None or key is None or not hmac.compare_digest(self._admin, _digest(key)):
            raise Unauthenticated("This needs the admin key.")


def keyring(settings: Settings, config: Config, store: KeyStore | None) -> Keyring:
    """The callers of the config file and of the environment; a key of both is the file's. Raises SettingsError."""
    plain = [(key, Caller(id=f"env-{i}", name=f"key-{i}")) for i, key in enumerate(settings.api_keys, 1)]
    named = {entry.key.get_secret_value(): of_fields(entry.name, entry) for entry in config.keys}
    if len(named) < len(config.keys):
        raise SettingsError("keys: two entries have the same key.")
    return Keyring([*named.items(), *plain], admin_key=settings.admin_key, store=store)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
