"""Who is calling: keys of the environment, the config file and the store, shown in three ways."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth import ANONYMOUS, Caller, Keyring, of_fields, presented
from app.config import KeyFields
from app.errors import Unauthenticated
from providers.core.types import Policy, ResponseFormat

ONE, TWO = Caller(id="1", name="one"), Caller(id="2", name="two")


WORDS = st.text(max_size=20).map(str.strip)


class Store:
    """Knows one key and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def find(self, key: str) -> Caller | None:
        self.asked.append(key)
        return TWO if key == "sk-dynamic" else None


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer sk-a"}, "sk-a"),
        ({"authorization": "bearer   sk-a "}, "sk-a"),
        ({"authorization": "Basic c2s6YQ=="}, None),
        ({"authorization": "Bearer"}, None),
        ({"authorization": "Bearer  "}, None),
        ({"api-key": "sk-a"}, "sk-a"),
        ({"x-api-key": "sk-a"}, "sk-a"),
        ({"authorization": "Bearer sk-a", "api-key": "sk-b"}, "sk-a"),
        ({"authorization": "Basic x", "api-key": "sk-b"}, "sk-b"),
        ({}, None),
        ({"api-key": ""}, None),
        ({"api-key": " sk-a "}, "sk-a"),
    ],
)
def test_a_key_is_read_from_three_headers(headers: dict[str, str], key: str | None) -> None:
    """OpenAI's header wins over Azure's `api-key` and over `x-api-key`."""
    assert presented(headers) == key


async def test_without_keys_everybody_is_anonymous() -> None:
    """An open gateway asks nobody, whatever is shown."""
    ring = Keyring([])

    assert not ring.closed
    assert await ring.caller({"authorization": "Bearer any"}, 0) is ANONYMOUS


async def test_a_known_key_is_its_caller() -> None:
    """Static keys are found without asking the store; dynamic ones by it."""
    store = Store()
    ring = Keyring([("sk-one", ONE)], store=store)

    assert await ring.caller({"x-api-key": "sk-one"}, 0) is ONE
    assert store.asked == []
    assert await ring.caller({"x-api-key": "sk-dynamic"}, 0) is TWO


@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": "sk-on"}, {"x-api-key": "sk-one sk"}, {"authorization": "sk-one"}]
)
async def test_any_other_key_is_refused(headers: dict[str, str]) -> None:
    """None, a wrong one and half of one are 401."""
    with pytest.raises(Unauthenticated):
        await Keyring([("sk-one", ONE)], store=Store()).caller(headers, 0)


async def test_the_admin_key_is_no_callers_key() -> None:
    """It closes the gateway and opens the admin routes alone."""
    ring = Keyring([], admin_key="sk-admin")
    ring.admin({"authorization": "Bearer sk-admin"})

    assert ring.closed
    with pytest.raises(Unauthenticated):
        await ring.caller({"authorization": "Bearer sk-admin"}, 0)
    for wrong in ({}, {"authorization": "Bearer sk-admi"}):
        with pytest.raises(Unauthenticated):
            ring.admin(wrong)
    with pytest.raises(Unauthenticated):
        Keyring([("sk-one", ONE)]).admin({"authorization": "Bearer sk-one"})


async def test_an_expired_key_is_refused_from_its_second_on() -> None:
    """The time is the clock's, not the machine's."""
    day = datetime(2026, 12, 1, tzinfo=UTC)
    ring = Keyring([("k", of_fields("k", KeyFields(name="k", expires=day)))])
    now = day.timestamp()

    assert (await ring.caller({"api-key": "k"}, now - 1)).name == "k"
    with pytest.raises(Unauthenticated, match="expired"):
        await ring.caller({"api-key": "k"}, now)


def test_a_time_without_a_zone_is_utc() -> None:
    """A key ends at the same moment wherever its gateway runs."""
    fields = KeyFields.model_validate({"name": "k", "expires": "2026-12-01T00:00:00"})

    assert fields.expires == datetime(2026, 12, 1, tzinfo=UTC)


def test_a_caller_is_what_its_fields_say() -> None:
    """Policy, form, patterns and emulation of a key reach the caller."""
    fields = KeyFields(
        name="a", models=("gpt-image-*", "image-0?"), policy="lenient", response_format="url", emulation="forbid"
    )
    caller = of_fields("id", fields)

    assert (caller.policy, caller.response_format, caller.emulation) == (Policy.LENIENT, ResponseFormat.URL, False)
    assert [caller.may_call(name) for name in ("gpt-image-2", "image-01", "dall-e-3", "GPT-IMAGE-2")] == [
        True,
        True,
        False,
        False,
    ]


@given(WORDS, WORDS)
async def test_only_the_very_key_opens(key: str, other: str) -> None:
    """No text but the key itself is its caller, with whatever characters in it."""
    ring = Keyring([(f"sk-{key}", ONE)])
    shown = {"api-key": f"sk-{other}"}
    if key == other:
        assert await ring.caller(shown, 0) is ONE
    else:
        with pytest.raises(Unauthenticated):
            await ring.caller(shown, 0)
