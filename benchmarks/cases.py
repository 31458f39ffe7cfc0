"""The cases: what is asked, what must come back, and what the result must be beside nginx."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
OPENAI, GEMINI, COGVIEW = "gpt-image-1", "gemini-2.5-flash-image", "cogview-4"
MANY = "gpt-image-1.5"  # makes several images in one call


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of request. `image` is what each answer must hold, `n` times; without one, `text` must be in it."""

    name: str
    title: str
    key: str
    image: str | None = None
    n: int = 1
    text: str | None = None
    model: str = OPENAI
    fields: dict[str, Any] = field(default_factory=dict)
    upload: str | None = None
    relay: str = ""  # the case whose nginx figure is the yardstick; its own when empty
    most: int | None = None  # requests a round, where each leaves something on the disk
    must: float | None = None  # times nginx
    must_ms: float | None = None
    peer: float | None = None  # must be at most LiteLLM's cost divided by this
    sheet: float | None = None  # LiteLLM 1.109.1's ms where this table was first made: another machine

    @property
    def path(self) -> str:
        """The route."""
        return EDITS if self.upload else GENERATIONS

    @property
    def body(self) -> dict[str, Any]:
        """The fields of the request; the mock finds its answer's key in the prompt."""
        return {"model": self.model, "prompt": f"bench:{self.key} a lighthouse at dusk", **self.fields}


CASES = (
    Case(name="gen1k", title="1 KiB answer", key="gen1k", image="1k", must_ms=0.8, peer=24, sheet=19.0),
    Case(name="gen1m5", title="1.5 MiB b64", key="gen1m5", image="1m5", must=2.0, peer=16, sheet=42.3),
    Case(name="gen8m", title="8 MiB b64", key="gen8m", image="8m", must=1.8, peer=13, sheet=139.0),
    Case(
        name="gem1m5",
        title="Gemini to OpenAI, 1.5 MiB",
        key="gem1m5",
        image="1m5",
        model=GEMINI,
        fields={"response_format": "b64_json"},
        must=2.2,
        peer=9,
        sheet=25.7,
    ),
    Case(
        name="edit",
        title="edit, 2 MiB up, 1.5 MiB down",
        key="gen1m5",
        image="1m5",
        upload="2m",
        must=2.4,
        peer=9,
        sheet=45.8,
    ),
    Case(
        name="url-b64",
        title="provider's link to b64, 1.5 MiB",
        key="cog1m5",
        image="1m5",
        model=COGVIEW,
        fields={"response_format": "b64_json"},
        relay="gen1m5",
        must=3.0,
    ),
    Case(
        name="b64-url",
        title="b64 to a stored link, 1.5 MiB",
        key="gen1m5",
        text='"url"',
        fields={"response_format": "url"},
        relay="gen1m5",
        most=150,
        must=3.0,
    ),
)
QUICK = CASES[:5]
HTTPS = (
    Case(name="https-1k", title="https upstream, 1 KiB", key="gen1k", image="1k"),
    Case(name="https-1m5", title="https upstream, 1.5 MiB", key="gen1m5", image="1m5", must=1.8),
)
REDIS = Case(name="redis", title="with the Redis limiter, 1 KiB", key="gen1k", image="1k", must_ms=0.4)
