"""Every provider with its stand-in: how the gateway is pointed at it, and which of its models do what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from tests.upstreams.server import StandIn


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One provider. `generates`, `edits`, `masks` and `searches` are models; None where it has none."""

    name: str
    key_env: str
    base_env: str
    key: str
    make: Callable[[], StandIn]
    generates: str
    edits: str | None = None
    masks: str | None = None
    searches: str | None = None
    suffix: str = ""
    formats: tuple[str, ...] = ("png", "jpeg", "webp")

    def environ(self, server: StandIn) -> dict[str, str]:
        """The environment of a gateway that speaks to the stand-in with the right key."""
        return {self.key_env: self.key, self.base_env: server.url + self.suffix}


def _of(module: str, name: str) -> Callable[[], StandIn]:
    def make() -> StandIn:
        made: StandIn = getattr(import_module(f"tests.upstreams.{module}"), name)()
        return made

    return make


def _key(module: str) -> str:
    found: str = import_module(f"tests.upstreams.{module}").KEY
    return found


VENDORS = (
    Vendor(
        name="openai",
        key_env="OPENAI_API_KEY",
        base_env="OPENAI_BASE_URL",
        key="sk-openai-test",
        make=_of("openai", "OpenAIStandIn"),
        generates="gpt-image-2",
        edits="gpt-image-2",
        masks="gpt-image-2",
        suffix="/v1",
    ),
    Vendor(
        name="gemini",
        key_env="GEMINI_API_KEY",
        base_env="GEMINI_BASE_URL",
        key=_key("gemini"),
        make=_of("gemini", "GeminiServer"),
        generates="gemini-3-pro-image",
        edits="gemini-3-pro-image",
        masks="gemini-3-pro-image",
    ),
    Vendor(
        name="qwen",
        key_env="DASHSCOPE_API_KEY",
        base_env="DASHSCOPE_BASE_URL",
        key=_key("qwen"),
        make=_of("qwen", "Qwen"),
        generates="wan2.2-t2i-flash",
        edits="qwen-image-edit-plus",
        masks="wanx2.1-imageedit",
    ),
    Vendor(
        name="minimax",
        key_env="MINIMAX_API_KEY",
        base_env="MINIMAX_BASE_URL",
        key=_key("minimax"),
        make=_of("minimax", "MiniMaxServer"),
        generates="image-01",
        edits="image-01",
    ),
    Vendor(
        name="cogview",
        key_env="ZAI_API_KEY",
        base_env="ZAI_BASE_URL",
        key=_key("cogview"),
        make=_of("cogview", "CogViewServer"),
        generates="cogview-4",
        suffix="/api/paas/v4",
    ),
    Vendor(
        name="stability",
        key_env="STABILITY_API_KEY",
        base_env="STABILITY_BASE_URL",
        key=_key("stability"),
        make=_of("stability", "StabilityServer"),
        generates="stable-image-core",
        edits="sd3.5-large",
        masks="stable-image-inpaint",
        searches="stable-image-search-and-replace",
    ),
    Vendor(
        name="replicate",
        key_env="REPLICATE_API_TOKEN",
        base_env="REPLICATE_BASE_URL",
        key=_key("replicate"),
        make=_of("replicate", "ReplicateServer"),
        generates="flux-dev",
        edits="flux-kontext-pro",
        masks="flux-fill-pro",
    ),
)
