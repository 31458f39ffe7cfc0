"""providers.qwen over a socket: against the strict stand-in, and beside the vendor's own client."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from dashscope import Client as DashScope
from dashscope.v2.errors import DashScopeError

from providers.core.errors import (
    DeadlinePassed,
    Refused,
    UpstreamAuth,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFailure,
    UpstreamModelMissing,
    UpstreamQuota,
    UpstreamRateLimited,
)
from providers.core.plan import Call
from providers.core.provider import Completed, Link
from providers.core.spec import Mask, ModelSpec
from providers.core.types import Operation, Policy, Size
from providers.kit.client import Client
from providers.kit.deployment import Deployment
from providers.kit.journal import Journal
from providers.kit.retry import RetryRule
from providers.kit.transport import HTTPTransport
from providers.qwen import MODELS, PROVIDER
from tests.providers.asking import call, row, sent
from tests.upstreams.images import mask_png, png
from tests.upstreams.qwen import BADINPUT, BODYFAIL, KEY, LOST, PARTIAL, STUCK, TASKFAIL, Qwen

SOURCE = sent(png(640, 512, (0, 0, 200)))
TASK = "wan2.2-t2i-flash"
SYNC = "qwen-image-2.0"
VALUES = {
    "seed": 0,
    "negative_prompt": "fog",
    "prompt_extend": False,
    "watermark": False,
    "style": "watercolor",
}


class Hurried:
    """A clock on which waiting takes no time."""

    def __init__(self) -> None:
        self.at = 0.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.at

    def time(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)


async def performed(server: Qwen, asked: Call, clock: Hurried | None = None, key: str = KEY) -> Completed:
    transport, clock = HTTPTransport(), clock or Hurried()
    client = Client(transport, clock, RetryRule(clock, attempts=1))
    deployment = Deployment(provider=PROVIDER, base_url=server.url, key=key)
    try:
        return await client.perform((deployment,), asked, clock.now() + 60, Journal())
    finally:
        await transport.close()


async def failure(server: Qwen, asked: Call, clock: Hurried | None = None, key: str = KEY) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await performed(server, asked, clock, key)
    return caught.value


ROUTES = [(spec, operation) for spec in MODELS for operation in sorted(spec.operations)]


@pytest.mark.parametrize(("spec", "operation"), ROUTES, ids=[f"{spec.id}-{operation}" for spec, operation in ROUTES])
async def test_every_row_draws_on_its_routes(spec: ModelSpec, operation: Operation) -> None:
    """The strict server takes every option of every row, and draws the size that the row promises."""
    options = {name: VALUES[name] for name in spec.options}
    inputs = spec.inputs.count if spec.inputs else 0
    images = (SOURCE,) * inputs if operation is Operation.EDIT else ()
    asked = call(spec, options=options, images=images)
    asked = replace(asked, n=spec.n.per_call)
    with Qwen() as server:
        made = await performed(server, asked)
        (job,) = server.jobs
    assert len(made.images) == asked.n == job.n
    assert server.paid == 1
    assert (job.negative, job.parameters.get("seed")) == (options.get("negative_prompt"), 0)
    if asked.resolution.pixels:
        assert Size(job.width, job.height) == asked.resolution.pixels
    assert all(isinstance(image.content, Link) for image in made.images)


@pytest.mark.parametrize("spec", [spec for spec in MODELS if spec.mask is Mask.EMULATED], ids=lambda spec: spec.id)
def test_an_emulated_mask_edits_in_the_masks_shape(spec: ModelSpec) -> None:
    """What is composited later has the first image's shape, though the last image has another."""
    mask = sent(mask_png(640, 512, (0, 0, 320, 512)), "mask")
    images = (SOURCE, sent(png(512, 512)))[: spec.inputs.count if spec.inputs else 1]
    drawn = call(spec, images=images, mask=mask).resolution.pixels
    if drawn:
        assert SOURCE.size.ratio.distance(drawn) < 0.03


async def test_an_edit_asked_for_4k_is_drawn_in_2k() -> None:
    """The stand-in refuses an edit of more than 2048 squared pixels; what a lenient caller's 4k becomes is taken."""
    spec = row(MODELS, "wan2.7-image-pro")
    with Qwen() as server:
        await performed(server, call(spec, quality="4k", images=(SOURCE,), policy=Policy.LENIENT))
        await performed(server, call(spec, quality="4k"))
        edited, drawn = server.jobs
    assert 2048 * 2048 * 0.95 < edited.width * edited.height <= 2048 * 2048
    assert (drawn.width, drawn.height) == (4096, 4096)


async def test_a_native_mask_arrives_as_white_on_black() -> None:
    """The stand-in reads one channel as large as the image, white where the caller's mask is transparent."""
    mask = sent(mask_png(640, 512, (0, 0, 320, 512)), "mask")
    with Qwen() as server:
        await performed(server, call(row(MODELS, "wanx2.1-imageedit"), images=(SOURCE,), mask=mask))
        drawn = server.jobs[0].mask
    assert drawn
    assert (drawn.getpixel((0, 0)), drawn.getpixel((639, 0))) == (255, 0)


async def test_a_task_is_looked_at_within_limits() -> None:
    """Looks start after a second and grow apart to five, with the credential and nothing else of ours."""
    clock = Hurried()
    with Qwen(looks=6) as server:
        await performed(server, call(row(MODELS, TASK)), clock)
        looks = [each for each in server.exchanges if each.method == "GET"]
    assert clock.waits == [1.0, 1.5, 2.25, 3.375, 5.0, 5.0]
    assert {each.header("authorization") for each in looks} == {f"Bearer {KEY}"}
    assert {each.header("x-dashscope-async") for each in looks} == {None}


async def test_a_pending_task_is_cancelled_at_the_deadline() -> None:
    """A task that never began costs nothing when it is cancelled in time."""
    with Qwen() as server:
        error = await failure(server, call(row(MODELS, TASK), STUCK))
        (task,) = server.tasks.values()
    assert type(error) is DeadlinePassed
    assert task.status == "CANCELED"
    assert [each.path for each in server.exchanges].count(f"/api/v1/tasks/{next(iter(server.tasks))}/cancel") == 1


async def test_a_running_task_is_left_to_end() -> None:
    """What has begun is paid for anyway, and the provider would refuse to cancel it."""
    with Qwen(looks=1000) as server:
        error = await failure(server, call(row(MODELS, TASK)))
    assert type(error) is DeadlinePassed
    assert not [each for each in server.exchanges if each.path.endswith("/cancel")]


@pytest.mark.parametrize("model", [TASK, SYNC])
async def test_fewer_images_are_delivered_and_counted(model: str) -> None:
    """A partial answer keeps its images and says how many are missing."""
    with Qwen() as server:
        made = await performed(server, call(row(MODELS, model), PARTIAL, n=3))
    assert (len(made.images), len(made.failures)) == (2, 1)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("FORBIDDEN", Refused),
        ("RATELIMIT", UpstreamRateLimited),
        ("QUOTA", UpstreamQuota),
        ("BOOM", UpstreamError),
        ("HTML502", UpstreamError),
        ("TRUNCATE", UpstreamError),
        ("EMPTY", UpstreamError),
        ("GARBAGE", UpstreamError),
        (BADINPUT, UpstreamBadRequest),
        (BODYFAIL, UpstreamError),
    ],
)
@pytest.mark.parametrize("model", [TASK, SYNC])
async def test_failures_have_one_name(model: str, word: str, kind: type[UpstreamFailure]) -> None:
    """Tasks and calls fail differently on the wire and alike for the caller."""
    with Qwen() as server:
        assert type(await failure(server, call(row(MODELS, model), word))) is kind


@pytest.mark.parametrize("word", [LOST, TASKFAIL])
async def test_tasks_that_come_to_nothing_are_errors(word: str) -> None:
    """A lost or failed task answers HTTP 200; both may have been billed and are not sent again."""
    with Qwen() as server:
        error = await failure(server, call(row(MODELS, TASK), word))
        submits = [each for each in server.exchanges if each.method == "POST"]
    assert (type(error), error.billed, len(submits)) == (UpstreamError, True, 1)


async def test_the_key_and_the_model_are_checked() -> None:
    """A bad key is an error of ours; a model that is not in the region is missing."""
    with Qwen() as server:
        assert type(await failure(server, call(row(MODELS, SYNC)), key="sk-other")) is UpstreamAuth
        gone = replace(row(MODELS, SYNC), upstream_id="qwen-image-9")
        assert type(await failure(server, call(gone))) is UpstreamModelMissing


@pytest.mark.parametrize(
    ("model", "endpoint"), [(TASK, "multimodal"), (SYNC, "text2image"), (SYNC, "image-generation")]
)
async def test_a_wrong_endpoint_is_noticed(model: str, endpoint: str) -> None:
    """A row that names the wrong endpoint fails as ours, unbilled."""
    with Qwen() as server:
        error = await failure(server, call(replace(row(MODELS, model), endpoint=endpoint)))
    assert (type(error), error.billed) == (UpstreamError, False)


# Beside the vendor's own client. It sends any local path in a prompt or an image to storage, so it is for tests only.


def by_sdk(server: Qwen, model: str, **wishes: Any) -> list[str]:
    with DashScope(api_key=KEY, base_url=f"{server.url}/api/v1") as client:
        job = client.images.jobs.create(model=model, prompt="a red kite", **wishes)
        done = client.images.jobs.wait(job, poll_interval=0.01)
    found: list[str] = done.image_urls
    return found


@pytest.mark.parametrize("model", [TASK, "wan2.5-t2i-preview", "wan2.6-t2i", "wanx-v1", "wanx2.1-t2i-plus"])
async def test_the_official_client_sends_the_same_document(model: str) -> None:
    """For tasks both go to one address with one header and equal documents, key for key."""
    spec = row(MODELS, model)
    options = {name: VALUES[name] for name in spec.options if name != "style"}
    default = spec.sizes.resolve(None)
    assert default
    with Qwen() as server:
        links = await asyncio.to_thread(by_sdk, server, model, n=1, size=str(default.pixels), **options)
        await performed(server, call(spec, options=options))
        theirs, ours = (each for each in server.exchanges if each.method == "POST")
    assert len(links) == 1
    assert (theirs.path, theirs.json()) == (ours.path, ours.json())
    for name in ("authorization", "x-dashscope-async", "content-type"):
        assert theirs.header(name) == ours.header(name)


def test_the_official_client_is_answered_at_once() -> None:
    """The synchronous endpoint takes what the client sends, and its answer is read."""
    with Qwen() as server, DashScope(api_key=KEY, base_url=f"{server.url}/api/v1") as client:
        job = client.images.generate(model="wan2.6-t2i", prompt="a red kite", n=2, size="1280x1280")
        (sync,) = server.exchanges
    assert len(job.image_urls) == 2
    assert json.loads(sync.body)["parameters"] == {"n": 2, "size": "1280*1280"}


@pytest.mark.parametrize("word", ["FORBIDDEN", "QUOTA", "RATELIMIT", "BADINPUT"])
def test_the_official_client_reads_our_errors(word: str) -> None:
    """The stand-in's failures are such that the vendor's client knows them."""
    with (
        Qwen(looks=1) as server,
        DashScope(api_key=KEY, base_url=f"{server.url}/api/v1", max_retries=0) as client,
        pytest.raises(DashScopeError),
    ):
        client.images.generate(model=TASK, prompt=word)
