"""From a model's name to the row and the account that serve it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.accounts import Accounts
from app.auth import Caller
from app.config import Config
from app.limiter.protocol import Scope
from app.overlay import overlaid
from app.settings import Settings, SettingsError
from providers.core.errors import ModelNotFound, PermissionDenied
from providers.core.plan import Adjustment, Kind, Plan, Planner
from providers.core.provider import Provider
from providers.core.spec import ModelSpec
from providers.core.types import ImageRequest
from providers.core.validate import validate
from providers.kit.deployment import Deployment

# Current models, one per provider, in the order in which a request without a model tries them.
DEFAULT_MODELS: Final = (
    "gpt-image-2",
    "gemini-3-pro-image",
    "qwen-image-2.0-pro",
    "image-01",
    "glm-image",
    "stable-image-core",
    "flux-1.1-pro",
)
# Chat models that image examples name (spec document, first example): they mean the default.
DEFAULT_ALIASES: Final = frozenset({"gpt-4o-mini"})
SANDBOX: Final = "sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a request goes: the row, the adapter that speaks for it, the accounts that may serve it (at least one).

    In the sandbox the adapter still is the vendor's, for explain, and the deployment draws in this process.
    """

    spec: ModelSpec
    adapter: Provider
    deployments: tuple[Deployment, ...]
    asked: str
    noted: tuple[Adjustment, ...] = ()
    scopes: tuple[Scope, ...] = ()

    @property
    def provider(self) -> str:
        """The name of who really serves it."""
        return self.deployments[0].provider.name


class Registry:
    """All rows and all accounts. Built once from providers, settings and the config file."""

    def __init__(self, providers: Sequence[Provider], settings: Settings, config: Config) -> None:
        self._settings = settings
        self._config = config
        self._aliases = dict(config.aliases)
        self._adapters = {provider.name: provider for provider in providers}
        self._accounts = Accounts(providers, settings, config)
        self._specs = overlaid(providers, config)
        self._accounts.check(self._specs.values())
        self._forced = dict(forced for spec in self._specs.values() for forced in self._accounts.forced(spec))
        self._names = dict(_names(self._specs, self._accounts))
        self._routes: dict[tuple[str, str], Route] = {}
        self._planner = Planner()
        default = settings.default_model
        if default is not None and self._find(default) is None:
            raise SettingsError(f"PINHOLE_DEFAULT_MODEL is '{default[:100]}', which is no model.")
        for alias, target in self._aliases.items():
            if self._find(target) is None:
                raise SettingsError(f"aliases: '{alias}' points to '{target}', which is no model.")
        for model, targets in config.fallbacks.items():
            for name in (model, *targets):
                if self._find(name) is None:
                    raise SettingsError(f"fallbacks.{model}: '{name}' is no model.")

    @property
    def deployments(self) -> tuple[tuple[Deployment, int], ...]:
        """Every account with an upstream, and how many models it serves."""
        counts = Counter(one for spec in self.specs for one in self._accounts.serving(spec))
        return tuple((deployment, counts[deployment]) for deployment in self._accounts.all)

    @property
    def specs(self) -> tuple[ModelSpec, ...]:
        """The whole catalogue."""
        return tuple(self._specs.values())

    def configured(self, spec: ModelSpec) -> bool:
        """Whether the model can be called now."""
        return self._settings.sandbox or bool(self._accounts.serving(spec))

    def visible(self, caller: Caller) -> tuple[ModelSpec, ...]:
        """The models that can be called now, by this caller."""
        return tuple(spec for spec in self.specs if self.configured(spec) and caller.may_call(spec.id))

    def spec(self, name: str) -> ModelSpec | None:
        """A row by id, `provider/id` or alias."""
        return self._find(name)

    def vendor(self, route: Route) -> Deployment:
        """Who serves a route, its secrets masked; the vendor's own place when the sandbox stands in for it."""
        known = self._accounts.serving(route.spec)
        if known:
            first = known[0]
            return replace(first, key="***" if first.key else "", basic="***" if first.basic else "")
        access = route.adapter.access
        default = access.credentials[0].base_url if access.credentials else ""
        base_url = self._settings.environ.get(access.base_url_env) or default
        return Deployment(provider=route.adapter, base_url=base_url, key="***")

    def resolve(self, request: ImageRequest, caller: Caller) -> Route:
        """The route of a request. Raises ModelNotFound, PermissionDenied."""
        asked, name = request.model, self._meant(request.model)
        spec = self._find(name) if name else self._default(request, caller)
        if spec is None:
            raise ModelNotFound(f"The model '{asked[:100]}' does not exist.", param="model")
        if not caller.may_call(spec.id):
            raise PermissionDenied(f"Your key may not call the model '{spec.id}'.", param="model")
        return self._route(spec, asked, name or spec.id)

    def patience(self, request: ImageRequest, caller: Caller) -> float:
        """How long the model that was asked for is waited for; without end where its row does not say."""
        name = self._meant(request.model)
        try:
            spec = self._find(name) if name else self._default(request, caller)
        except ModelNotFound:  # told when the request is resolved
            spec = None
        return (spec and spec.deadline_seconds) or math.inf

    def _meant(self, asked: str) -> str | None:
        own = asked and (asked not in DEFAULT_ALIASES or asked in self._aliases)
        return asked if own else self._settings.default_model

    def plan(self, request: ImageRequest, route: Route) -> Plan:
        """What a request comes to on a route. Raises InvalidRequest."""
        return self._planner.plan(request, route.spec, route.noted)

    def _route(self, spec: ModelSpec, asked: str, name: str) -> Route:
        """Of a spec and a name that it was asked by; both are of the registry's own, so there are not many."""
        known = self._routes.get((spec.id, asked))
        if known is not None:
            return known
        adapter = self._adapters.get(spec.provider)
        only = SANDBOX if self._settings.sandbox else self._forced.get(self._aliases.get(name, name))
        deployments = self._accounts.serving(spec, only)
        if not deployments:
            raise ModelNotFound(self._missing(spec), param="model")
        made = self._routes[spec.id, asked] = Route(
            spec=spec,
            adapter=adapter or deployments[0].provider,
            deployments=deployments,
            asked=asked,
            noted=tuple(self._noted(spec, asked)),
            scopes=tuple(self._scopes(spec)),
        )
        return made

    def _scopes(self, spec: ModelSpec) -> Iterator[Scope]:
        """Whose limits a request to this model meets, besides its caller's."""
        yield Scope("gateway", "all callers", self._config.limits)
        if spec.id in self._config.models:
            yield Scope("model", spec.id, self._config.models[spec.id].limits)
        if together := self._accounts.limits(spec):
            yield Scope("provider", *together)

    def _noted(self, spec: ModelSpec, asked: str) -> Iterator[Adjustment]:
        if not asked or (asked in DEFAULT_ALIASES and asked not in self._aliases):
            yield Adjustment(param="model", kind=Kind.DEFAULTED, asked=asked or None, used=spec.id)
        elif asked not in {spec.id, f"{spec.provider}/{spec.id}"} and asked not in self._forced:
            yield Adjustment(param="model", kind=Kind.MAPPED, asked=asked, used=spec.id)
        elif spec.upstream_id and spec.retired_on:
            yield Adjustment(param="model", kind=Kind.MAPPED, asked=asked, used=spec.upstream_id)

    def _default(self, request: ImageRequest, caller: Caller) -> ModelSpec:
        found = [spec for name in DEFAULT_MODELS if (spec := self._find(name)) and self.configured(spec)]
        allowed = [spec for spec in found if caller.may_call(spec.id)]
        if not allowed:
            raise ModelNotFound(
                "No model was named and none is configured. Set a provider's key, such as OPENAI_API_KEY, "
                "or PINHOLE_SANDBOX=true.",
                param="model",
            )
        able = (spec for spec in allowed if not validate(request, spec))
        return next(able, allowed[0])

    def _find(self, name: str) -> ModelSpec | None:
        target = self._aliases.get(name, name)
        return self._names.get(target)

    def _missing(self, spec: ModelSpec) -> str:
        adapter = self._adapters.get(spec.provider)
        variables = [c.env for c in adapter.access.credentials] if adapter else []
        wanted = " or ".join(variables) or "an entry under providers: in the config file"
        return f"The model '{spec.id}' is known but {spec.provider} has no credential: set {wanted}."


def _names(specs: Mapping[str, ModelSpec], accounts: Accounts) -> Iterator[tuple[str, ModelSpec]]:
    for spec in specs.values():
        for alias in spec.aliases:
            yield alias, spec
            yield f"{spec.provider}/{alias}", spec
    for spec in specs.values():
        yield spec.id, spec
        yield f"{spec.provider}/{spec.id.removeprefix(f'{spec.provider}/')}", spec
        for name, _ in accounts.forced(spec):
            yield name, spec
