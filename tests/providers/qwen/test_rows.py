"""providers.qwen: the rows, and the size rules of this vendor."""

from __future__ import annotations

from datetime import date

import pytest

from providers.core.plan import plan
from providers.core.prices import usd
from providers.core.provider import Provider
from providers.core.spec import Mask, ModelSpec
from providers.core.types import AUTO, AspectRatio, ImageRequest, Operation, ResponseFormat, Size
from providers.qwen import MODELS, PROVIDER
from providers.qwen.sizes import ONE_K, TWO_K, Area, ShapeOfInput, area
from providers.qwen.wire import ENDPOINTS
from tests.providers.asking import row, sent
from tests.upstreams.images import png
from tests.upstreams.qwen.limits import LIMITS, A, B, C, D

TIERED = Area(bounds=area(512, 2048, ratio=8), tiers=(ONE_K, TWO_K))
PLAIN = Area(bounds=area(1280, 1440, ratio=4, default="1280x1280"))


def test_the_provider_is_a_provider() -> None:
    """It is found by its name, at the international host unless moved."""
    assert isinstance(PROVIDER, Provider)
    assert PROVIDER.name == "qwen"
    (credential,) = PROVIDER.access.credentials
    assert (credential.env, credential.base_url) == ("DASHSCOPE_API_KEY", "https://dashscope-intl.aliyuncs.com")
    assert (PROVIDER.access.base_url_env, PROVIDER.access.bare_origin) == ("DASHSCOPE_BASE_URL", True)


def test_ids_are_unique() -> None:
    """No id or alias names two rows."""
    names = [name for spec in MODELS for name in (spec.id, *spec.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.id)
def test_every_row_is_documented_and_routed(spec: ModelSpec) -> None:
    """A row names its source and date, an endpoint that exists, and a default size for each of its routes."""
    assert (spec.provider, spec.checked) == ("qwen", date(2026, 11, 22))
    assert spec.source
    assert spec.endpoint in ENDPOINTS
    assert (spec.response_format, spec.output.native) == (ResponseFormat.URL, ResponseFormat.URL)
    assert (spec.inputs is not None) == (Operation.EDIT in spec.operations) == (spec.mask is not Mask.NONE)
    for operation in spec.operations:
        assert spec.size_rule(operation).resolve(None)
        assert spec.size_rule(operation).describe()
        assert spec.size_rule(operation).discovery()


def test_every_row_is_one_the_stand_in_knows() -> None:
    """Rows and the stand-in's own table name the same models and the same endpoints."""
    paths = {A, B, C, D}
    assert {spec.wire_id for spec in MODELS} == set(LIMITS)
    for spec in MODELS:
        path = f"/api/v1/services/aigc{ENDPOINTS[spec.endpoint].path}"
        assert path in paths
        assert path in LIMITS[spec.wire_id].at, spec.id
        assert spec.n.per_call <= LIMITS[spec.wire_id].n, spec.id


def test_a_tier_draws_a_shape_in_its_area() -> None:
    """A ratio is drawn in round steps, as large as the tier."""
    for tier, text in ((None, "1360x768"), ("1K", "1360x768"), ("2K", "2720x1536")):
        answer = TIERED.resolve(AspectRatio(16, 9), tier)
        assert answer
        assert (str(answer.wire), answer.tier) == (text, tier or "1K")


def test_pixels_choose_their_own_tier() -> None:
    """The vendor bills pixels: up to 2,250,000 of them are 1K."""
    for text, tier in (("1500x1500", "1K"), ("1504x1504", "2K")):
        size = Size.parse(text)
        assert size
        answer = TIERED.resolve(size)
        assert answer
        assert (answer.wire, answer.tier, answer.exact) == (size, tier, True)


def test_pixels_of_a_smaller_tier_are_scaled_up_and_reported() -> None:
    """Hd with a small size is neither dropped nor hidden."""
    answer = TIERED.resolve(Size(1024, 1024), "2K")
    assert answer
    assert (answer.pixels, answer.tier, answer.exact) == (Size(2048, 2048), "2K", False)


def test_a_tier_beyond_the_rule_is_its_largest() -> None:
    """A rule never draws beyond its tiers."""
    answer = TIERED.resolve(None, "4K")
    assert answer
    assert (answer.pixels, answer.tier) == (Size(2048, 2048), "2K")


def test_odd_pixels_are_allowed_and_corrections_are_round() -> None:
    """A legal size is sent as it is; one that must be changed lands on steps of sixteen."""
    odd = PLAIN.resolve(Size(1301, 1299))
    assert odd
    assert odd.wire == Size(1301, 1299)
    assert PLAIN.resolve(Size(1000, 1000)) is None
    assert PLAIN.nearest(Size(1536, 1024)).wire == Size(1584, 1056)
    assert PLAIN.resolve(AspectRatio(5, 1)) is None


def test_an_edit_has_the_shape_of_its_input() -> None:
    """Nothing asked, or auto, is the input's shape in the default area; pixels are pixels."""
    rule = ShapeOfInput(PLAIN).around(Size(4000, 3000))
    for asked in (None, AUTO):
        answer = rule.resolve(asked)
        assert answer
        assert (answer.pixels, answer.exact) == (Size(1488, 1120), True)
    assert rule.nearest(AUTO).pixels == Size(1488, 1120)
    pixels = rule.resolve(Size(1280, 1280))
    assert pixels
    assert pixels.wire == Size(1280, 1280)
    assert rule.nearest(Size(1024, 1024)).wire == Size(1280, 1280)


def test_an_extreme_input_is_bounded() -> None:
    """A shape that the model cannot draw becomes the longest one it can."""
    answer = ShapeOfInput(PLAIN).around(Size(4000, 500)).resolve(None)
    assert answer
    assert answer.pixels
    assert PLAIN.bounds.fits(answer.pixels)


def test_an_edit_is_priced_with_its_inputs() -> None:
    """The newest model bills each input image and the tier of what it draws."""
    spec = row(MODELS, "qwen-image-3.0-pro")
    assert spec.prices
    request = ImageRequest(
        operation=Operation.EDIT, prompt="a kite", images=(sent(png(640, 512)),), quality="hd", n=2
    )
    assert plan(request, spec).cost == 2 * spec.prices.images["2K"] + spec.prices.input_image
    assert plan(ImageRequest(operation=Operation.GENERATE, prompt="a kite"), spec).cost == spec.prices.images["1K"]
    wan = row(MODELS, "wan2.7-image-pro")
    assert plan(ImageRequest(operation=Operation.GENERATE, prompt="a kite"), wan).cost == usd(0.075)
