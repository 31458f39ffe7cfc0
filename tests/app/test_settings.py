"""The environment: every variable, its default, and the sentence that a wrong value gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.settings import MIB, Settings, SettingsError, load, refuse_open_door
from providers.core.types import Policy


def test_nothing_set_is_a_laptop() -> None:
    """Without any variable the gateway listens for this machine alone, strictly, outside of the sandbox."""
    found = load({})

    assert found == Settings(environ={})
    assert (found.host, found.port, found.sandbox) == ("127.0.0.1", 8080, False)
    assert (found.policy, found.deadline_seconds, found.max_body_bytes) == (Policy.STRICT, 290, 200 * MIB)
    assert found.public_url == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("variable", "text", "attribute", "value"),
    [
        ("PINHOLE_HOST", "0.0.0.0", "host", "0.0.0.0"),  # noqa: S104 - a value, nothing is bound
        ("PINHOLE_PORT", "9000", "port", 9000),
        ("PINHOLE_PORT", "9000", "public_url", "http://127.0.0.1:9000"),
        ("PINHOLE_CONFIG", "/etc/pinhole.yaml", "config", Path("/etc/pinhole.yaml")),
        ("PINHOLE_SANDBOX", "TRUE", "sandbox", True),
        ("PINHOLE_SANDBOX", "1", "sandbox", True),
        ("PINHOLE_SANDBOX", "0", "sandbox", False),
        ("PINHOLE_API_KEYS", " sk-a, sk-b ,,", "api_keys", ("sk-a", "sk-b")),
        ("PINHOLE_PUBLIC_URL", "https://images.example/", "public_url", "https://images.example"),
        ("PINHOLE_DATA_DIR", "/var/lib/pinhole", "data_dir", Path("/var/lib/pinhole")),
        ("PINHOLE_POLICY", "Lenient", "policy", Policy.LENIENT),
        ("PINHOLE_DEFAULT_MODEL", "glm-image", "default_model", "glm-image"),
        ("PINHOLE_DEADLINE_SECONDS", "12.5", "deadline_seconds", 12.5),
        ("PINHOLE_MAX_BODY_MB", "3", "max_body_bytes", 3 * MIB),
        ("PINHOLE_SECRET", "new,old", "secret", ("new", "old")),
        ("PINHOLE_ADMIN_KEY", "sk-admin", "admin_key", "sk-admin"),
        ("REDIS_URL", "redis://r/0", "redis_url", "redis://r/0"),
        ("DATABASE_URL", "postgresql://d/p", "database_url", "postgresql://d/p"),
    ],
)
def test_a_variable_is_read(variable: str, text: str, attribute: str, value: Any) -> None:
    """Each variable has its place, and white space and case do not matter where they mean nothing."""
    assert getattr(load({variable: text}), attribute) == value


@pytest.mark.parametrize(
    "variable",
    [
        "PINHOLE_HOST",
        "PINHOLE_PORT",
        "PINHOLE_SANDBOX",
        "PINHOLE_POLICY",
        "PINHOLE_CONFIG",
        "PINHOLE_DEADLINE_SECONDS",
    ],
)
def test_an_empty_variable_is_unset(variable: str) -> None:
    """Compose files and .env lines leave variables empty; that is no value."""
    found = load({variable: ""})

    assert (found.host, found.port, found.policy, found.config) == ("127.0.0.1", 8080, Policy.STRICT, None)


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("PINHOLE_PORT", "http", "1 to 65535"),
        ("PINHOLE_PORT", "0", "1 to 65535"),
        ("PINHOLE_PORT", "70000", "1 to 65535"),
        ("PINHOLE_PORT", "80.5", "1 to 65535"),
        ("PINHOLE_SANDBOX", "yes", "true, false, 1, 0"),
        ("PINHOLE_POLICY", "loose", "strict, lenient"),
        ("PINHOLE_DEADLINE_SECONDS", "0", "1 to 86400"),
        ("PINHOLE_DEADLINE_SECONDS", "nan", "1 to 86400"),
        ("PINHOLE_MAX_BODY_MB", "-1", "1 to 4096"),
        ("PINHOLE_MAX_BODY_MB", "inf", "1 to 4096"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(variable: str, text: str, allowed: str) -> None:
    """The message names the variable, its value and the allowed ones."""
    with pytest.raises(SettingsError) as caught:
        load({variable: text})

    assert variable in str(caught.value)
    assert text in str(caught.value)
    assert allowed in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "gateway.internal"])  # noqa: S104 - nothing is bound
def test_an_open_door_is_refused(host: str) -> None:
    """An address that others can reach needs a caller key; the message says both ways out."""
    settings = load({"PINHOLE_HOST": host})
    with pytest.raises(SettingsError) as caught:
        refuse_open_door(settings, has_keys=False)

    for word in ("PINHOLE_HOST", host, "PINHOLE_API_KEYS", "127.0.0.1"):
        assert word in str(caught.value)
    refuse_open_door(settings, has_keys=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_key(host: str) -> None:
    """Nobody else can reach it."""
    refuse_open_door(load({"PINHOLE_HOST": host}), has_keys=False)


def test_no_secret_is_in_a_repr() -> None:
    """Settings that land in a log or a trace show no key."""
    names = ("PINHOLE_API_KEYS", "PINHOLE_SECRET", "PINHOLE_ADMIN_KEY", "REDIS_URL", "DATABASE_URL", "OPENAI_API_KEY")

    assert "hidden" not in repr(load({name: f"hidden-{name}" for name in names}))
