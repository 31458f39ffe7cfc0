"""All checks in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final

from app import config as config_file
from app.auth import keyring
from app.commands.doctor import local, online, services
from app.commands.doctor.finding import Check, Finding, Installation, fine, problem
from app.registry import Registry
from app.settings import SettingsError, load, masked, refuse_open_door
from providers import discover

CHECKS: Final[tuple[Check, ...]] = (
    local.callers,
    local.data_folder,
    local.secret,
    local.public_url,
    local.open_files,
    services.ledger,
    services.redis,
    services.storage,
    online.accounts,
)
PATIENCE_SECONDS: Final = 30.0


async def examined(environ: Mapping[str, str], *, asking: bool) -> AsyncIterator[Finding]:
    """What each check finds; providers are asked only when `asking`."""
    try:
        found = _installation(environ)
    except SettingsError as error:
        for line in masked(str(error)).splitlines():
            yield problem("configuration", line, "Nothing else can be looked at before this is mended.")
        return
    yield fine("configuration", f"the environment and {found.settings.config or 'no config file'} can be used")
    for check in (*CHECKS, *([online.answers] if asking else [])):
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                async for finding in check(found):
                    yield finding
        except TimeoutError:
            yield problem(
                check.__name__.replace("_", " "), f"no answer in {PATIENCE_SECONDS:.0f} s", "Is it reachable?"
            )


def _installation(environ: Mapping[str, str]) -> Installation:
    """Raises SettingsError for all that `pinhole serve` would not start with."""
    settings = load(environ)
    config = config_file.load(settings.config, settings.environ)
    registry = Registry(discover(), settings, config)
    refuse_open_door(settings, has_keys=keyring(settings, config, None).closed)
    return Installation(settings=settings, config=config, registry=registry)
