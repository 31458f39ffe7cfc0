"""OpenAI's server as far as images go: routes, credential, triggers."""

from dataclasses import replace
from itertools import count
from typing import Any

from tests.upstreams.http import Exchange, Reply
from tests.upstreams.openai import answers
from tests.upstreams.openai.checks import check_edit, check_generation, rules_for
from tests.upstreams.openai.refusal import Refusal, blocked, invalid, out_of_credit, rate_limited, server_error
from tests.upstreams.openai.rules import MODELS, SHUTDOWN, Rules
from tests.upstreams.openai.wish import Wish, read_edit, read_generation
from tests.upstreams.server import RETRY_AFTER_S, StandIn, Trigger, disturb, trigger_in

_METHODS = {"/v1/images/generations": "POST", "/v1/images/edits": "POST", "/v1/models": "GET"}
BADINPUT = "BADINPUT"  # in a prompt: refused by the service though every rule above was kept
PARTIAL = "PARTIAL"  # in a prompt: one image fewer than asked
_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


class OpenAIStandIn(StandIn):
    """POST /v1/images/generations, POST /v1/images/edits (form and JSON), GET /v1/models[/{id}].

    Models in `retired` answer 410; others are served whatever their dates, as compatible engines do.
    `event_delay_s` is the pause between the events of a stream.
    """

    def __init__(self, key: str = "sk-openai-test", *, retired: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.key = key
        self.retired = retired
        self.event_delay_s = 0.0
        self._numbers = count(1)

    @property
    def base_url(self) -> str:
        """What `OPENAI_BASE_URL` takes: ends in /v1."""
        return f"{self.url}/v1"

    def handle(self, exchange: Exchange) -> Reply:
        request_id = f"req_{next(self._numbers):032x}"
        try:
            reply = self._routed(exchange, request_id)
        except Refusal as refusal:
            reply = refusal.reply()
        if (reply.header("content-type") or "").startswith("text/html"):
            return reply  # a proxy's page, not OpenAI's
        marks = (("x-request-id", request_id), ("openai-processing-ms", "1234"), ("openai-version", "2020-10-01"))
        return replace(reply, headers=(*reply.headers, *marks))

    def _routed(self, exchange: Exchange, request_id: str) -> Reply:
        if exchange.header("authorization") != f"Bearer {self.key}":
            message = "Incorrect API key provided."
            raise Refusal(message, code="invalid_api_key", status=401)
        path = exchange.path
        if path == "/v1/images/variations":
            raise Refusal("The variations endpoint was retired.", code="endpoint_retired", status=410)
        wanted = "GET" if path.startswith("/v1/models/") else _METHODS.get(path)
        if wanted is None:
            raise Refusal(f"Invalid URL ({exchange.method} {path})", code=None, status=404)
        if wanted != exchange.method:
            message = f"Not allowed to {exchange.method} on {path}."
            raise Refusal(message, code="method_not_supported", status=405)
        if wanted == "GET":
            return _models(path.removeprefix("/v1/models").removeprefix("/"))
        return self._pictured(exchange, request_id)

    def _pictured(self, exchange: Exchange, request_id: str) -> Reply:
        is_edit = exchange.path.endswith("/edits")
        wish = read_edit(exchange) if is_edit else read_generation(exchange)
        rules = rules_for(wish.fields, self.retired)
        (check_edit if is_edit else check_generation)(wish, rules)
        trigger = trigger_in(wish.fields["prompt"])
        _refuse(trigger, request_id)
        if BADINPUT in wish.fields["prompt"]:
            raise invalid("The prompt could not be processed.", "prompt")
        return disturb(trigger, replace(self._natural(wish, rules, trigger), paid=True))

    def _natural(self, wish: Wish, rules: Rules, trigger: Trigger | None) -> Reply:
        if wish.fields.get("stream"):
            events = [] if trigger is Trigger.EMPTY else answers.events(wish, self._drawn)
            return Reply.sse(events, chunk_delay_s=self.event_delay_s)
        total = 0 if trigger is Trigger.EMPTY else wish.fields.get("n", 1) - (PARTIAL in wish.fields["prompt"])
        images = [self._drawn(wish, index) for index in range(total)]
        if rules.gpt:
            items = [{"b64_json": answers.encoded(data)} for data in images]
            return Reply.json(200, answers.body(wish, items))
        items = [self._dall_e_item(wish, data) for data in images]
        return Reply.json(200, {"created": answers.CREATED, "data": items})

    def _drawn(self, wish: Wish, index: int) -> bytes:
        """The encoded image number `index`."""
        return answers.drawn(wish, index)

    def _dall_e_item(self, wish: Wish, data: bytes) -> dict[str, str]:
        """A link that the stand-in serves, or base64; dall-e-3 tells the prompt it used."""
        if wish.fields.get("response_format") == "b64_json":
            item = {"b64_json": answers.encoded(data)}
        else:
            item = {"url": self.publish(f"/results/img-{next(self._numbers)}.png", _TYPES["png"], data)}
        if "style" in MODELS[wish.fields["model"]].generations:
            item["revised_prompt"] = f"{wish.fields['prompt']}, in a plain gradient"
        return item


def _refuse(trigger: Trigger | None, request_id: str) -> None:
    """The refusals that triggers ask for, in OpenAI's words and codes."""
    if trigger is Trigger.FORBIDDEN:
        raise blocked(request_id)
    if trigger is Trigger.RATELIMIT:
        raise rate_limited(RETRY_AFTER_S)
    if trigger is Trigger.QUOTA:
        raise out_of_credit()
    if trigger is Trigger.BOOM:
        raise server_error()


def _models(name: str) -> Reply:
    if not name:
        return Reply.json(200, {"object": "list", "data": [_model(each) for each in MODELS]})
    if name not in MODELS:
        message = f"The model '{name}' does not exist or you do not have access to it."
        raise Refusal(message, code="model_not_found", status=404)
    return Reply.json(200, _model(name))


def _model(name: str) -> dict[str, Any]:
    doc: dict[str, Any] = {"id": name, "object": "model", "created": 1_745_000_000, "owned_by": "system"}
    return {**doc, "shutdown_date": SHUTDOWN.get(name)}
