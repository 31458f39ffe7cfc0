"""The choice among the deployments of a model, and what is known of each: one object for the life of the process."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from providers.core.errors import (
    BreakerOpen,
    DeadlinePassed,
    UpstreamAuth,
    UpstreamError,
    UpstreamFailure,
    UpstreamModelMissing,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from providers.kit.breaker import Breaker, BreakerRule, State
from providers.kit.clock import Clock
from providers.kit.deployment import Deployment
from providers.kit.report import Change, Heard, Report

COOL_SECONDS: Final = 1.0
LONGEST_COOL_SECONDS: Final = 60.0
AWAY_SECONDS: Final = 60.0
LATE_SECONDS: Final = 290.0
# An account that is refused as such; another account may be served.
ACCOUNT: Final = (UpstreamAuth, UpstreamQuota, UpstreamModelMissing)
_EVERY_MODEL: Final = ""
_FORBIDDEN: Final = 403


class Lease:
    """A request's place at a deployment, used with `with`; what it ends with is what the pool learns."""

    __slots__ = ("_condition", "deployment", "model", "number", "patience", "started")

    def __init__(
        self,
        deployment: Deployment,
        condition: _Condition,
        model: str,
        *,
        number: int,
        started: float,
        patience: float,
    ) -> None:
        """`patience` is after how many seconds it is late."""
        self.deployment = deployment
        self.model = model
        self.number = number
        self.started = started
        self.patience = patience
        self._condition = condition

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._condition.ended(self, error)

    def well(self) -> None:
        """The image is here; what its delivery takes from now on says nothing of the deployment."""
        self._condition.ended(self, None)


@dataclass(frozen=True, slots=True)
class _Cooling:
    """Until when, why, and whether the upstream said so: a pause that is our guess leaves no request unserved."""

    until: float
    kind: type[UpstreamFailure]
    told: bool


class _Condition:
    """What is known of one account at one address."""

    def __init__(self, clock: Clock, rule: BreakerRule, heard: Heard) -> None:
        self._clock = clock
        self._heard = heard
        self._begun: dict[float, dict[Lease, None]] = {}  # by patience, each in the order of its beginnings
        self._late: set[Lease] = set()
        self.breaker = Breaker(clock, rule)
        self.credit = 0
        self.cooling: dict[str, _Cooling] = {}
        self.away: dict[str, float] = {}
        self.last_error: str | None = None

    @property
    def in_flight(self) -> int:
        return sum(map(len, self._begun.values())) + len(self._late)

    def admits(self, model: str, now: float, *, waited: bool = False) -> bool:
        cooling = self.cooling.get(model)
        return self.breaker.admits and (waited or cooling is None or not cooling.told or cooling.until <= now)

    def is_away(self, model: str, now: float) -> bool:
        """Whether it failed lately in a way that will pass: it is asked only when no other can be."""
        cooling = self.cooling.get(model)
        if cooling is not None and cooling.until > now:
            return True
        return any(self.away.get(name, now) > now for name in (_EVERY_MODEL, model)) if self.away else False

    def enter(self, deployment: Deployment, model: str, *, now: float, patience: float) -> Lease:
        lease = Lease(deployment, self, model, number=self.breaker.enter(), started=now, patience=patience)
        self._begun.setdefault(patience, {})[lease] = None
        return lease

    def miss(self, now: float) -> None:
        """A request that has not ended when its patience is over is a timeout."""
        for patience, begun in self._begun.items():
            while begun and (lease := next(iter(begun))).started <= now - patience:
                del begun[lease]
                self._late.add(lease)
                self._judge(lease, UpstreamTimeout("No answer in time."))

    def ended(self, lease: Lease, error: BaseException | None) -> None:
        begun = self._begun[lease.patience]
        if lease not in begun:
            self._late.discard(lease)
            return
        del begun[lease]
        if error is None:
            self.cooling.pop(lease.model, None)
            for name in (_EVERY_MODEL, lease.model):
                self.away.pop(name, None)
        self._judge(lease, error)

    def _judge(self, lease: Lease, error: BaseException | None) -> None:
        verdict = _verdict(error)
        if isinstance(error, UpstreamFailure):
            if verdict is False or isinstance(error, (UpstreamRateLimited, *ACCOUNT)):
                self.last_error = type(error).__name__
            self._rest(lease, error)
        changed = self.breaker.leave(lease.number, verdict)
        if changed is not None:
            change = Change.OPENED if changed is State.OPEN else Change.CLOSED
            self._heard(lease.deployment, change, self.last_error or "")

    def _rest(self, lease: Lease, error: UpstreamFailure) -> None:
        now = self._clock.now()
        wait = error.retry_after
        if isinstance(error, UpstreamRateLimited) or (isinstance(error, UpstreamUnavailable) and wait is not None):
            seconds = min(COOL_SECONDS if wait is None else wait, LONGEST_COOL_SECONDS)
            kind = UpstreamRateLimited if isinstance(error, UpstreamRateLimited) else UpstreamUnavailable
            before = self.cooling.get(lease.model)
            if before is None or before.until <= now:
                self._heard(lease.deployment, Change.COOLING, type(error).__name__)
            self.cooling[lease.model] = _Cooling(now + seconds, kind, told=wait is not None)
        elif isinstance(error, ACCOUNT):
            whole = not isinstance(error, UpstreamModelMissing) and error.upstream_status != _FORBIDDEN
            name = _EVERY_MODEL if whole else lease.model
            if name not in self.away:
                self._heard(lease.deployment, Change.REFUSED, type(error).__name__)
            self.away[name] = now + AWAY_SECONDS


class Pool:
    """Takes the deployment with the least in flight for its weight; equals take turns by weight.

    Passed over: an open breaker; a model that an upstream told us to wait for; and where another can be asked, a
    model that was slowed down without a time, and an account that was refused.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        rule: BreakerRule | None = None,
        late_seconds: float = LATE_SECONDS,
        heard: Heard = lambda deployment, change, error: None,  # noqa: ARG005 - nobody listens
    ) -> None:
        """A request that has not ended after `late_seconds` counts as a timeout, one of a slow model later."""
        self._clock = clock
        self._rule = rule or BreakerRule()
        self._late_seconds = late_seconds
        self._heard = heard
        self._conditions: dict[tuple[str, str, str, str], _Condition] = {}

    def take(
        self,
        options: Sequence[Deployment],
        model: str,
        tried: Collection[Deployment] = (),
        *,
        waited: bool = False,
        usual_seconds: float = 0.0,
    ) -> Lease | None:
        """A place at one of these, not at one that was tried; None where there is none now.

        Who `waited` for as long as it was told is let in, though a timer may run a little ahead of the clock. A model
        that may take `usual_seconds` is not late before.
        """
        now = self._clock.now()
        able = self._able(options, model, tried, waited=waited)
        if not able:
            return None
        wanted = [pair for pair in able if not pair[1].is_away(model, now)] or able
        deployment, condition = wanted[0] if len(wanted) == 1 else _chosen(wanted)
        return condition.enter(deployment, model, now=now, patience=max(self._late_seconds, usual_seconds))

    def able(self, options: Sequence[Deployment], model: str, tried: Collection[Deployment] = ()) -> bool:
        """Whether `take` would find one."""
        return bool(self._able(options, model, tried))

    def advise(self, error: UpstreamFailure, options: Sequence[Deployment], model: str) -> bool:
        """Whether waiting may help: nobody waits for a breaker.

        Sets the error's `retry_after` to when the first of these can be taken; one upstream's own word stands.
        """
        seconds, kind = self._soonest(options, model)
        if seconds and kind is BreakerOpen:
            return False
        if len(options) > 1 or error.retry_after is None:
            error.retry_after = seconds or None
        return True

    def obstacle(self, options: Sequence[Deployment], model: str) -> UpstreamFailure:
        """Why none can be taken; `retry_after` is when one can."""
        seconds, kind = self._soonest(options, model)
        said = {
            UpstreamRateLimited: "The provider asked for a pause",
            UpstreamUnavailable: "The provider is overloaded and asked for a pause",
            BreakerOpen: "The provider has been failing and is left alone",
        }
        message = f"{said[kind]}; it can be tried again in {max(1, round(seconds + 0.5))} s."
        return kind(message, provider=options[0].provider.name, retry_after=max(seconds, 0.001))

    def report(self, deployment: Deployment) -> Report:
        """How a deployment does."""
        now = self._clock.now()
        condition = self._of(deployment)
        condition.miss(now)
        return Report(
            state=condition.breaker.state,
            in_flight=condition.in_flight,
            cooling={model: one.until - now for model, one in condition.cooling.items() if one.until > now},
            refused=any(until > now for until in condition.away.values()),
            well=condition.breaker.window.well,
            badly=condition.breaker.window.badly,
            last_error=condition.last_error,
        )

    def _able(
        self, options: Sequence[Deployment], model: str, tried: Collection[Deployment], *, waited: bool = False
    ) -> list[tuple[Deployment, _Condition]]:
        now = self._clock.now()
        found = []
        for option in options:
            condition = self._of(option)
            condition.miss(now)
            if option not in tried and condition.admits(model, now, waited=waited):
                found.append((option, condition))
        return found

    def _soonest(self, options: Sequence[Deployment], model: str) -> tuple[float, type[UpstreamFailure]]:
        """How long until one of these can be taken, and what stands in the way until then."""
        return min((self._wait(option, model) for option in options), key=lambda found: found[0])

    def _wait(self, deployment: Deployment, model: str) -> tuple[float, type[UpstreamFailure]]:
        condition = self._of(deployment)
        closed, cooling = condition.breaker.wait, condition.cooling.get(model)
        seconds = cooling.until - self._clock.now() if cooling is not None and cooling.told else 0.0
        return (seconds, cooling.kind) if cooling is not None and seconds > closed else (closed, BreakerOpen)

    def _of(self, deployment: Deployment) -> _Condition:
        account = deployment.account
        found = self._conditions.get(account)
        if found is None:
            found = self._conditions[account] = _Condition(self._clock, self._rule, self._heard)
        return found


def _chosen(able: list[tuple[Deployment, _Condition]]) -> tuple[Deployment, _Condition]:
    least = min(condition.in_flight / deployment.weight for deployment, condition in able)
    equal = [pair for pair in able if pair[1].in_flight / pair[0].weight == least]
    for deployment, condition in equal:
        condition.credit += deployment.weight
    chosen = max(equal, key=lambda pair: pair[1].credit)
    chosen[1].credit -= sum(deployment.weight for deployment, _ in equal)
    return chosen


def _verdict(error: BaseException | None) -> bool | None:
    """What an end says of the upstream: well, badly, or nothing (a bad request, a refusal, a limit, a hang-up)."""
    if error is None:
        return True
    if isinstance(error, DeadlinePassed):
        return None
    return False if isinstance(error, UpstreamError | UpstreamTimeout | UpstreamUnavailable) else None
