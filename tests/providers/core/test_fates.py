"""Nothing is lost in silence: every parameter of every request ends in exactly one of six fates."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers import discover
from providers.core.decide import decide
from providers.core.errors import InvalidRequest
from providers.core.fate import Fate
from providers.core.options import Choice, Flag, IntRange
from providers.core.plan import Plan, Planner, plan
from providers.core.spec import ModelSpec
from providers.core.types import (
    AUTO,
    AspectRatio,
    ImageFormat,
    ImageRequest,
    InputImage,
    Operation,
    Policy,
    ResponseFormat,
    Size,
)
from providers.core.validate import validate

PLANNER = Planner(64)
ROWS = [spec for provider in discover() for spec in provider.models]
EDGES = st.one_of(st.sampled_from([256, 512, 768, 1024, 1536, 1792, 2048, 4096]), st.integers(1, 9000))
SIZES = st.one_of(
    st.none(),
    st.just(AUTO),
    st.builds(Size, EDGES, EDGES),
    st.builds(AspectRatio, st.integers(1, 21), st.integers(1, 21)),
)
WORDS = st.sampled_from(["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd", "4k", None])
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "style": st.sampled_from(["vivid", "natural", "anime", "a style of my own that is a text"]),
        "moderation": st.sampled_from(["auto", "low"]),
        "input_fidelity": st.sampled_from(["low", "high"]),
        "negative_prompt": st.text(min_size=1, max_size=700),
        "search_prompt": st.text(min_size=1, max_size=40),
        "seed": st.integers(-5, 2**33),
        "prompt_extend": st.booleans(),
        "watermark": st.booleans(),
        "complexity": st.sampled_from(["low", "medium", "high"]),
    },
)
IMAGES = st.builds(
    InputImage,
    data=st.just(b"x" * 100),
    format=st.sampled_from([ImageFormat.PNG, ImageFormat.JPEG, ImageFormat.WEBP]),
    width=st.sampled_from([64, 512, 1024, 4000]),
    height=st.sampled_from([64, 512, 1024, 4000]),
    has_alpha=st.booleans(),
    deep=st.booleans(),
    indexed=st.booleans(),
)


SQUARE = InputImage(data=b"", format=ImageFormat.PNG, width=1024, height=1024, has_alpha=True)


@st.composite
def requests(draw: st.DrawFn) -> ImageRequest:
    """Any request that the schemas let through."""
    images = tuple(draw(st.lists(IMAGES, max_size=3)))
    first = images[0] if images else None
    mask = (
        replace(first, format=ImageFormat.PNG, has_alpha=True, name="mask") if first and draw(st.booleans()) else None
    )
    n_sent = draw(st.booleans())
    return ImageRequest(
        operation=Operation.EDIT if images else Operation.GENERATE,
        prompt=draw(st.text(max_size=1200)),
        n=draw(st.integers(-1, 15)) if n_sent else 1,
        n_sent=n_sent,
        size=draw(SIZES),
        quality=draw(WORDS),
        options=draw(OPTIONS),
        unknown=tuple(draw(st.lists(st.sampled_from(["foo", "loras"]), unique=True, max_size=2))),
        response_format=draw(st.sampled_from([None, *ResponseFormat])),
        output_format=draw(st.sampled_from([None, *ImageFormat])),
        output_compression=draw(st.one_of(st.none(), st.integers(-5, 120))),
        background=draw(st.sampled_from([None, "transparent", "opaque", "auto"])),
        stream=draw(st.booleans()),
        partial_images=draw(st.one_of(st.none(), st.integers(-1, 5))),
        user=draw(st.sampled_from([None, "u-1"])),
        images=images,
        mask=mask,
        policy=draw(st.sampled_from(list(Policy))),
    )


def sent(request: ImageRequest) -> set[str]:
    """The names of all parameters that a caller really sent."""
    present: dict[str, Any] = {
        "prompt": True,
        "n": request.n_sent,
        "size": request.size,
        "quality": request.quality,
        "response_format": request.response_format,
        "output_format": request.output_format,
        "output_compression": request.output_compression is not None,
        "background": request.background,
        "stream": request.stream,
        "partial_images": request.partial_images is not None,
        "user": request.user,
        "mask": request.mask,
    }
    return {name for name, value in present.items() if value} | set(request.options) | set(request.unknown)


@given(request=requests(), spec=st.sampled_from(ROWS))
@settings(max_examples=1500, deadline=None)
def test_every_parameter_has_exactly_one_fate(request: ImageRequest, spec: ModelSpec) -> None:
    """The union of the fates covers the request, and none is judged twice."""
    judged = Counter(decision.param for decision in decide(request, spec).fates)

    for param in sent(request):
        assert judged[param] == 1, param


@given(request=requests(), spec=st.sampled_from(ROWS))
@settings(max_examples=1500, deadline=None)
def test_whatever_validate_lets_through_plan_can_plan(request: ImageRequest, spec: ModelSpec) -> None:
    """Validation and planning cannot disagree, and the calls are within the row."""
    violations = validate(request, spec)
    if violations:
        with pytest.raises(InvalidRequest) as refused:
            plan(request, spec)
        assert refused.value.violations == violations
        return
    planned = plan(request, spec)
    assert 1 <= planned.n <= max(spec.n.per_request, spec.n.lenient or 0)
    for call in planned.calls:
        assert 1 <= call.n <= spec.n.per_call
        for name, value in call.options.items():
            rule = spec.options.get(name)
            assert rule is None or rule.accepts(value), name


@given(request=requests(), spec=st.sampled_from(ROWS), prompt=st.sampled_from(["a kite", "k" * 4001]))
@settings(max_examples=800, deadline=None)
def test_a_kept_plan_is_the_plan(request: ImageRequest, spec: ModelSpec, prompt: str) -> None:
    """What is worked out once for all who ask alike is what each of them would get, refusals included."""
    for wish in (request, replace(request, prompt=prompt, user=request.user and "another")):
        assert outcome(PLANNER.plan, wish, spec) == outcome(plan, wish, spec)


def outcome(make: Callable[..., Plan], request: ImageRequest, spec: ModelSpec) -> object:
    """The plan, or the violations."""
    try:
        return make(request, spec)
    except InvalidRequest as refused:
        return refused.violations


@given(request=requests(), spec=st.sampled_from(ROWS))
@settings(max_examples=800, deadline=None)
def test_strict_never_changes_a_wish_for_a_picture(request: ImageRequest, spec: ModelSpec) -> None:
    """Under strict nothing but SDK defaults is dropped, and a changed size keeps its shape."""
    strict = replace(request, policy=Policy.STRICT)

    for decision in decide(strict, spec).fates:
        assert decision.fate is not Fate.DROPPED, decision
        if decision.param == "n":
            assert decision.fate is not Fate.MAPPED


@given(request=requests(), spec=st.sampled_from(ROWS))
@settings(max_examples=800, deadline=None)
def test_adjustments_never_carry_free_text(request: ImageRequest, spec: ModelSpec) -> None:
    """What callers read of a change is enums, numbers and sizes only."""
    for decision in decide(request, spec).fates:
        for shown in (decision.asked, decision.used):
            assert shown is None or isinstance(shown, int) or (len(shown) <= 20 and shown.isascii()), decision


@given(request=requests(), spec=st.sampled_from(ROWS))
@settings(max_examples=800, deadline=None)
def test_the_tier_in_the_report_is_the_one_that_is_drawn(request: ImageRequest, spec: ModelSpec) -> None:
    """Quality and pixels may ask for different tiers; what is said and what is sent are one and the same."""
    rule = spec.quality_rule(request.operation)
    decided = decide(request, spec)
    for decision in decided.fates:
        if decision.param == "quality" and rule and rule.tiers and decision.fate is not Fate.REJECTED:
            assert decision.used == (decided.resolution.tier or (decision.used and "auto"))


@pytest.mark.parametrize("spec", ROWS, ids=lambda spec: spec.id)
def test_search_prompt_is_for_models_that_search(spec: ModelSpec) -> None:
    """Elsewhere what to look for is a violation, or dropped and reported for a lenient caller."""
    operation = min(spec.operations)
    images = (SQUARE,) if operation is Operation.EDIT else ()
    for policy, fate in ((Policy.STRICT, Fate.REJECTED), (Policy.LENIENT, Fate.DROPPED)):
        asked = ImageRequest(
            operation=operation, prompt="a", images=images, options={"search_prompt": "a dog"}, policy=policy
        )
        (found,) = [each.fate for each in decide(asked, spec).fates if each.param == "search_prompt"]
        assert found is (Fate.HONOURED if "search_prompt" in spec.options else fate)


def test_options_are_judged_by_their_own_rule() -> None:
    """A choice takes its words, a range its bounds, a flag only true and false."""
    assert Choice.of("a", "b").accepts("a")
    assert not Choice.of("a", "b").accepts("c")
    assert IntRange(0, 5).nearest(9) == 5
    assert not IntRange(0, 5).accepts(True)
    assert Flag().accepts(False)


def test_long_words_are_not_kept() -> None:
    """What a lenient caller calls a style may be a whole book: a planner holds none of it."""
    planner, spec = Planner(1024), next(row for row in ROWS if row.id == "gpt-image-2")
    tracemalloc.start()
    try:
        for i in range(20):
            style = f"{i}" * 1_000_000
            wish = ImageRequest(
                operation=Operation.GENERATE, prompt="x", options={"style": style}, policy=Policy.LENIENT
            )
            planner.plan(wish, spec)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 5_000_000
