"""A strict stand-in of DashScope: four image endpoints, tasks, and the provider's own ways of failing."""

from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from tests.upstreams import images
from tests.upstreams.http import Exchange, Reply
from tests.upstreams.qwen.bodies import Invalid, Job, read
from tests.upstreams.qwen.limits import ENDPOINTS, LIMITS, A, B, D
from tests.upstreams.server import StandIn, Trigger, disturb, trigger_in

KEY = "sk-dashscope-test"
# Triggers of this stand-in beside the shared ones.
PARTIAL = "PARTIAL"  # one image fewer than asked; in a task the item says why
BADINPUT = "BADINPUT"  # the provider's own 400
STUCK = "STUCK"  # a task that stays PENDING until it is cancelled
LOST = "LOST"  # a task whose id is UNKNOWN when asked for
TASKFAIL = "TASKFAIL"  # a task that fails with an internal error, HTTP 200
BODYFAIL = "BODYFAIL"  # a call that fails with HTTP 200 and a code in the body

AT_ONCE: dict[str, tuple[int, str, str]] = {
    Trigger.FORBIDDEN: (400, "DataInspectionFailed", "Input data may contain inappropriate content."),
    Trigger.RATELIMIT: (429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
    Trigger.QUOTA: (400, "Arrearage", "Access denied, please make sure your account is in good standing."),
    Trigger.BOOM: (500, "InternalError.Algo", "inference internal error"),
    BADINPUT: (400, "InvalidParameter", "the parameter is not valid"),
    BODYFAIL: (200, "SystemError", "An internal error has occurred."),
}
_LOOKS: tuple[images.Look, ...] = ("gradient", "checker", (200, 60, 40), (40, 90, 200))


@dataclass(slots=True)
class Task:
    """An accepted job; `looks` are left until it is done."""

    job: Job
    path: str
    looks: int
    status: str = "PENDING"
    done: dict[str, Any] | None = None


class Qwen(StandIn):
    """DashScope. `key` is the only key it knows; a task is done at look number `looks`.

    `jobs` holds every valid job in order, `tasks` the tasks by id.
    """

    def __init__(self, key: str = KEY, *, looks: int = 2) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self.tasks: dict[str, Task] = {}
        self._key = key
        self._looks = looks
        self._ids = count(1)

    def handle(self, exchange: Exchange) -> Reply:
        if exchange.header("authorization") != f"Bearer {self._key}":
            return self._error(401, "InvalidApiKey", "Invalid API-key provided.")
        if exchange.method == "POST" and exchange.path in ENDPOINTS:
            return self._submit(exchange)
        match exchange.method, exchange.path.split("/")[1:]:
            case "GET", ["api", "v1", "tasks", name]:
                return self._look(exchange, name)
            case "POST", ["api", "v1", "tasks", name, "cancel"]:
                return self._cancel(name)
        return self._error(404, "NotFound", f"{exchange.method} {exchange.path} does not exist.")

    def _submit(self, exchange: Exchange) -> Reply:
        if (exchange.header("content-type") or "").split(";")[0] != "application/json":
            return self._error(400, "InvalidParameter", "Content-Type must be application/json.")
        try:
            body = exchange.json()
            model = body["model"]
        except (ValueError, KeyError, TypeError):
            return self._error(400, "BadRequest.IllegalInput", "The body is not valid.")
        if (wrong := self._misrouted(exchange, model)) is not None:
            return wrong
        try:
            job = read(exchange.path, body)
        except Invalid as invalid:
            return self._error(400, invalid.code, str(invalid))
        self.jobs.append(job)
        return self._failure(exchange, job) or self._begin(exchange, job)

    def _misrouted(self, exchange: Exchange, model: str) -> Reply | None:
        """Refusals that come before the body is read: model, endpoint, mode."""
        limits = LIMITS.get(model)
        if limits is None:
            return self._error(404, "ModelNotFound", f"Model {model} not exist.")
        if exchange.path not in limits.at:
            return self._error(400, "InvalidParameter", "url error, please check url！")  # noqa: RUF001
        asynchronous = exchange.header("x-dashscope-async")
        if asynchronous is not None and (exchange.path == B or asynchronous != "enable"):
            message = "current user api does not support asynchronous calls"
            return self._error(403, "AccessDenied", message)
        if asynchronous is None and exchange.path != B:
            return self._error(403, "AccessDenied", "current user api does not support synchronous calls.")
        return None

    def _failure(self, exchange: Exchange, job: Job) -> Reply | None:
        """Failures that are told at once; what a task makes is refused later, when it fails."""
        word = next((word for word in AT_ONCE if word in job.prompt), None)
        if word is None or (word == Trigger.FORBIDDEN and exchange.path != B):
            return None
        return self._error(*AT_ONCE[word])

    def _begin(self, exchange: Exchange, job: Job) -> Reply:
        trigger = trigger_in(job.prompt)
        fails = trigger in {Trigger.FORBIDDEN, Trigger.EMPTY} or TASKFAIL in job.prompt
        if exchange.path == B:
            natural = Reply.json(200, self._answered(exchange, job))
        else:
            task = f"0385dc79-5ff8-4d82-bcb6-{next(self._ids):012}"
            self.tasks[task] = Task(job, exchange.path, self._looks)
            output = {"task_status": "PENDING", "task_id": task}
            natural = Reply.json(200, {"output": output, "request_id": self._request_id()})
        return disturb(trigger, natural if fails else replace(natural, paid=True))

    def _look(self, exchange: Exchange, name: str) -> Reply:
        task = self.tasks.get(name)
        if task is None or LOST in task.job.prompt:
            return self._task(name, "UNKNOWN")
        if STUCK not in task.job.prompt:
            task.looks -= 1
            if task.status == "PENDING":
                task.status = "RUNNING"
        if task.looks > 0 or task.status in {"PENDING", "CANCELED"}:
            return self._task(name, task.status)
        if trigger_in(task.job.prompt) is Trigger.FORBIDDEN:
            message = "Output data may contain inappropriate content."
            return self._task(name, "FAILED", code="DataInspectionFailed", message=message)
        if TASKFAIL in task.job.prompt:
            return self._task(name, "FAILED", code="InternalError", message="An internal error has occurred.")
        task.status = "SUCCEEDED"
        if task.done is None:
            task.done = self._finished(exchange, task, name)
        return Reply.json(200, task.done)

    def _cancel(self, name: str) -> Reply:
        task = self.tasks.get(name)
        if task is None or task.status != "PENDING":
            message = "Failed to cancel the task, please confirm if the task is in PENDING status."
            return self._error(400, "UnsupportedOperation", message)
        task.status = "CANCELED"
        return Reply.json(200, {"request_id": self._request_id()})

    def _finished(self, exchange: Exchange, task: Task, name: str) -> dict[str, Any]:
        """A task that succeeded, in the shape of its endpoint; an image that failed is an item without a URL."""
        if task.path not in {A, D}:
            document = self._answered(exchange, task.job)
            document["output"] |= {"task_id": name, "task_status": "SUCCEEDED", "finished": True}
            return document
        links = self._draw(exchange, task.job)
        rewritten = f"{task.job.prompt}, in fine detail" if task.job.parameters.get("prompt_extend", True) else None
        said = {"orig_prompt": task.job.prompt, **({"actual_prompt": rewritten} if rewritten else {})}
        results: list[dict[str, Any]] = [{**said, "url": link} for link in links]
        failed = {"code": "DataInspectionFailed", "message": "Output data may contain inappropriate content."}
        results += [failed for _ in range(task.job.n - len(links)) if PARTIAL in task.job.prompt]
        metrics = {"TOTAL": task.job.n, "SUCCEEDED": len(links), "FAILED": task.job.n - len(links)}
        output = {"task_id": name, "task_status": "SUCCEEDED", "results": results, "task_metrics": metrics}
        return {"request_id": self._request_id(), "output": output, "usage": {"image_count": len(links)}}

    def _answered(self, exchange: Exchange, job: Job) -> dict[str, Any]:
        """The synchronous answer: every image is a part of one choice."""
        links = self._draw(exchange, job)
        content: list[dict[str, Any]] = [{"image": link} for link in links]
        if not LIMITS[job.model].counted:
            content.append({"text": f"{job.prompt}, in fine detail"})
        message = {"role": "assistant", "content": content}
        choices = [{"finish_reason": "stop", "message": message}] if links else []
        usage = {"image_count": len(links), "width": job.width, "height": job.height}
        return {"request_id": self._request_id(), "output": {"choices": choices}, "usage": usage}

    def _draw(self, exchange: Exchange, job: Job) -> list[str]:
        """Links to the pictures of a job, on this server: the host by which the caller knows it."""
        made = 0 if trigger_in(job.prompt) is Trigger.EMPTY else job.n - (PARTIAL in job.prompt)
        links = []
        for index in range(made):
            picture = images.png(job.width, job.height, _LOOKS[index % len(_LOOKS)])
            path = f"/results/{next(self._ids)}.png"
            self.publish(path, "image/png", picture)
            links.append(f"http://{exchange.header('host')}{path}?Expires=1795000000&Signature=a%2Bb")
        return links

    def _task(self, name: str, status: str, **more: str) -> Reply:
        output = {"task_id": name, "task_status": status, **more}
        return Reply.json(200, {"request_id": self._request_id(), "output": output})

    def _error(self, status: int, code: str, message: str) -> Reply:
        return Reply.json(status, {"code": code, "message": message, "request_id": self._request_id()})

    def _request_id(self) -> str:
        return f"7574ee8f-38a3-4b1e-9280-{next(self._ids):012}"
