"""The operator's rows over the built-in ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from app.config import Config, ModelEntry
from app.settings import SettingsError
from providers.core.prices import Prices, usd
from providers.core.provider import Provider
from providers.core.sizes import PixelBounds, PixelSizes
from providers.core.spec import PNG_JPEG_WEBP, ImageCount, Inputs, Mask, ModelSpec, Output, PromptLimit
from providers.core.types import Operation, Size

_HEADER = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def overlaid(providers: Sequence[Provider], config: Config) -> dict[str, ModelSpec]:
    """Every row by id, with what the config file says laid over it. Raises SettingsError."""
    specs = {spec.id: spec for provider in providers for spec in provider.models}
    listed: set[str] = set()
    for name, entry in config.providers.items():
        for model in entry.models:
            if model not in config.models and model not in listed:
                listed.add(model)
                specs[model] = replace(specs.get(model, _open(model, name)), provider=name)
    for model, overlay in config.models.items():
        specs[model] = _overlay(model, overlay, specs)
    for name in (*specs, *config.providers):
        if not _HEADER.fullmatch(name):
            raise SettingsError(f"{name!a}: names of models and providers stand in headers; use ASCII characters.")
    known = {provider.name for provider in providers} | set(config.providers)
    for spec in specs.values():
        if spec.provider not in known:
            raise SettingsError(f"models.{spec.id}.provider: '{spec.provider}' is no provider.")
    return specs


def _overlay(model: str, entry: ModelEntry, specs: dict[str, ModelSpec]) -> ModelSpec:
    base = specs.get(entry.like or model)
    if base is None and entry.like:
        raise SettingsError(f"models.{model}.like: '{entry.like}' is no model.")
    if base is None:
        if not entry.provider:
            raise SettingsError(f"models.{model}: a new model needs 'provider' (and better, 'like').")
        base = _open(model, entry.provider)
    fresh = model not in specs or entry.like not in {None, model}
    changes: dict[str, Any] = {"id": model, "aliases": () if fresh else base.aliases}
    if fresh:
        changes |= {
            "upstream_id": entry.upstream_id or model,
            "deprecated_on": None,
            "retired_on": None,
            "successor": None,
            "prices": None,
            "source": "config file",
        }
    if entry.provider:
        changes["provider"] = entry.provider
    if entry.upstream_id:
        changes["upstream_id"] = entry.upstream_id
    return replace(base, **(changes | _limits(model, entry, base)))


def _limits(model: str, entry: ModelEntry, base: ModelSpec) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if entry.n:
        if not 1 <= entry.n[0] <= entry.n[1]:
            raise SettingsError(f"models.{model}.n is {list(entry.n)}: use [fewest, most], from 1.")
        changes["n"] = replace(base.n, per_request=entry.n[1], per_call=max(base.n.per_call, 1), lenient=None)
    if entry.prompt_max:
        changes["prompt"] = PromptLimit(entry.prompt_max, base.prompt.unit)
    if entry.deadline_seconds:
        changes["deadline_seconds"] = entry.deadline_seconds
    if entry.prices is not None:
        images = {("" if key == "image" else key): usd(value) for key, value in entry.prices.items()}
        changes["prices"] = Prices(images=images, source="config file")
    if entry.sizes:
        parsed = [Size.parse(text) for text in entry.sizes if text != "auto"]
        if None in parsed or not parsed:
            raise SettingsError(f"models.{model}.sizes: use WIDTHxHEIGHT, such as 1024x1024.")
        allowed = tuple(size for size in parsed if size)
        changes["sizes"] = PixelSizes(allowed=allowed, default=allowed[0], auto="auto" in entry.sizes)
    return changes


def _open(model: str, provider: str) -> ModelSpec:
    """A row for an engine of which nothing is known: it takes what OpenAI's newest models take."""
    return ModelSpec(
        id=model,
        provider=provider,
        source="config file",
        checked=date(2026, 11, 23),
        operations=frozenset(Operation),
        prompt=PromptLimit(32_000),
        sizes=PixelBounds(auto=True),
        n=ImageCount(per_request=10, per_call=10),
        inputs=Inputs(count=16, formats=PNG_JPEG_WEBP),
        mask=Mask.NATIVE,
        output=Output(),
    )
