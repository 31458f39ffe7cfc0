"""What the config file comes to, as one value that a reload changes at once. A request reads it once and keeps it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from app.auth import Keyring
from app.config import Config
from app.fallback import Fallbacks
from app.registry import Registry
from app.settings import SettingsError
from app.telemetry import Telemetry

# Parts that other things were built from at the start.
FIXED: Final = ("storage", "redis", "capacity", "server", "ledger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """Models, accounts, chains and keys that belong together."""

    config: Config
    registry: Registry
    fallbacks: Fallbacks
    keyring: Keyring


class Current:
    """The value in force. Requests that are on their way end under the one they began with."""

    def __init__(self, read: Callable[[], Configured], first: Configured, telemetry: Telemetry) -> None:
        """`read` makes a new value from the file; it raises SettingsError."""
        self._read = read
        self._telemetry = telemetry
        self.value = first

    def reload(self) -> bool:
        """Read the file again and put its value in force; with an error the old one stays. Returns whether it did."""
        old = self.value
        try:
            new = self._read()
        except SettingsError as error:
            self._telemetry.reloaded(str(error))
            return False
        if new.keyring.closed != old.keyring.closed:
            self._telemetry.reloaded("Whether keys are needed at all changes with a restart only.")
            return False
        fixed = {name: getattr(old.config, name) for name in FIXED}
        waiting = [name for name, value in fixed.items() if getattr(new.config, name) != value]
        self.value = replace(new, config=new.config.model_copy(update=fixed))
        self._telemetry.reloaded(None, waiting)
        return True
