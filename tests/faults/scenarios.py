"""The scenario table: every fault between gateway and provider, and what comes of it, as docs/reliability.md says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tests.faults.fault import End, Fault, Stage, bombed, garbled, http, said, with_length

PATIENCE_S = 0.6
PLENTY_S = 60.0
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"


class Cost(StrEnum):
    """What the provider may have billed."""

    NOTHING = "nothing"
    ONCE = "once"
    MAYBE = "maybe"


class Where(StrEnum):
    """Where the caller finds its picture."""

    ANSWER = "in the answer"
    LATER = "results route, or the same request again"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One fault and its consequences. `status` is None when the caller left first.

    `first`: the fates of a stage's first exchanges; `always`: of all others. `tries`: submits that must be made, a
    storm's at most. `account`: which deployment, by the config of the gateway under test. `stage`: the stage that a
    provider must have for the scenario to mean anything. `ends`: status and code for a repeat, if not the first's.
    """

    name: str
    what: str
    cost: Cost
    where: Where = Where.NOWHERE
    status: int | None = 200
    code: str | None = None
    first: Mapping[Stage, tuple[Fault, ...]] = field(default_factory=dict)
    always: Mapping[Stage, Fault] = field(default_factory=dict)
    tries: int = 1
    account: str = ""
    stage: Stage = Stage.SUBMIT
    deadline_s: float = PLENTY_S
    patience_s: float | None = None
    retry_after: str | None = None
    ends: tuple[int, str] | None = None
    streams: bool = False

    @property
    def sees(self) -> str:
        """What the caller gets, for the document."""
        if self.status is None:
            return "nothing, it left"
        return "200" if self.code is None else f"{self.status} `{self.code}`"

    @property
    def again(self) -> str:
        """Whether a repeat is a new call, for the document."""
        if self.where is Where.ANSWER:
            return "-"
        if self.cost is Cost.NOTHING:
            return "yes"
        return "gets the picture" if self.where is Where.LATER else "no: it gets the same error"

    @property
    def row(self) -> str:
        """The line of the table in docs/reliability.md."""
        cells = (f"`{self.name}`", self.what, self.sees, self.again, self.cost.value, self.where.value)
        return f"| {' | '.join(cells)} |"


def once(fault: Fault, stage: Stage = Stage.SUBMIT) -> Mapping[Stage, tuple[Fault, ...]]:
    """The first exchange of a stage meets a fault."""
    return {stage: (fault,)}


def storm(fault: Fault, stage: Stage = Stage.SUBMIT) -> Mapping[Stage, Fault]:
    """Every exchange of a stage meets it."""
    return {stage: fault}


def fine(name: str, what: str, **more: object) -> Scenario:
    """The picture comes all the same, paid once."""
    return Scenario(name=name, what=what, cost=Cost.ONCE, where=Where.ANSWER, **more)  # type: ignore[arg-type] # fields


def free(name: str, what: str, status: int, code: str, **more: object) -> Scenario:
    """An error that cannot have cost anything."""
    return Scenario(name=name, what=what, cost=Cost.NOTHING, status=status, code=code, **more)  # type: ignore[arg-type] # fields


def broken(name: str, what: str, fault: Fault, **more: object) -> Scenario:
    """The submit's answer is spoilt once; it may have been billed."""
    given = {"status": 502, "code": "upstream_error", "first": once(fault), **more}
    return Scenario(name=name, what=what, cost=Cost.MAYBE, **given)  # type: ignore[arg-type] # fields


def late(name: str, what: str, fault: Fault, **more: object) -> Scenario:
    """The answer comes after the caller's deadline, or after the caller left."""
    given = {"status": 504, "code": "upstream_timeout", "deadline_s": PATIENCE_S, "first": once(fault), **more}
    return Scenario(name=name, what=what, cost=Cost.ONCE, where=Where.LATER, **given)  # type: ignore[arg-type] # fields


RESET = Fault(cut=0, end=End.RST)
SCENARIOS = (
    fine("clean", "nothing goes wrong", streams=True),
    fine("latency", "the answer comes late, before the deadline", first=once(Fault(delay_s=0.15)), streams=True),
    fine("trickle", "the answer's head comes a few bytes at a time", first=once(Fault(piece=97, pause_s=0.0))),
    free(
        "connection-refused",
        "nobody listens at the provider's address",
        502,
        "upstream_error",
        account="refused",
        tries=0,
        streams=True,
    ),
    free("unknown-host", "the provider's name has no address", 502, "upstream_error", account="nameless", tries=0),
    fine("rate-limited-once", "429, then an answer", first=once(said(429)), tries=2, streams=True),
    fine("unavailable-once", "503, then an answer", first=once(said(503, retry_after="1")), tries=2),
    free("429-storm", "429 each time", 429, "rate_limit_exceeded", always=storm(said(429)), tries=3),
    free(
        "429-storm-retry-after",
        "429 each time, with Retry-After",
        429,
        "rate_limit_exceeded",
        always=storm(said(429, retry_after="7")),
        tries=3,
        retry_after="7",
        streams=True,
    ),
    free(
        "429-long-retry-after",
        "429 with a Retry-After beyond our patience of 20 s",
        429,
        "rate_limit_exceeded",
        always=storm(said(429, retry_after="90")),
        retry_after="90",
    ),
    free("503-storm", "503 each time", 503, "service_unavailable", always=storm(said(503)), tries=3),
    free(
        "503-storm-retry-after",
        "503 each time, with Retry-After",
        503,
        "service_unavailable",
        always=storm(said(503, retry_after="5")),
        tries=3,
        retry_after="5",
    ),
    broken("500-page", "500 from a proxy before the provider", said(500), streams=True),
    broken("502-page", "502 from a proxy before the provider", said(502)),
    broken("504-page", "504 from a proxy before the provider", said(504), status=504, code="upstream_timeout"),
    broken("reset-before-head", "reset after the request was read", RESET, streams=True),
    broken("reset-in-head", "reset within the answer's head", Fault(cut=20, end=End.RST)),
    broken("reset-in-body", "reset in the middle of the body", Fault(cut=0.5, end=End.RST), streams=True),
    broken("closed-before-head", "closed after the request was read", Fault(cut=0, end=End.FIN)),
    broken("truncated", "the body ends early", Fault(cut=0.9, end=End.FIN), streams=True),
    broken("half-closed", "the request is read, then the provider's side is shut", Fault(cut=0, end=End.HALF)),
    broken(
        "garbage", "bytes that are not HTTP", Fault(answer=b"\x16\x03\x01\x00 nothing of HTTP\r\n\r\n", end=End.FIN)
    ),
    broken("garbage-body", "a sound head before a body that means nothing", Fault(altered=garbled)),
    broken("empty-body", "200 and no byte", Fault(answer=http(200, b"", "application/json"))),
    broken("length-too-long", "Content-Length promises more than comes", Fault(altered=with_length(9), end=End.FIN)),
    broken(
        "length-too-short", "Content-Length promises less than comes", Fault(altered=with_length(-9), end=End.FIN)
    ),
    broken("gzip-bomb", "a gzip bomb, though identity was asked", Fault(altered=bombed), streams=True),
    late("slow", "the answer comes after the deadline", Fault(cut=0, end=End.HOLD), streams=True),
    late("hang-in-head", "silence within the head until after the deadline", Fault(cut=20, end=End.HOLD)),
    late(
        "hang-in-body", "silence within the body until after the deadline", Fault(cut=0.5, end=End.HOLD), streams=True
    ),
    broken(
        "endless-stream",
        "a stream of comments without an image or an end",
        Fault(answer=STREAM_HEAD, endless=b": still here\n\n" * 64, pause_s=0.01),
        status=504,
        code="upstream_timeout",
        deadline_s=PATIENCE_S,
        ends=(502, "upstream_error"),
        streams=True,
    ),
    broken(
        "endless-body",
        "a JSON answer of spaces without an end",
        Fault(answer=JSON_HEAD, endless=b" " * 4096, pause_s=0.01),
        status=504,
        code="upstream_timeout",
        deadline_s=PATIENCE_S,
        ends=(502, "upstream_error"),
        streams=True,
    ),
    late(
        "caller-leaves",
        "the caller hangs up while the picture is made",
        Fault(cut=0, end=End.HOLD),
        status=None,
        code=None,
        deadline_s=PLENTY_S,
        patience_s=PATIENCE_S,
        streams=True,
    ),
    fine("look-reset", "a look at the task is reset", first=once(RESET, Stage.LOOK), stage=Stage.LOOK),
    fine("look-503-storm", "two looks at the task say 503", first={Stage.LOOK: (said(503),) * 2}, stage=Stage.LOOK),
    fine(
        "look-429",
        "a look at the task says 429",
        first=once(said(429, retry_after="2"), Stage.LOOK),
        stage=Stage.LOOK,
    ),
    fine(
        "look-garbage",
        "a look at the task cannot be read",
        first=once(Fault(altered=garbled), Stage.LOOK),
        stage=Stage.LOOK,
    ),
    fine(
        "look-truncated",
        "a look at the task ends early",
        first=once(Fault(cut=0.5, end=End.FIN), Stage.LOOK),
        stage=Stage.LOOK,
    ),
    fine("picture-reset", "the picture's link is reset once", first=once(RESET, Stage.FETCH), stage=Stage.FETCH),
    fine(
        "picture-503", "the picture's link says 503 twice", first={Stage.FETCH: (said(503),) * 2}, stage=Stage.FETCH
    ),
    fine(
        "picture-truncated",
        "the picture ends early once",
        first=once(Fault(cut=0.5, end=End.FIN), Stage.FETCH),
        stage=Stage.FETCH,
    ),
    Scenario(
        name="picture-lost",
        what="the picture's link fails three times; it is kept in the ledger row",
        cost=Cost.MAYBE,
        status=502,
        code="upstream_error",
        always=storm(said(503), Stage.FETCH),
        stage=Stage.FETCH,
    ),
)
