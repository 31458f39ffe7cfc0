"""Upstreams repeat credentials in their errors; what a caller, a row or a log gets of one goes through here."""

from __future__ import annotations

from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit

from providers.core.errors import UpstreamFailure

MASK: Final = "***"
_SHORTEST = 6
_SHOWN: Final = ("message", "param", "code", "upstream_code", "upstream_request_id", "stage")

F = TypeVar("F", bound=UpstreamFailure)


def secrets_of(key: str, base_url: str) -> tuple[str, ...]:
    """What of an account must not be shown: its key, and the password in its address; longest first."""
    password = unquote(urlsplit(base_url).password or "") if "@" in base_url else ""
    return tuple(sorted((secret for secret in (key, password) if len(secret) >= _SHORTEST), key=len, reverse=True))


def hidden(text: str, secrets: tuple[str, ...]) -> str:
    """The text without the secrets, and without the beginning of one that a limit of length has cut."""
    for secret in secrets:
        text = text.replace(secret, MASK)
        cut = next((n for n in range(len(secret) - 1, _SHORTEST - 1, -1) if text.endswith(secret[:n])), 0)
        text = text[: len(text) - cut] + MASK if cut else text
    return text


def hide(error: F, secrets: tuple[str, ...]) -> F:
    """The same error with nothing secret in what is shown of it."""
    for name in _SHOWN:
        if isinstance(value := getattr(error, name), str):
            setattr(error, name, hidden(value, secrets))
    error.args = (error.message,)
    return error
