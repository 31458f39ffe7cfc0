"""The composition root: settings -> seams -> pipeline -> FastAPI. The only place that chooses implementations."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from app import config as config_file
from app.auth import keyring
from app.capacity import Capacity
from app.config import Config
from app.configured import Configured, Current
from app.delivery import Delivery
from app.docs_page import Docs
from app.fallback import Fallbacks
from app.http import edge
from app.keys import Keys
from app.ledger import Ledger
from app.ledger.database import engine
from app.ledger.spent import spent_by
from app.ledger.sql import SQLLedger
from app.lifespan import lifespan
from app.limiter import EmbeddedLimiter, GuardedLimiter, Limiter
from app.pipeline import Pipeline
from app.registry import Registry
from app.resume.resumer import Resumer
from app.routes.admin import Admin
from app.routes.attend import Attendance
from app.routes.files import Files
from app.routes.health import Draining, Health
from app.routes.images import Images
from app.routes.models import Models
from app.routes.providers import Providers
from app.runs import Index, LedgerIndex, Runs
from app.seams import Seams
from app.secret import signing_secrets
from app.settings import Settings, SettingsError, masked, refuse_open_door
from app.store import DiskStore, ImageStore, Links
from app.telemetry import Telemetry
from app.telemetry.traced import Traced
from app.telemetry.tracing import tracer
from app.telemetry.watched import UpstreamWatch, WatchedLimiter, watched_entries, watched_store
from providers import discover
from providers.core.provider import Provider
from providers.kit.client import Client
from providers.kit.clock import Clock, SystemClock
from providers.kit.fetch import Fetcher
from providers.kit.pool import Pool
from providers.kit.retry import RetryRule
from providers.kit.room import Room, Spool
from providers.kit.transport import HTTPTransport

if TYPE_CHECKING:
    from app.redis import Line

BUCKETS = ("s3://", "gs://", "az://")
# A paid call goes on after its caller's deadline; the slowest model known needs minutes, not hours.
OVERTIME_SECONDS = 600.0
# FastAPI 0.165 makes spans, metrics and logs by itself when it finds a global OpenTelemetry provider; its logs hold
# messages of exceptions (read in the package, 2026-11-24).
NOTHING_OF_FASTAPIS_OWN: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}


def seams(settings: Settings, config: Config, telemetry: Telemetry) -> Seams:
    """The real ones. Raises SettingsError."""
    clock = SystemClock()
    found = signing_secrets(settings)
    database = engine(settings)
    hashed, folder = config.ledger.hash_users, settings.data_dir / "settlements"
    ledger = SQLLedger(database, clock, hash_users=hashed, pepper=found[0], watch=telemetry, folder=folder)
    telemetry.metrics.ledger_queue().set_function(lambda: ledger.waiting)
    ttl = config.storage.ttl_seconds
    redis = line(settings.redis_url)
    capacity = Capacity(clock, config.capacity)
    spool = room(settings, capacity, telemetry)
    return Seams(
        clock=clock,
        transport=HTTPTransport(spool),
        limiter=limiter(redis, config, clock, ledger, telemetry),
        ledger=ledger,
        store=image_store(settings, config, clock),
        links=Links(settings.public_url, found, clock, ttl),
        keys=Keys(database, found, clock),
        capacity=capacity,
        room=spool,
        redis=redis,
    )


def room(settings: Settings, capacity: Capacity, telemetry: Telemetry) -> Room:
    """Where bodies go: memory, then the data folder."""
    folder = settings.data_dir / "spool"
    with contextlib.suppress(OSError):  # without it bodies stay in memory, which is told when it happens
        folder.mkdir(parents=True, exist_ok=True)
    metrics = telemetry.metrics
    metrics.places().set_function(lambda: capacity.requests.held)
    metrics.queued().set_function(lambda: capacity.requests.queued + capacity.copies.queued)
    metrics.held("bodies").set_function(lambda: capacity.bodies.held)
    metrics.held("copies").set_function(lambda: capacity.copies.held)
    metrics.held("pictures").set_function(lambda: capacity.pictures.held)
    metrics.spooled().set_function(lambda: capacity.bodies.files)
    return Spool(capacity.bodies, folder, lambda error: telemetry.trouble("spool", error))


def line(url: str | None) -> Line | None:
    """The connection to Redis when there is one. Raises SettingsError."""
    if url is None:
        return None
    from app.redis import connect  # noqa: PLC0415 - only gateways with Redis pay for its client

    try:
        return connect(url)
    except ValueError:  # its text repeats parts of the URL, which may be of the password
        raise SettingsError(
            "REDIS_URL cannot be used; it must look like redis://:password@host:6379/0. docs/scaling.md has the "
            "forms for TLS, sentinels and clusters, and their options; there are no others."
        ) from None


def limiter(redis: Line | None, config: Config, clock: Clock, ledger: Ledger, telemetry: Telemetry) -> Limiter:
    """On Redis when there is one, else in this process."""
    spent = spent_by(ledger)
    if redis is None:
        telemetry.limiter_is("embedded")
        return EmbeddedLimiter(clock, spent)
    from app.limiter.redis import RedisLimiter  # noqa: PLC0415 - only gateways with Redis pay for its client

    share = config.redis.share if config.redis.on_loss == "open" else None
    telemetry.limiter_is("redis", away="closed" if share is None else "fallback")
    return GuardedLimiter(RedisLimiter(redis, spent), clock, telemetry.limiter_lost, share=share, spent=spent)


def run_index(chosen: Seams, telemetry: Telemetry) -> Index:
    """What gateways know of each other's runs: on Redis when there is one, else in the ledger."""
    near = LedgerIndex(secrets.token_hex(8), chosen.clock, chosen.ledger)
    if chosen.redis is None:
        return near
    from app.runs.guarded import GuardedIndex  # noqa: PLC0415 - only gateways with Redis pay for its client
    from app.runs.redis import RedisIndex  # noqa: PLC0415 - as above

    far = RedisIndex(near.instance, chosen.redis, chosen.clock)
    return GuardedIndex(near, far, chosen.clock, telemetry.runs_lost)


def image_store(settings: Settings, config: Config, clock: Clock) -> ImageStore:
    """The bucket of storage.url, else a folder of this machine. Raises SettingsError."""
    url, ttl = config.storage.url, config.storage.ttl_seconds
    if url is None or not url.startswith(BUCKETS):
        return DiskStore(image_folder(settings, config), clock, ttl)
    try:
        from app.store.bucket import BucketStore, connect  # noqa: PLC0415 - only gateways with a bucket need its client

        return BucketStore(connect(url), clock, ttl)
    except ModuleNotFoundError:
        raise SettingsError(f"storage.url is '{url}'; that needs the extra 'bucket': pinhole[bucket].") from None
    except ValueError as error:
        raise SettingsError(masked(f"storage.url is '{url}', which cannot be used: {error}.")) from None


def image_folder(settings: Settings, config: Config) -> Path:
    """Where the disk store keeps images."""
    url = config.storage.url
    return settings.data_dir / "images" if url is None else Path(url.removeprefix("file://"))


def create_app(
    settings: Settings,
    config: Config | None = None,
    *,
    chosen: Seams | None = None,
    providers: Sequence[Provider] | None = None,
    telemetry: Telemetry | None = None,
) -> FastAPI:
    """The application. Raises SettingsError."""
    config = config if config is not None else config_file.load(settings.config, settings.environ)
    telemetry = telemetry or Telemetry(tracer(settings.environ))
    chosen = chosen or seams(settings, config, telemetry)
    pool = Pool(chosen.clock, late_seconds=settings.deadline_seconds, heard=telemetry.deployment_changed)
    current = _current(
        settings, config, chosen, providers if providers is not None else discover(), telemetry, pool=pool
    )
    draining = Draining()
    fetcher = Fetcher(chosen.transport, chosen.clock)
    pipeline = _pipeline(chosen, config, fetcher, telemetry, pool)
    runs = Runs(chosen.clock, run_index(chosen, telemetry), chosen.store, telemetry.trouble)
    seconds = settings.deadline_seconds
    resumer = Resumer(chosen, seconds, runs=runs, pipeline=pipeline, current=current, telemetry=telemetry)
    app = edge.Gateway(
        title="Pinhole",
        summary="A self-hosted, OpenAI-compatible gateway for images.",
        version="0.1.0",
        docs_url=None,
        redoc_url=None,
        lifespan=lambda _: lifespan(chosen, draining, runs, telemetry, current, resumer=resumer),
        redirect_slashes=False,
        telemetry=NOTHING_OF_FASTAPIS_OWN,
    )
    app.state.draining = draining
    attendance = Attendance(pipeline=pipeline, runs=runs, current=current, clock=chosen.clock, telemetry=telemetry)
    images = Images(
        attendance=attendance,
        pipeline=pipeline,
        current=current,
        fetcher=fetcher,
        settings=settings,
        clock=chosen.clock,
        pace=chosen.pace,
        room=chosen.room,
    )
    models = Models(current=current, clock=chosen.clock)
    for part in (attendance, images, models):
        app.include_router(part.router(), prefix="/v1")
        app.include_router(part.router(), include_in_schema=False)
    app.include_router(images.azure())
    standing = Providers(current=current, pool=pool)
    health = Health(
        ledger=chosen.ledger,
        limiter=chosen.limiter,
        telemetry=telemetry,
        settings=settings,
        draining=draining,
        standing=standing.counts,
    )
    _for_operators(app, chosen, current, standing, health)
    app.include_router(Docs(app).router())
    edge.install(app, telemetry)
    public, closed = settings.public_url, current.value.keyring.closed
    app.around(partial(edge.Edge, telemetry=telemetry, public_url=public, closed=closed, direct=images.doors()))
    if telemetry.tracer.on:
        app.around(partial(Traced, tracer=telemetry.tracer))
    return app


def _current(
    settings: Settings,
    config: Config,
    chosen: Seams,
    providers: Sequence[Provider],
    telemetry: Telemetry,
    *,
    pool: Pool,
) -> Current:
    """The config in force, and how it is read again. Raises SettingsError."""

    def made(config: Config) -> Configured:
        keys = keyring(settings, config, chosen.keys)
        refuse_open_door(settings, has_keys=keys.closed)
        registry = Registry(providers, settings, config)
        telemetry.watch(pool, registry.deployments)
        fallbacks = Fallbacks(registry, config.fallbacks)
        return Configured(config=config, registry=registry, fallbacks=fallbacks, keyring=keys)

    return Current(lambda: made(config_file.load(settings.config, settings.environ)), made(config), telemetry)


def _for_operators(app: FastAPI, chosen: Seams, current: Current, standing: Providers, health: Health) -> None:
    """Everything that is no part of the images' API, but for its pages."""
    app.include_router(standing.router())
    if chosen.keys is not None:
        admin = Admin(current=current, keys=chosen.keys, ledger=chosen.ledger, clock=chosen.clock)
        app.include_router(admin.router())
    app.include_router(Files(store=chosen.store, links=chosen.links).router())
    app.include_router(health.router())


def _pipeline(chosen: Seams, config: Config, fetcher: Fetcher, telemetry: Telemetry, pool: Pool) -> Pipeline:
    capacity = chosen.capacity or Capacity(chosen.clock, config.capacity)
    store = watched_store(chosen.store, telemetry)
    return Pipeline(
        limiter=WatchedLimiter(chosen.limiter, telemetry),
        ledger=watched_entries(chosen.ledger, telemetry),
        client=Client(
            chosen.transport,
            chosen.clock,
            RetryRule(chosen.clock),
            pool=pool,
            overtime=OVERTIME_SECONDS,
            watch=UpstreamWatch(telemetry),
        ),
        delivery=Delivery(store, chosen.links, fetcher, pictures=capacity.pictures, room=chosen.room),
        clock=chosen.clock,
        telemetry=telemetry,
        capacity=capacity,
    )
