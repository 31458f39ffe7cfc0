"""`pinhole`: serve, check, doctor, models, explain, generate, edit."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn

from app import config as config_file
from app.auth import keyring
from app.commands import admin, catalog
from app.commands.caller import Wish, ask, explained, named, saved
from app.commands.doctor import doctor
from app.http.process import Server, tune
from app.http.server import Protocol
from app.ledger.database import refuse_unready
from app.main import create_app
from app.registry import Registry
from app.settings import Settings, SettingsError, masked, refuse_open_door
from app.settings import load as load_settings
from app.telemetry import configure_logging
from providers import discover

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.add_typer(admin.db, name="db")
cli.add_typer(admin.keys, name="keys")
cli.command()(admin.usage)
cli.command()(doctor)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"pinhole {version('pinhole')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
]
Model = Annotated[str | None, typer.Option(help="Model name; the default model when left out.")]
Size = Annotated[str | None, typer.Option(help="1024x1024, 16:9 or auto.")]
Quality = Annotated[str | None, typer.Option(help="auto, low, medium, high, xhigh, max, standard, hd or 4k.")]
Count = Annotated[int, typer.Option("--n", min=1, max=10, help="How many images.")]
Seed = Annotated[int | None, typer.Option(help="Same seed, same picture, where the model has seeds.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="File to write, .png, .jpg or .webp; several images get -1, -2, ... [image.*]"),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="Any other parameter, NAME=VALUE; may be repeated.")]
Url = Annotated[str | None, typer.Option(envvar="PINHOLE_URL", help="A running gateway; in this process when unset.")]
Key = Annotated[str | None, typer.Option(envvar="PINHOLE_KEY", help="Your caller key.", show_default=False)]
Force = Annotated[bool, typer.Option("--edit", help="Explain an edit of --image files.")]
Images = Annotated[list[Path] | None, typer.Option("--image", exists=True, dir_okay=False, help="Input image.")]
Mask = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="PNG, transparent where to edit.")]


@cli.callback()
def program(*, _: Version = False) -> None:
    """An OpenAI-compatible gateway for images."""


@cli.command()
def serve() -> None:
    """Run the gateway. The environment and PINHOLE_CONFIG say how."""
    settings = _settings()
    configure_logging()
    with _plain_errors():
        config = config_file.load(settings.config, settings.environ)
        app = create_app(settings, config)
        if settings.database_url:
            asyncio.run(refuse_unready(settings))
    where = f"http://{settings.host}:{settings.port}"
    typer.echo(
        f"Pinhole on {where}{' (sandbox)' if settings.sandbox else ''}; {where}/docs tells what it does", err=True
    )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the loop listens to it
    tune()
    serving = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=Protocol,
        ws="none",
        timeout_graceful_shutdown=int(config.server.drain_seconds),
    )
    server = Server(serving, app.state.draining.begin)
    server.run()
    if not server.started:
        raise typer.Exit(3)


@cli.command()
def check() -> None:
    """Check environment and config file, and print what they come to, secrets masked."""
    settings = _settings()
    with _plain_errors():
        config = config_file.load(settings.config, settings.environ)
        registry = Registry(discover(), settings, config)
        refuse_open_door(settings, has_keys=keyring(settings, config, None).closed)
    names = sorted({spec.provider for spec in registry.specs if registry.configured(spec)})
    shown = {
        "host": settings.host,
        "port": settings.port,
        "sandbox": settings.sandbox,
        "policy": settings.policy.value,
        "public_url": settings.public_url,
        "caller_keys": len(settings.api_keys) + len(config.keys),
        "providers_with_credential": names,
        "config": _told(json.loads(config.model_dump_json(exclude_none=True))),
    }
    typer.echo(masked(json.dumps(shown, indent=2, ensure_ascii=False)))


def _told(value: Any) -> Any:
    """A document without its empty parts."""
    if not isinstance(value, dict):
        return value
    return {key: told for key, item in value.items() if (told := _told(item)) not in ({}, [])}


@cli.command()
def models(
    *,
    every: Annotated[
        bool, typer.Option("--all", help="The whole catalogue, not only what has a credential.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As GET /v1/models gives it.")] = False,
) -> None:
    """List models with their limits."""
    settings = _settings()
    with _plain_errors():
        registry = Registry(discover(), settings, config_file.load(settings.config, settings.environ))
    specs = tuple(spec for spec in registry.specs if every or registry.configured(spec))
    if as_json:
        typer.echo(json.dumps(catalog.listed(specs), indent=2))
        return
    for spec in specs:
        can = "+".join(sorted(operation.value for operation in spec.operations))
        gone = f"  retired {spec.retired_on}" if spec.retired_on else ""
        sizes = spec.sizes.describe()[:60]
        typer.echo(f"{spec.id:<34} {spec.provider:<10} {can:<14} n<={spec.n.per_request:<3} {sizes}{gone}")


@cli.command()
def explain(
    prompt: str,
    *,
    model: Model = None,
    size: Size = None,
    quality: Quality = None,
    n: Count = 1,
    seed: Seed = None,
    image: Images = None,
    mask: Mask = None,
    more: Set = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Say what a request would send and cost, without sending it."""
    fields = _fields(prompt, model, size, quality, (n, seed, more))
    wish = Wish(fields=fields, images=tuple(image or ()), mask=mask, url=url, key=key)
    with _plain_errors():
        typer.echo(json.dumps(explained(wish), indent=2, ensure_ascii=False))


@cli.command()
def generate(
    prompt: str,
    *,
    out: Out = None,
    model: Model = None,
    size: Size = None,
    quality: Quality = None,
    n: Count = 1,
    seed: Seed = None,
    more: Set = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Make images and write them to files."""
    _make(Wish(fields=_fields(prompt, model, size, quality, (n, seed, more)), url=url, key=key), out)


@cli.command()
def edit(
    prompt: str,
    image: Images,
    *,
    mask: Mask = None,
    out: Out = None,
    model: Model = None,
    size: Size = None,
    quality: Quality = None,
    n: Count = 1,
    seed: Seed = None,
    more: Set = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Edit images and write the result to files."""
    fields = _fields(prompt, model, size, quality, (n, seed, more))
    _make(Wish(fields=fields, images=tuple(image or ()), mask=mask, url=url, key=key), out)


def _make(wish: Wish, out: Path | None) -> None:
    out = out or Path("image")
    with _plain_errors():
        if out.is_dir() or not out.parent.is_dir():
            raise SettingsError(f"{out} cannot be written: no image was asked for.")
        answer = ask(named(wish, out), progress=sys.stderr.isatty())
        for line in saved(answer, out):
            typer.echo(line)


def _fields(
    prompt: str,
    model: str | None,
    size: str | None,
    quality: str | None,
    rest: tuple[int, int | None, list[str] | None],
) -> dict[str, Any]:
    n, seed, more = rest
    fields = {"prompt": prompt, "model": model, "size": size, "quality": quality, "n": n, "seed": seed}
    for pair in more or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{pair}' is not NAME=VALUE.")
        try:
            fields[name] = json.loads(value)
        except json.JSONDecodeError:
            fields[name] = value
    return {name: value for name, value in fields.items() if value is not None}


def _settings() -> Settings:
    with _plain_errors():
        settings = load_settings()
        return replace(settings, environ=dict(settings.environ))
    raise AssertionError


@contextmanager
def _plain_errors() -> Iterator[None]:
    """A person gets a sentence, not a trace."""
    try:
        yield
    except SettingsError as error:
        typer.echo(f"pinhole: {error}", err=True)
        raise typer.Exit(2) from None


def main() -> None:
    """The console script."""
    cli()
