"""What a check found, and what a check is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.config import Config
from app.registry import Registry
from app.settings import Settings, masked


class Level(StrEnum):
    """How bad it is: a problem breaks requests, a warning may."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: which check, what it saw, and what to do about it. Holds no secret."""

    check: str
    level: Level
    said: str
    remedy: str = ""

    def document(self) -> Mapping[str, str]:
        """For `--json`."""
        return {"check": self.check, "level": self.level.value, "said": self.said, "remedy": self.remedy}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What is examined: the environment, the config file, and what both come to."""

    settings: Settings
    config: Config
    registry: Registry

    @property
    def several(self) -> bool:
        """Whether other gateways may share it."""
        return self.settings.redis_url is not None or self.settings.database_url is not None


Check = Callable[[Installation], AsyncIterator[Finding]]


def fine(check: str, said: str) -> Finding:
    """Nothing to do."""
    return Finding(check=check, level=Level.OK, said=masked(said))


def warning(check: str, said: str, remedy: str) -> Finding:
    """It works, until it does not."""
    return Finding(check=check, level=Level.WARNING, said=masked(said), remedy=remedy)


def problem(check: str, said: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check=check, level=Level.PROBLEM, said=masked(said), remedy=remedy)
