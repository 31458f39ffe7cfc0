"""Which accounts and engines there are, and which of them serve a model."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from app.config import Config, Limits, ProviderEntry
from app.settings import Settings, SettingsError
from providers.core.provider import Provider
from providers.core.spec import ModelSpec
from providers.kit.deployment import Deployment

_HOST: Final = re.compile(r"[\w.:%-]+")


class Accounts:
    """Deployments by the name of their provider: a built-in one's, or that of an entry of the config file."""

    def __init__(self, providers: Sequence[Provider], settings: Settings, config: Config) -> None:
        """Raises SettingsError."""
        self._config = config
        self._by_name = dict(_found(providers, settings, config))
        self._listing: dict[str, tuple[str, ...]] = {}
        for name, model in _listed(providers, config):
            self._listing[model] = (*self._listing.get(model, ()), name)

    @property
    def all(self) -> tuple[Deployment, ...]:
        """Every deployment with an upstream."""
        return tuple(one for several in self._by_name.values() for one in several if one.base_url)

    def named(self, name: str) -> tuple[Deployment, ...]:
        """The accounts of one provider; none when it has no credential."""
        return self._by_name.get(name, ())

    def entries(self, spec: ModelSpec) -> tuple[str, ...]:
        """The providers that serve a model: its row's, and all entries that list it."""
        listing = self._listing.get(spec.id, ())
        return listing if spec.provider in listing else (spec.provider, *listing)

    def serving(self, spec: ModelSpec, only: str | None = None) -> tuple[Deployment, ...]:
        """The deployments of a model; `only` those of one provider."""
        names = self.entries(spec) if only is None else (only,)
        return tuple(deployment for name in names for deployment in self.named(name))

    def forced(self, spec: ModelSpec) -> Iterator[tuple[str, str]]:
        """`provider/model` names that choose among several, with the provider that each means."""
        names = self.entries(spec)
        for name in names if len(names) > 1 else ():
            if not self.named(name):  # the vendor's own name means whoever speaks for it then
                continue
            yield f"{name}/{spec.id.removeprefix(f'{name}/')}", name

    def limits(self, spec: ModelSpec) -> tuple[str, Limits] | None:
        """What all providers of a model may do together: the sum of each limit that every one of them has."""
        names = [name for name in self.entries(spec) if self.named(name)]
        found = [self._config.providers[name].limits for name in names if name in self._config.providers]
        if not names or len(found) < len(names):
            return None
        together = {
            field: sum(values)
            for field in Limits.model_fields
            if None not in (values := [getattr(limits, field) for limits in found])
        }
        return "+".join(names), Limits(**together)

    def check(self, specs: Iterable[ModelSpec]) -> None:
        """One row is spoken by one adapter. Raises SettingsError."""
        types = {name: entry.type for name, entry in self._config.providers.items()}
        for spec in specs:
            first, *others = self.entries(spec)
            for other in others:
                if types.get(other, other) != types.get(first, first):
                    raise SettingsError(
                        f"providers.{other}.models: '{spec.id}' is served by '{first}', which is of another type; "
                        "give the model another name here."
                    )


def _listed(providers: Sequence[Provider], config: Config) -> Iterator[tuple[str, str]]:
    """Entries and the models they serve: those they list, else those that name them, else every row of their type."""
    named = {overlay.provider for overlay in config.models.values()}
    for name, entry in config.providers.items():
        yield from ((name, model) for model in entry.models)
        if entry.models or name in named:
            continue
        rows = next(provider.models for provider in providers if provider.name == entry.type)
        for spec in rows:
            overlay = config.models.get(spec.id)
            if overlay is None or overlay.provider in {None, entry.type}:
                yield name, spec.id


def _found(
    providers: Sequence[Provider], settings: Settings, config: Config
) -> Iterator[tuple[str, tuple[Deployment, ...]]]:
    env = settings.environ
    for provider in providers:
        access = provider.access
        if not access.credentials:
            yield provider.name, (Deployment(provider=provider, base_url=""),)
            continue
        held = next((c for c in access.credentials if env.get(c.env)), None)
        if held is not None:
            base_url = env.get(access.base_url_env) or held.base_url
            own = Deployment(provider=provider, base_url=base_url, key=env[held.env], name=provider.name)
            yield provider.name, (_placed(own, access.base_url_env),)
    by_type: Mapping[str, Provider] = {provider.name: provider for provider in providers}
    for name, entry in config.providers.items():
        yield name, tuple(_several(name, entry, by_type[entry.type]))


def _several(name: str, entry: ProviderEntry, provider: Provider) -> Iterator[Deployment]:
    """An entry's own key, then its credentials, named `name`, `name/2`, and so on; weights multiply."""
    default = entry.base_url or provider.access.credentials[0].base_url
    found = [(default, c.api_key.get_secret_value(), c.weight, c.base_url) for c in entry.credentials]
    if entry.api_key or not found:
        own = entry.api_key.get_secret_value() if entry.api_key else ""
        found.insert(0, (default, own, 1, None))
    for number, (base_url, key, weight, other) in enumerate(found, 1):
        label = name if number == 1 else f"{name}/{number}"
        url, share = other or base_url, weight * entry.weight
        one = Deployment(provider=provider, base_url=url, key=key, name=label, weight=share)
        yield _placed(one, f"providers.{name}: a base_url")


def _placed(found: Deployment, where: str) -> Deployment:
    """The deployment at its bare address, with what stood before an @ there as HTTP Basic has it.

    Raises SettingsError, which says `where` and shows neither.
    """
    base_url, basic = _parted(found.base_url.rstrip("/"), where)
    access = found.provider.access
    if basic and found.key and access.header.lower() == "authorization":
        raise SettingsError(
            f"{where} holds a user and password, which would go into the same header as the provider's key. Leave "
            "them out; an upstream that wants them instead of a key is an entry under providers: without api_key."
        )
    if access.bare_origin:
        base_url = base_url.removesuffix("/v1")
    return replace(found, base_url=base_url, basic=basic)


def _parted(url: str, where: str) -> tuple[str, str]:
    """The URL without user and password, and these two for HTTP Basic ('' without). Raises SettingsError."""
    if not url.lower().startswith(("http://", "https://")):
        raise SettingsError(f"{where} must start with http:// or https://.")
    parts = _split(url)
    if parts is None:
        raise SettingsError(
            f"{where} cannot be used: a scheme and a host are needed, and perhaps a port and a path. In a user and "
            "password before the host / ? # @ % are written %2F %3F %23 %40 %25."
        )
    before, at, host = parts.netloc.rpartition("@")
    user, _, password = before.partition(":")
    basic = b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode() if at else ""
    return parts._replace(netloc=host).geturl(), basic


def _split(url: str) -> SplitResult | None:
    """The parts of a base URL; None of what is none, such as one that a sign of a password has cut."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    good = _HOST.fullmatch(parts.hostname or "") and port != 0 and not (parts.query or parts.fragment)
    return parts if good and "@" not in parts.path else None
