"""Facts that are true of every row; a new row is covered the moment it exists."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from providers import discover
from providers.core.plan import plan
from providers.core.spec import Mask, ModelSpec
from providers.core.types import AUTO, ImageFormat, ImageRequest, InputImage, Operation, Policy, Size
from providers.core.validate import validate

ROWS = [spec for provider in discover() for spec in provider.models]
EACH = pytest.mark.parametrize("spec", ROWS, ids=lambda spec: spec.id)
SQUARE = InputImage(data=b"", format=ImageFormat.PNG, width=1024, height=1024, has_alpha=True)


def wish(spec: ModelSpec, **more: object) -> ImageRequest:
    """The plainest request that the row's operations allow."""
    operation = Operation.GENERATE if Operation.GENERATE in spec.operations else Operation.EDIT
    image = replace(SQUARE, has_alpha=not (spec.inputs and spec.inputs.opaque))
    images = (image,) if operation is Operation.EDIT else ()
    options = {**dict.fromkeys(spec.required, "a dog"), **more.pop("options", {})}  # type: ignore[dict-item]  # of options
    return ImageRequest(operation=operation, prompt="a cat", images=images, options=options, **more)  # type: ignore[arg-type]


def test_every_id_and_alias_is_unique() -> None:
    """No two rows answer to one name."""
    names = [name for spec in ROWS for name in (spec.id, *spec.aliases)]

    assert sorted(set(names)) == sorted(names)


@EACH
def test_every_row_says_where_it_comes_from(spec: ModelSpec) -> None:
    """A row has a source, the day it was checked, and a provider that owns it."""
    assert spec.source
    assert date(2026, 1, 1) <= spec.checked <= date(2027, 12, 31)
    assert spec.provider


@EACH
def test_the_plainest_request_can_be_planned(spec: ModelSpec) -> None:
    """A prompt alone is enough for every model, and costs one image."""
    planned = plan(wish(spec), spec)

    assert planned.n == 1
    assert [a.param for a in planned.adjustments] == ([] if spec.prompt.used else ["prompt"])


@EACH
@pytest.mark.parametrize("policy", list(Policy))
def test_what_sdks_send_unasked_is_never_refused(spec: ModelSpec, policy: Policy) -> None:
    """The defaults of known SDKs are not wishes: they never cost a caller a 400."""
    request = wish(
        spec,
        policy=policy,
        n_sent=True,
        size=Size(1024, 1024),
        quality="standard",
        background="auto",
        output_compression=100,
        partial_images=0,
        options={"style": "vivid", "moderation": "auto", "input_fidelity": "low"},
    )

    assert validate(request, spec) == ()


@EACH
def test_every_size_that_a_row_lists_is_one_it_takes(spec: ModelSpec) -> None:
    """The list that callers discover and the rule that judges them are the same."""
    for operation in spec.operations:
        rule = spec.size_rule(operation)
        assert rule.resolve(None) is not None
        found = rule.discovery()
        for text in [*found.get("sizes", ()), *found.get("aspect_ratios", ())]:
            request = wish(spec, size=AUTO if text == "auto" else None)
            assert validate(request, spec) == () or text != "auto"


@EACH
@pytest.mark.parametrize("policy", list(Policy))
def test_what_is_required_is_an_option_and_is_asked_for_by_name(spec: ModelSpec, policy: Policy) -> None:
    """Without a required option no request is planned, whatever the policy, and the error names it."""
    assert spec.required <= spec.options.keys()
    bare = replace(wish(spec, policy=policy), options={})

    assert {(found.param, found.code) for found in validate(bare, spec)} == {
        (param, "missing_required_parameter") for param in spec.required
    }


@EACH
def test_prices_are_whole_micro_dollars(spec: ModelSpec) -> None:
    """Money is never a float, and a row with prices can price its own default."""
    if spec.prices is None:
        return
    assert all(type(value) is int and value >= 0 for value in spec.prices.images.values())
    assert spec.prices.source
    planned = plan(wish(spec), spec)
    assert planned.cost is None or planned.cost >= 0


@EACH
def test_a_retired_row_names_a_successor_that_exists(spec: ModelSpec) -> None:
    """Successors are rows, and an id that is served by another says so with a date."""
    if spec.successor:
        assert spec.successor in {other.id for other in ROWS}
    if spec.retired_on and spec.upstream_id:
        assert spec.upstream_id != spec.id or spec.successor is None


@EACH
def test_models_that_edit_say_what_they_take(spec: ModelSpec) -> None:
    """A row with edits has input limits; one without has no masks."""
    if Operation.EDIT in spec.operations:
        assert spec.inputs is not None
    else:
        assert spec.mask is Mask.NONE


@pytest.mark.parametrize(
    ("model", "prompt_max", "n"),
    [
        ("dall-e-2", 1000, 10),
        ("dall-e-3", 4000, 1),
        ("gpt-image-1", 4000, 1),
        ("gpt-image-1.5", 4000, 10),
        ("gemini-2.5-flash-image", 32000, 1),
        ("gemini-3-pro-image-preview", 32000, 1),
        ("wanx-v1", 800, 1),
        ("image-01", 1500, 9),
        ("cogview-3", 833, 1),
    ],
)
def test_rows_of_the_spec_document_keep_its_limits(model: str, prompt_max: int, n: int) -> None:
    """The constraints table of the reference document is what strict callers meet."""
    spec = next(spec for spec in ROWS if spec.id == model)

    assert (spec.prompt.max, spec.n.per_request) == (prompt_max, n)


TIERED = [(spec, op) for spec in ROWS for op in sorted(spec.operations) if (q := spec.quality_rule(op)) and q.tiers]


@pytest.mark.parametrize(("spec", "operation"), TIERED, ids=[f"{spec.id}-{op}" for spec, op in TIERED])
def test_a_tier_that_is_promised_is_a_tier_that_is_drawn(spec: ModelSpec, operation: Operation) -> None:
    """What the report says of quality, the wire and the price say too, on each route by itself."""
    image = replace(SQUARE, has_alpha=not (spec.inputs and spec.inputs.opaque))
    images = (image,) if operation is Operation.EDIT else ()
    rule = spec.quality_rule(operation)
    assert rule
    for word in ("standard", "low", "hd", "high", "4k", "xhigh", "max"):
        for policy in Policy:
            request = ImageRequest(operation=operation, prompt="a cat", images=images, quality=word, policy=policy)
            if validate(request, spec):
                assert word not in rule.words
                continue
            planned = plan(request, spec)
            said = next(adjustment.used for adjustment in planned.adjustments if adjustment.param == "quality")
            drawn = planned.calls[0].resolution.tier
            assert said == drawn, (word, policy)
