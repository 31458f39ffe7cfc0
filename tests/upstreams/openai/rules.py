"""What each image model of OpenAI accepts, written from its documents and reports (checked 2026-11-22).

Independent of the product's rows on purpose: a limit misread in one place shows as a failing test.
"""

from dataclasses import dataclass, replace

MB = 1024 * 1024
SQUARE = "1024x1024"

_COMMON = frozenset({"prompt", "model", "n", "size", "user", "safety_identifier"})
_GPT = _COMMON | {
    "quality",
    "background",
    "output_format",
    "output_compression",
    "moderation",
    "stream",
    "partial_images",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One model's limits. `sizes` None means any size of rule A; `edits` None means no edits."""

    generations: frozenset[str]
    edits: frozenset[str] | None
    sizes: frozenset[str] | None
    prompt_max: int
    n_max: int = 10
    qualities: frozenset[str] = frozenset({"auto", "low", "medium", "high"})
    fidelities: frozenset[str] | None = None
    images_max: int = 16
    image_below: int = 50 * MB
    gpt: bool = True


_GPT_1 = Rules(
    generations=_GPT,
    # `moderation` on edits is in the JSON schema and sent in forms by the AI SDK, though not in the official SDK.
    edits=_GPT | {"input_fidelity"},
    sizes=frozenset({SQUARE, "1536x1024", "1024x1536", "auto"}),
    prompt_max=32000,
    fidelities=frozenset({"low", "high"}),
)
# input_fidelity has a refusal of its own here (invalid_input_fidelity_model), so the field itself is known.
_GPT_2 = replace(_GPT_1, sizes=None, fidelities=None)
_GPT_2_5 = replace(_GPT_2, qualities=_GPT_2.qualities | {"xhigh", "max"})
# gif and svg need access that this project has not: their fields are unknown here.
_GPT_2_6 = replace(_GPT_2_5, generations=_GPT | {"complexity"}, edits=_GPT | {"complexity", "input_fidelity"})
_DALL_E_2 = Rules(
    generations=_COMMON | {"quality", "response_format"},
    edits=_COMMON | {"response_format"},
    sizes=frozenset({"256x256", "512x512", SQUARE}),
    prompt_max=1000,
    qualities=frozenset({"standard"}),
    images_max=1,
    image_below=4 * MB,
    gpt=False,
)
_DALL_E_3 = Rules(
    generations=_COMMON | {"quality", "response_format", "style"},
    edits=None,
    sizes=frozenset({SQUARE, "1792x1024", "1024x1792"}),
    prompt_max=4000,
    n_max=1,
    qualities=frozenset({"standard", "hd"}),
    gpt=False,
)

MODELS: dict[str, Rules] = {
    "dall-e-2": _DALL_E_2,
    "dall-e-3": _DALL_E_3,
    "gpt-image-1": _GPT_1,
    "gpt-image-1-mini": replace(_GPT_1, fidelities=frozenset({"low"})),
    "gpt-image-1.5": _GPT_1,
    "gpt-image-1.5-2025-12-16": _GPT_1,
    "chatgpt-image-latest": _GPT_1,
    "gpt-image-2": _GPT_2,
    "gpt-image-2-2026-04-21": _GPT_2,
    "gpt-image-2.5-sunburst": _GPT_2_5,
    "gpt-image-2.5-sunburst-2026-09-08": _GPT_2_5,
    "gpt-image-2.5-flare": _GPT_2_5,
    "gpt-image-2.5-flare-2026-09-08": _GPT_2_5,
    "gpt-image-2.6-sunburst": _GPT_2_6,
    "gpt-image-2.6-flare": _GPT_2_6,
}

SHUTDOWN: dict[str, str] = {
    "dall-e-2": "2026-05-12",
    "dall-e-3": "2026-05-12",
    "gpt-image-1": "2026-10-23",
    "gpt-image-1-mini": "2026-12-01",
    "gpt-image-1.5": "2026-12-01",
    "gpt-image-1.5-2025-12-16": "2026-12-01",
    "chatgpt-image-latest": "2026-12-01",
}


def breaks_rule_a(width: int, height: int) -> str | None:
    """Why a size is not allowed on the models that take arbitrary sizes; None when it is."""
    if width % 16 or height % 16:
        return "Width and height must both be divisible by 16."
    if max(width, height) > 3 * min(width, height):
        return "The aspect ratio must be between 1:3 and 3:1."
    if max(width, height) > 3840:
        return "The longest edge must be at most 3840 pixels."
    if not 655_360 <= width * height <= 8_294_400:
        return "The total number of pixels must be between 655360 and 8294400."
    return None
