"""From a model's name to the row and the account that serve it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.auth import Caller
from app.config import Limits, parse
from app.registry import DEFAULT_MODELS, Registry, Route
from app.settings import SettingsError, load
from providers import discover
from providers.core.errors import ModelNotFound, PermissionDenied
from providers.core.plan import Kind
from providers.core.sizes import PixelSizes
from providers.core.types import ImageFormat, ImageRequest, InputImage, Operation, Size

PROVIDERS = discover()
ANYONE = Caller(id="a", name="a")
KEYS = {"OPENAI_API_KEY": "sk-o", "GEMINI_API_KEY": "g", "DASHSCOPE_API_KEY": "d"}
ENGINE = """
providers:
  my-engine: {type: openai, base_url: http://gpu-1:8000/v1, api_key: sk-engine, models: [flux-dev, plain]}
models:
  flux-dev: {provider: my-engine, like: gpt-image-1, n: [1, 4], prices: {image: 0.002}, sizes: [512x512, 768x512],
             prompt_max: 77, deadline_seconds: 9, upstream_id: flux-dev-fp8}
"""


def registry(environ: Mapping[str, str] | None = None, config: str = "") -> Registry:
    """A registry of every provider."""
    env = dict(KEYS if environ is None else environ)
    return Registry(PROVIDERS, load(env), parse(config, env))


def resolved(found: Registry, model: str = "", caller: Caller = ANYONE, **wish: Any) -> Route:
    """The route of a plain generation."""
    request = ImageRequest(operation=wish.pop("operation", Operation.GENERATE), prompt="p", model=model, **wish)
    return found.resolve(request, caller)


@pytest.mark.parametrize("name", ["gpt-image-2", "openai/gpt-image-2"])
def test_a_model_has_its_own_name_and_its_providers(name: str) -> None:
    """Both spellings lead to the same row, and nothing is to be reported."""
    route = resolved(registry(), name)

    assert (route.spec.id, route.provider, route.noted) == ("gpt-image-2", "openai", ())
    assert route.deployments[0].key == "sk-o"


def test_every_row_is_found_by_each_of_its_names() -> None:
    """Ids and aliases of the whole catalogue lead to their rows, with the provider before them and without."""
    found = registry()
    for provider in PROVIDERS:
        for spec in provider.models:
            assert found.spec(spec.id) is spec
            for alias in spec.aliases:
                assert found.spec(f"{provider.name}/{alias}") is spec


@pytest.mark.parametrize(
    "name", ["gemini/gpt-image-2", "openai/", "/gpt-image-2", "gpt-image-2 ", "GPT-IMAGE-2", "x" * 500]
)
def test_another_name_is_no_model(name: str) -> None:
    """A wrong provider, another case or white space is not guessed at."""
    with pytest.raises(ModelNotFound) as caught:
        resolved(registry(), name)

    assert caught.value.param == "model"
    assert len(caught.value.message) < 160


def test_an_alias_of_the_config_is_served_and_reported() -> None:
    """Remapping is the operator's, wins over a row of that name, and the caller can read it."""
    found = registry(config="aliases: {studio: gpt-image-2, dall-e-3: gemini-3-pro-image}")
    studio, dalle = resolved(found, "studio"), resolved(found, "dall-e-3")

    assert (studio.spec.id, dalle.spec.id, dalle.provider) == ("gpt-image-2", "gemini-3-pro-image", "gemini")
    assert [(a.kind, a.asked, a.used) for a in dalle.noted] == [(Kind.MAPPED, "dall-e-3", "gemini-3-pro-image")]


def test_an_operators_alias_wins_over_the_built_in_one() -> None:
    """What the spec document's first example asks for means the default only where nobody has said otherwise."""
    found = registry(config="aliases: {gpt-4o-mini: gemini-3-pro-image}")
    route = resolved(found, "gpt-4o-mini")

    assert route.spec.id == "gemini-3-pro-image"
    assert [change.kind for change in route.noted] == [Kind.MAPPED]


def test_an_alias_to_nothing_stops_the_start() -> None:
    """The message names both ends."""
    with pytest.raises(SettingsError, match="'studio' points to 'gpt-image-99'"):
        registry(config="aliases: {studio: gpt-image-99}")


def test_a_retired_model_without_successor_is_sent_as_asked() -> None:
    """Engines may still serve it; only the row says that it is gone."""
    route = resolved(registry(), "dall-e-3")

    assert (route.spec.wire_id, route.noted) == ("dall-e-3", ())
    assert route.spec.retired_on


def test_a_retired_model_with_a_drop_in_successor_is_served_by_it() -> None:
    """The asked name stays, the upstream gets the successor's, and that is reported."""
    gone = [s for p in PROVIDERS for s in p.models if s.retired_on and s.upstream_id and s.upstream_id != s.id]
    assert gone
    for spec in gone:
        route = resolved(registry({"PINHOLE_SANDBOX": "true"}), spec.id)
        assert [(a.kind, a.asked, a.used) for a in route.noted] == [(Kind.MAPPED, spec.id, spec.upstream_id)]


@pytest.mark.parametrize(
    ("model", "variables"),
    [
        ("gpt-image-2", ["OPENAI_API_KEY"]),
        ("gemini-3-pro-image", ["GEMINI_API_KEY"]),
        ("qwen-image", ["DASHSCOPE_API_KEY"]),
        ("image-01", ["MINIMAX_API_KEY"]),
        ("cogview-4", ["ZAI_API_KEY", "ZHIPUAI_API_KEY"]),
        ("stable-image-core", ["STABILITY_API_KEY"]),
        ("flux-1.1-pro", ["REPLICATE_API_TOKEN"]),
    ],
)
def test_a_missing_credential_is_named(model: str, variables: list[str]) -> None:
    """A known model that cannot be called says which variable would change that."""
    with pytest.raises(ModelNotFound) as caught:
        resolved(registry({}), model)

    assert all(variable in caught.value.message for variable in variables)
    for variable in variables:
        assert resolved(registry({variable: "k"}), model).spec.id == model


@pytest.mark.parametrize("asked", ["", "gpt-4o-mini"])
def test_no_model_named_is_the_first_that_can(asked: str) -> None:
    """The default is configured, not retired, able to do the request, and reported."""
    route = resolved(registry({"GEMINI_API_KEY": "g", "ZAI_API_KEY": "z"}), asked)

    assert route.spec.id == "gemini-3-pro-image"
    assert [(a.kind, a.asked, a.used) for a in route.noted] == [(Kind.DEFAULTED, asked or None, route.spec.id)]


def test_a_default_can_do_the_request() -> None:
    """An edit with a mask is not sent to a default that cannot edit."""
    image = InputImage(data=b"x", format=ImageFormat.PNG, width=1024, height=1024, has_alpha=True)
    found = registry({"ZAI_API_KEY": "z", "STABILITY_API_KEY": "s", "DASHSCOPE_API_KEY": "d"})
    route = resolved(found, operation=Operation.EDIT, images=(image,), mask=image)

    assert Operation.EDIT in route.spec.operations
    assert route.spec.id in DEFAULT_MODELS


def test_every_default_is_a_current_model_of_its_own_provider() -> None:
    """One model per provider, none of them retired."""
    rows = {spec.id: spec for provider in PROVIDERS for spec in provider.models}
    chosen = [rows[name] for name in DEFAULT_MODELS]

    assert len({spec.provider for spec in chosen}) == len(chosen)
    assert not [spec.id for spec in chosen if spec.retired_on]


def test_the_operators_default_is_taken_as_it_is() -> None:
    """PINHOLE_DEFAULT_MODEL wins over the list and may be an alias."""
    env = {**KEYS, "PINHOLE_DEFAULT_MODEL": "studio"}

    assert resolved(registry(env, "aliases: {studio: qwen-image}")).spec.id == "qwen-image"


def test_an_operators_default_that_is_no_model_stops_the_start() -> None:
    """A typing mistake is told at once, not to every caller that names no model."""
    with pytest.raises(SettingsError, match="PINHOLE_DEFAULT_MODEL is 'gpt-imagine-2'"):
        registry({**KEYS, "PINHOLE_DEFAULT_MODEL": "gpt-imagine-2"})


def test_no_provider_at_all_says_what_to_set() -> None:
    """The very first thing that goes wrong on a new machine explains itself."""
    with pytest.raises(ModelNotFound, match="OPENAI_API_KEY, or PINHOLE_SANDBOX=true"):
        resolved(registry({}))


def test_a_keys_patterns_hold_for_the_resolved_row() -> None:
    """An alias opens nothing that its target is not allowed, and the list shows what may be called."""
    caller = Caller(id="a", name="a", models=("gpt-image-*", "studio"))
    found = registry(config="aliases: {studio: qwen-image}")

    assert resolved(found, "gpt-image-2", caller).spec.id == "gpt-image-2"
    assert resolved(found, "", caller).spec.id == "gpt-image-2"
    for name in ("studio", "qwen-image"):
        with pytest.raises(PermissionDenied):
            resolved(found, name, caller)
    assert {spec.provider for spec in found.visible(caller)} == {"openai"}


def test_an_engine_of_the_config_is_a_provider() -> None:
    """It has its own address and key, and its models take what the row they are like takes."""
    found = registry({}, ENGINE)
    route = resolved(found, "flux-dev")
    spec = route.spec

    assert (route.deployments[0].base_url, route.deployments[0].key) == ("http://gpu-1:8000/v1", "sk-engine")
    assert (spec.provider, spec.wire_id, spec.prompt.max, spec.deadline_seconds) == (
        "my-engine",
        "flux-dev-fp8",
        77,
        9,
    )
    assert (spec.n.per_request, spec.retired_on, spec.source) == (4, None, "config file")
    assert spec.sizes == PixelSizes(allowed=(Size(512, 512), Size(768, 512)), default=Size(512, 512), auto=False)
    assert spec.prices
    assert spec.prices.image(None, Size(512, 512)) == 2000
    assert resolved(found, "my-engine/flux-dev").spec is spec
    assert route.adapter.name == "openai"


ACCOUNTS = """
providers:
  first: {type: gemini, api_key: k1, limits: {requests_per_minute: 5}}
  second: {type: gemini, credentials: [{api_key: k2}, {api_key: k3}], limits: {requests_per_minute: 7}}
  engine: {type: openai, api_key: k4}
models:
  flux-dev: {provider: engine, like: gpt-image-1}
"""


def test_an_entry_without_a_list_is_an_account_of_its_type() -> None:
    """It serves every row of the type, beside the built-in account if that has a key; engines with rows do not."""
    found = registry({}, ACCOUNTS)
    both = registry({"GEMINI_API_KEY": "k0"}, ACCOUNTS)

    assert [one.key for one in resolved(found, "gemini-3-pro-image").deployments] == ["k1", "k2", "k3"]
    assert [one.key for one in resolved(both, "gemini-3-pro-image").deployments] == ["k0", "k1", "k2", "k3"]
    assert [one.key for one in resolved(found, "second/gemini-3-pro-image").deployments] == ["k2", "k3"]
    assert len(resolved(found, "gemini/gemini-3-pro-image").deployments) == 3
    assert [one.key for one in resolved(both, "gemini/gemini-3-pro-image").deployments] == ["k0"]
    assert resolved(found, "flux-dev").deployments[0].key == "k4"
    with pytest.raises(ModelNotFound):
        resolved(found, "gpt-image-2")


def test_a_built_in_provider_without_a_key_lifts_no_limit() -> None:
    """The limits of entries hold together, unless an account that can be called has none."""
    limited = dict(kind_and_limits(registry({}, ACCOUNTS)))
    open_ = dict(kind_and_limits(registry({"GEMINI_API_KEY": "k0"}, ACCOUNTS)))

    assert limited["provider"].requests_per_minute == 12
    assert "provider" not in open_


def kind_and_limits(found: Registry) -> list[tuple[str, Limits]]:
    """The scopes of one model's requests."""
    return [(scope.kind, scope.limits) for scope in resolved(found, "gemini-3-pro-image").scopes]


def test_a_model_that_is_only_listed_takes_what_compatible_engines_take() -> None:
    """Without a row the engine's model is open: both operations, up to ten images, no price."""
    spec = resolved(registry({}, ENGINE), "plain").spec

    assert spec.operations == frozenset(Operation)
    assert (spec.n.per_request, spec.prices, spec.wire_id) == (10, None, "plain")


def test_an_overlay_changes_only_what_it_says() -> None:
    """A built-in row keeps everything else."""
    row = registry().spec("gpt-image-2")
    laid = registry(config="models: {gpt-image-2: {n: [1, 2], prices: {low: 0.01, high: 0.5}}}").spec("gpt-image-2")

    assert row
    assert laid
    assert (laid.n.per_request, laid.sizes, laid.prompt, laid.provider) == (2, row.sizes, row.prompt, row.provider)
    assert laid.prices
    assert laid.prices.image("high", None) == 500_000


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("models: {new: {like: absent}}", "models.new.like: 'absent'"),
        ("models: {new: {n: [1, 2]}}", "models.new: a new model needs 'provider'"),
        ("models: {new: {provider: nobody}}", "models.new.provider: 'nobody'"),
        ("models: {gpt-image-2: {sizes: [big]}}", "models.gpt-image-2.sizes"),
        ("models: {gpt-image-2: {sizes: [auto]}}", "models.gpt-image-2.sizes"),
        ("providers: {e: {type: openai, base_url: ftp://x}}", "must start with http"),
        ("fallbacks: {gpt-image-2: [absent]}", "'absent'"),
        ("models: {gpt-image-2: {n: [4, 1]}}", "models.gpt-image-2.n"),
        ("models: {gpt-image-2: {n: [0, 4]}}", "models.gpt-image-2.n"),
    ],
)
def test_a_config_that_cannot_work_stops_the_start(config: str, said: str) -> None:
    """The message names the place."""
    with pytest.raises(SettingsError) as caught:
        registry(config=config)

    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "model", "base_url"),
    [
        ("OPENAI_BASE_URL", "http://proxy/v1/", "gpt-image-2", "http://proxy/v1"),
        ("GEMINI_BASE_URL", "http://proxy/v1", "gemini-3-pro-image", "http://proxy"),
        ("DASHSCOPE_BASE_URL", "http://proxy", "qwen-image", "http://proxy"),
    ],
)
def test_a_providers_origin_can_be_moved(variable: str, value: str, model: str, base_url: str) -> None:
    """The variable's value stands before the path; a trailing /v1 on a bare origin is tolerated."""
    assert resolved(registry({**KEYS, variable: value}), model).deployments[0].base_url == base_url


def test_two_names_of_one_key_mean_two_hosts() -> None:
    """ZAI_API_KEY is api.z.ai, ZHIPUAI_API_KEY is open.bigmodel.cn."""
    hosts = [
        resolved(registry({variable: "k"}), "cogview-4").deployments[0].base_url
        for variable in ("ZAI_API_KEY", "ZHIPUAI_API_KEY")
    ]

    assert "api.z.ai" in hosts[0]
    assert "open.bigmodel.cn" in hosts[1]


def test_in_the_sandbox_every_row_is_served_by_it_under_its_own_rules() -> None:
    """The row and the adapter stay the vendor's, the deployment draws here."""
    route = resolved(registry({"PINHOLE_SANDBOX": "true"}), "image-01")

    assert (route.spec.provider, route.adapter.name, route.provider) == ("minimax", "minimax", "sandbox")


def test_the_limits_of_every_scope_are_met() -> None:
    """Gateway, model and provider each bring their limits to a request."""
    config = ENGINE + "limits: {requests_per_minute: 1}\n"
    kinds = [scope.kind for scope in resolved(registry({}, config), "flux-dev").scopes]

    assert kinds == ["gateway", "model", "provider"]


@pytest.mark.parametrize("name", ["видео", "a\\nb", " a", "a\\u20ac"])
def test_a_name_that_no_header_can_hold_stops_the_start(name: str) -> None:
    """An answer names its model and provider in headers: what cannot stand there is told before anything is paid."""
    for config in (
        f'models: {{"{name}": {{like: gpt-image-1}}}}',
        f'providers: {{x: {{type: openai, base_url: "http://a/v1", api_key: k, models: ["{name}"]}}}}',
        f'providers: {{"{name}": {{type: openai, base_url: "http://a/v1", api_key: k, models: [m]}}}}',
    ):
        with pytest.raises(SettingsError, match="stand in headers"):
            registry(config=config)
