"""The environment as one frozen value. Keys are held back from every repr."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from providers.core.types import Policy

MIB = 2**20
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


_USERINFO = re.compile(r"(\w://)[^/\s\"']*@")


def masked(text: str) -> str:
    """The text with names and passwords taken out of its URLs."""
    return _USERINFO.sub(r"\1***@", text)


class SettingsError(Exception):
    """The environment or the config file cannot be used; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator set. `environ` is kept for provider credentials and base URLs."""

    host: str = "127.0.0.1"
    port: int = 8080
    config: Path | None = None
    sandbox: bool = False
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    public_url: str = "http://127.0.0.1:8080"
    data_dir: Path = Path("data")
    policy: Policy = Policy.STRICT
    default_model: str | None = None
    deadline_seconds: float = 290.0
    max_body_bytes: int = 200 * MIB
    secret: tuple[str, ...] = field(default=(), repr=False)
    admin_key: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the environment. Raises SettingsError that names the variable, its value and what is allowed."""
    env = dict(os.environ if environ is None else environ)
    read = _Reader(env)
    port = read.number("PINHOLE_PORT", 8080, 1, 65535)
    if port != int(port):
        raise SettingsError(f"PINHOLE_PORT is {env['PINHOLE_PORT']}; a whole number from 1 to 65535 is needed.")
    return Settings(
        host=env.get("PINHOLE_HOST") or "127.0.0.1",
        port=int(port),
        config=Path(env["PINHOLE_CONFIG"]) if env.get("PINHOLE_CONFIG") else None,
        sandbox=read.flag("PINHOLE_SANDBOX"),
        api_keys=read.listed("PINHOLE_API_KEYS"),
        public_url=(env.get("PINHOLE_PUBLIC_URL") or f"http://127.0.0.1:{int(port)}").rstrip("/"),
        data_dir=Path(env.get("PINHOLE_DATA_DIR") or "data"),
        policy=Policy(read.word("PINHOLE_POLICY", "strict", ("strict", "lenient"))),
        default_model=env.get("PINHOLE_DEFAULT_MODEL") or None,
        deadline_seconds=read.number("PINHOLE_DEADLINE_SECONDS", 290, 1, 86400),
        max_body_bytes=int(read.number("PINHOLE_MAX_BODY_MB", 200, 1, 4096) * MIB),
        secret=read.listed("PINHOLE_SECRET"),
        admin_key=env.get("PINHOLE_ADMIN_KEY") or None,
        redis_url=env.get("REDIS_URL") or None,
        database_url=env.get("DATABASE_URL") or None,
        environ=env,
    )


def refuse_open_door(settings: Settings, *, has_keys: bool) -> None:
    """A gateway that spends money is never open to a network without caller keys. Raises SettingsError."""
    if settings.host not in LOOPBACK and not has_keys:
        raise SettingsError(
            f"PINHOLE_HOST is {settings.host}, which others can reach, but there is no caller key. "
            "Set PINHOLE_API_KEYS (a comma list) or keys: in the config file, or bind to 127.0.0.1."
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    env: Mapping[str, str]

    def listed(self, name: str) -> tuple[str, ...]:
        return tuple(item.strip() for item in self.env.get(name, "").split(",") if item.strip())

    def flag(self, name: str) -> bool:
        return self.word(name, "false", ("true", "false", "1", "0")) in {"true", "1"}

    def word(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = (self.env.get(name) or default).strip().lower()
        if value not in allowed:
            raise SettingsError(f"{name} is '{value}'; allowed: {', '.join(allowed)}.")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        text = self.env.get(name) or str(default)
        try:
            value = float(text)
        except ValueError:
            raise SettingsError(f"{name} is '{text}'; a number from {low} to {high} is needed.") from None
        if not low <= value <= high:
            raise SettingsError(f"{name} is {text}; it must be from {low} to {high}.")
        return value
