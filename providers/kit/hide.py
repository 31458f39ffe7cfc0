"""Upstreams repeat credentials in their errors; what a caller, a row or a log gets of one goes through here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

from providers.core.errors import UpstreamFailure

MASK: Final = "***"
_SHORTEST = 6
_SHOWN: Final = ("message", "param", "code", "upstream_code", "upstream_request_id", "stage")

F = TypeVar("F", bound=UpstreamFailure)


class Account(Protocol):
    """What holds secrets: a key, a password."""

    @property
    def secrets(self) -> Sequence[str]:
        """Each of them, as it goes out or as a server may read it."""


def hidden(text: str, account: Account) -> str:
    """The text without the account's secrets, and without the beginning of one that a limit of length has cut."""
    found = [secret for secret in account.secrets if len(secret) >= _SHORTEST and secret[:_SHORTEST] in text]
    for secret in sorted(found, key=len, reverse=True):  # so that none hides a part of another
        text = text.replace(secret, MASK)
        cut = next((n for n in range(len(secret) - 1, _SHORTEST - 1, -1) if text.endswith(secret[:n])), 0)
        text = text[: len(text) - cut] + MASK if cut else text
    return text


def hide(error: F, account: Account) -> F:
    """The same error with nothing secret in what is shown of it."""
    for name in _SHOWN:
        if isinstance(value := getattr(error, name), str):
            setattr(error, name, hidden(value, account))
    error.args = (error.message,)
    return error
