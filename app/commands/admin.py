"""`pinhole db`, `pinhole keys` and `pinhole usage`: the ledger's database from the command line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app import config as config_file
from app.config import KeyFields
from app.errors import NotFound
from app.keys import Keys
from app.ledger.database import engine, prepare, upgrade
from app.ledger.sql import SQLLedger
from app.secret import signing_secrets
from app.settings import Settings, SettingsError, load
from app.usage import SUMS
from app.usage import usage as sums
from providers.core.errors import PinholeError
from providers.kit.clock import SystemClock

db = typer.Typer(no_args_is_help=True, help="The ledger's database.")
keys = typer.Typer(no_args_is_help=True, help="Caller keys that live in the database.")
CLOCK = SystemClock()


@db.command("upgrade")
def upgrade_database() -> None:
    """Bring the database to this version's tables."""
    _run(lambda found, _: upgrade(found), ready=False)
    typer.echo("The database is up to date.")


@keys.command("create")
def create(
    name: str,
    *,
    models: Annotated[list[str] | None, typer.Option("--model", help="Model pattern; may be repeated.")] = None,
    policy: Annotated[str | None, typer.Option(help="strict or lenient.")] = None,
    limit: Annotated[list[str] | None, typer.Option(help="Such as images_per_minute=60; may be repeated.")] = None,
    user_limit: Annotated[list[str] | None, typer.Option(help="The same, for each of its end users.")] = None,
    response_format: Annotated[str | None, typer.Option(help="url or b64_json.")] = None,
    emulation: Annotated[str, typer.Option(help="allow or forbid.")] = "allow",
    expires: Annotated[str | None, typer.Option(help="Such as 2027-01-31T00:00:00Z.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; may be repeated.")] = None,
) -> None:
    """Make a key; it is shown this once."""
    document = {
        "name": name,
        "models": models or ["*"],
        "policy": policy,
        "limits": _pairs(limit),
        "user_limits": _pairs(user_limit),
        "response_format": response_format,
        "emulation": emulation,
        "expires": expires,
        "metadata": _pairs(metadata),
    }
    try:
        fields = KeyFields.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise typer.BadParameter(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    typer.echo(json.dumps(_run(lambda found, settings: _keys(found, settings).create(fields)), indent=2))


def _pairs(given: list[str] | None) -> dict[str, str]:
    for pair in given or ():
        if "=" not in pair:
            raise typer.BadParameter(f"'{pair}' is not NAME=VALUE.")
    return dict(pair.split("=", 1) for pair in given or ())


@keys.command("list")
def list_keys() -> None:
    """All keys that are not revoked, without secrets."""
    rows = _run(lambda found, settings: _keys(found, settings).list())
    for row in rows:
        typer.echo(json.dumps(row, ensure_ascii=False))
    if not rows:
        typer.echo("There are none: pinhole keys create NAME makes one.", err=True)


@keys.command("revoke")
def revoke(key_id: str) -> None:
    """End a key, everywhere within a second."""
    _run(lambda found, settings: _keys(found, settings).revoke(key_id))
    typer.echo(f"{key_id} is revoked.")


def usage(
    *,
    since: Annotated[str, typer.Option("--from", help="A day, UTC.")] = "",
    until: Annotated[str, typer.Option("--to", help="A day, UTC, included.")] = "",
    group_by: Annotated[str, typer.Option(help="key, model, provider or user.")] = "key",
) -> None:
    """What was used, as a table."""

    async def ask(found: AsyncEngine, _: Settings) -> dict[str, Any]:
        ledger = SQLLedger(found, CLOCK)
        return await sums(ledger, time.time(), since=since, until=until, group_by=group_by)

    answer = _run(ask)
    widths = (24, *(max(10, len(name)) for name in SUMS))
    rows = [[group_by, *SUMS], *([row[group_by] or "-", *(row[n] for n in SUMS)] for row in answer["data"])]
    rows.append(["total", *(answer["total"][name] for name in SUMS)])
    for row in rows:
        cells = ["unknown" if cell is None else str(cell) for cell in row]
        typer.echo(
            cells[0].ljust(widths[0]) + " ".join(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))
        )


def _keys(found: AsyncEngine, settings: Settings) -> Keys:
    return Keys(found, signing_secrets(settings), CLOCK)


def _run(work: Callable[[AsyncEngine, Settings], Awaitable[Any]], *, ready: bool = True) -> Any:
    """Do the work on the configured database; a person gets a sentence for what goes wrong."""

    async def done() -> Any:
        settings = load()
        config_file.load(settings.config, settings.environ)
        found = engine(settings)
        try:
            if ready:
                await prepare(found)
            return await work(found, settings)
        finally:
            await found.dispose()

    try:
        return asyncio.run(done())
    except (SettingsError, NotFound, PinholeError) as error:
        typer.echo(f"pinhole: {error}", err=True)
    except (SQLAlchemyError, OSError, ValueError) as error:
        typer.echo(f"pinhole: the database cannot be used ({type(error).__name__}).", err=True)
    raise typer.Exit(2)
