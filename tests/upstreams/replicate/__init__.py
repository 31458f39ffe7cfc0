"""A strict stand-in of api.replicate.com: predictions of the FLUX models, looked at until they are done."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

from PIL import Image

from tests.upstreams.http import Exchange, Reply
from tests.upstreams.images import encode, picture
from tests.upstreams.replicate.inputs import MODELS, InputError, Job
from tests.upstreams.server import StandIn, Trigger, disturb, trigger_in

KEY: Final = "r8_StandInStandInStandInStandInStandIn"
LOOKS: Final = 2  # a prediction is under way for so many looks
PARTIAL: Final = "PARTIAL"  # the safety check leaves the first picture out
BADINPUT: Final = "BADINPUT"  # the API's own 422
NSFW: Final = "NSFW"  # every picture is left out
CRASH: Final = "CRASH"  # the model fails
DEMAND: Final = "DEMAND"  # the model fails for lack of machines
ENDLESS: Final = "ENDLESS"  # never done
WAITING: Final = "WAITING"  # never begun
_BODY_FIELDS: Final = {"input", "webhook", "webhook_events_filter", "stream"}
_SUBMIT = re.compile(r"/v1/models/([\w.-]+/[\w.-]+)/predictions")
_LOOK = re.compile(r"/v1/predictions/(\w+)(/cancel)?")
_FAILURES: Final = {
    NSFW: "All generated images contained NSFW content. Try running it again with a different prompt.",
    Trigger.FORBIDDEN: "The input or output was flagged as sensitive. Please try again with different inputs. (E005)",
    DEMAND: "Service is currently unavailable due to high demand. Please try again later. (E003) (uIJ6l3ruRD)",
    CRASH: "CUDA out of memory. Tried to allocate 2.00 GiB.",
}


@dataclass(slots=True)
class Prediction:
    """One prediction and how often it was looked at."""

    id: str
    model: str
    job: Job
    status: str = "starting"
    looks: int = 0
    output: Any = None
    error: str | None = None
    logs: list[str] = field(default_factory=list)


def problem(status: int, title: str | None, detail: str) -> Reply:
    document: dict[str, Any] = {"detail": detail, "status": status}
    return Reply.json(status, document if title is None else {"title": title, **document})


class ReplicateServer(StandIn):
    """Keeps predictions; results are files of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.predictions: dict[str, Prediction] = {}

    def handle(self, exchange: Exchange) -> Reply:
        if exchange.header("authorization") != f"Bearer {KEY}":
            return problem(401, "Unauthenticated", "You did not pass a valid authentication token")
        if exchange.method == "POST" and (match := _SUBMIT.fullmatch(exchange.path)):
            return self._submitted(exchange, match[1])
        match = _LOOK.fullmatch(exchange.path)
        prediction = self.predictions.get(match[1]) if match else None
        if match is None or prediction is None or (exchange.method == "POST") != bool(match[2]):
            return problem(404, None, "The requested resource could not be found.")
        if match[2]:
            prediction.status = "canceled"
        else:
            self._advance(prediction)
        return Reply.json(200, self._shown(prediction))

    def _submitted(self, exchange: Exchange, name: str) -> Reply:
        if name not in MODELS:
            return problem(404, None, "The requested resource could not be found.")
        try:
            document = exchange.json()
        except ValueError:
            return problem(400, "Malformed request", "The request body is not valid JSON")
        if (
            not isinstance(document, dict)
            or set(document) - _BODY_FIELDS
            or not isinstance(document.get("input"), dict)
        ):
            return problem(422, "Input validation failed", "- input is required and nothing else is allowed")
        try:
            job = Job.read(MODELS[name], document["input"])
        except InputError as error:
            return Reply.json(422, error.document)
        prompt = job.fields["prompt"]
        trigger = trigger_in(prompt)
        if (refused := _refused(trigger, prompt)) is not None:
            return refused
        prediction = Prediction(
            hashlib.sha256(exchange.body).hexdigest()[:26] + str(len(self.predictions)), name, job
        )
        self.predictions[prediction.id] = prediction
        return disturb(trigger, replace(Reply.json(201, self._shown(prediction)), paid=True))

    def _shown(self, prediction: Prediction) -> dict[str, Any]:
        own = f"{self.url}/v1/predictions/{prediction.id}"
        return {
            "id": prediction.id,
            "model": prediction.model,
            "version": "hidden",
            "input": {"prompt": prediction.job.fields["prompt"]},
            "logs": "\n".join(prediction.logs),
            "output": prediction.output,
            "data_removed": False,
            "error": prediction.error,
            "source": "api",
            "status": prediction.status,
            "created_at": "2026-11-23T10:00:00.000Z",
            "urls": {"get": own, "cancel": f"{own}/cancel", "web": f"https://replicate.com/p/{prediction.id}"},
        }

    def _advance(self, prediction: Prediction) -> None:
        prediction.looks += 1
        if prediction.status not in {"starting", "processing"}:
            return
        prompt = prediction.job.fields["prompt"]
        if WAITING in prompt:
            return
        prediction.status = "processing"
        if prediction.looks < LOOKS or ENDLESS in prompt:
            return
        failed = next((text for word, text in _FAILURES.items() if word in prompt), None)
        if failed:
            prediction.status, prediction.error = "failed", failed
            return
        prediction.status = "succeeded"
        made = [] if Trigger.EMPTY in prompt else list(range(prediction.job.fields.get("num_outputs", 1)))
        if PARTIAL in prompt:
            prediction.logs.append(f"NSFW content detected in image {made.pop(0)}")
        urls = [self._stored(prediction, index) for index in made]
        prediction.output = urls if prediction.job.model.listed else next(iter(urls), None)

    def _stored(self, prediction: Prediction, index: int) -> str:
        job = prediction.job
        kind = job.fields.get("output_format", job.model.format)
        named = "jpeg" if kind == "jpg" else kind
        data = encode(_painted(job, index), named)
        return self.publish(f"/xezq/{prediction.id}/out-{index}.{kind}", f"image/{named}", data)


def _refused(trigger: Trigger | None, prompt: str) -> Reply | None:
    if BADINPUT in prompt:
        return Reply.json(422, InputError("prompt", "must be in English").document)
    if trigger is Trigger.RATELIMIT:
        return problem(429, None, "Request was throttled. Your rate limit resets in ~30s.")
    if trigger is Trigger.QUOTA:
        return problem(402, "Insufficient credit", "You have insufficient credit to run this model.")
    if trigger is Trigger.BOOM:
        return problem(500, "Internal server error", "An unexpected error occurred.")
    return None


def _painted(job: Job, index: int) -> Image.Image:
    seed = f"{job.fields['prompt']}/{job.fields.get('seed', 1)}/{index}"
    red, green, blue = hashlib.sha256(seed.encode()).digest()[:3]
    paint = picture(*job.size, (red, green, blue))
    if "mask" in job.pictures and job.base is not None:
        return Image.composite(paint, job.base.convert("RGB"), job.pictures["mask"][0].convert("L"))
    return paint
