"""The parts of a run; each measures one thing and returns plain values for the report."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import peers, targets, tools
from benchmarks.cases import CASES, HTTPS, MANY, REDIS, Case
from benchmarks.material import COUNTS, SIZES, Material
from benchmarks.measure import Bench
from benchmarks.targets import Target

CONCURRENCY = (1, 16, 64, 256)
KEYS = (1, 100, 10_000)
SLOW, SLOW_MS = 256, 2000
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Hall:
    """What a run has at hand. `port` is the mock's; `direct` is the mock as a target, without a gateway."""

    bench: Bench
    work: Path
    port: int
    direct: Target
    nginx: Target
    rounds: int
    seconds: float
    c: int

    @property
    def upstream(self) -> str:
        """The mock's origin."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def pinhole(self, name: str = "pinhole", upstream: str | None = None, **extra: str) -> Iterator[Target]:
        """A gateway of its own; `extra` are more environment variables."""
        with targets.pinhole(upstream or self.upstream, self.work, name=name, extra=extra) as target:
            yield target

    def beside(self, which: Sequence[Target], case: Case, c: int = 0) -> Result:
        """Rounds of several targets that take turns: name -> median figures."""
        found = self.bench.side_by_side(which, case, c=c or self.c, rounds=self.rounds, seconds=self.seconds)
        for name, each in found.items():
            print(
                f"{case.name:12} c={c or self.c:<4} {name:10} {each.cost:8.3f} ms CPU {each.rate:8.0f}/s", flush=True
            )
        return {name: asdict(each) for name, each in found.items()}


@contextmanager
def hall(folder: Path, work: Path, rounds: int, seconds: float, c: int) -> Iterator[Hall]:
    """The mock and nginx, started."""
    port = tools.free_port()
    material = Material(folder)
    material.make(f"http://127.0.0.1:{port}")
    with targets.mock(port, folder) as direct, targets.nginx(port, work) as nginx:
        yield Hall(Bench(material), work, port, replace(direct, name="direct"), nginx, rounds, seconds, c)


def main_cases(hall: Hall, cases: Sequence[Case], others: Sequence[Target] = ()) -> Result:
    """CPU a request of each case, Pinhole's and nginx's, and that of the peers that can do the case."""
    found: Result = {}
    with hall.pinhole() as pinhole:
        for case in cases:
            hall.bench.verify(pinhole, case)
            if case.most:
                tools.touch(hall.work, case.most * (hall.rounds + 1) * 2**21)
            able = [peer for peer in others if peers.able(hall.bench, peer, case)]
            found[case.name] = hall.beside([*([] if case.relay else [hall.nginx]), pinhole, *able], case)
    return found


def https(hall: Hall) -> Result:
    """The upstream behind TLS 1.3, for both: the front that ends it runs on the mock's core."""
    found: Result = {}
    with targets.tls_front(hall.port, hall.work) as (front, authority):
        origin = f"https://127.0.0.1:{front.port}"
        with (
            targets.nginx(front.port, hall.work, name="nginx", authority=authority) as nginx,
            hall.pinhole("pinhole", origin, SSL_CERT_FILE=str(authority)) as pinhole,
        ):
            for case in HTTPS:
                hall.bench.verify(pinhole, case)
                found[case.name] = hall.beside([nginx, pinhole], case)
    return found


def redis(hall: Hall) -> Result:
    """The same request with the embedded limiter and with Redis, taking turns; Redis runs on the mock's core."""
    with targets.redis(hall.work) as server, ExitStack() as stack:
        embedded = stack.enter_context(hall.pinhole("embedded"))
        shared = stack.enter_context(hall.pinhole("redis", REDIS_URL=f"redis://127.0.0.1:{server.port}/0"))
        return hall.beside([embedded, shared], REDIS)


def replicas(hall: Hall) -> Result:
    """One and two gateways behind a balancer, with one Redis: requests a second, and CPU a request of all of them.

    With two cores the second gateway shares the first one's neighbour: the mock, the load, the balancer and Redis.
    """
    found: Result = {}
    with targets.redis(hall.work) as server, ExitStack() as stack:
        shared = {"REDIS_URL": f"redis://127.0.0.1:{server.port}/0"}
        near, far = tools.cores()
        gateways = [
            stack.enter_context(targets.pinhole(hall.upstream, hall.work, name=name, extra=shared, core=core))
            for name, core in (("first", far), ("second", near))
        ]
        for count in (1, 2):
            with targets.balancer(gateways[:count], hall.work) as front:
                for case in CASES[:2]:
                    hall.bench.verify(front, case)
                    before = [tools.cpu(each.pid) for each in gateways]
                    rounds = [hall.bench.round(front, case, 2 * hall.c, hall.seconds) for _ in range(hall.rounds)]
                    used = sum(tools.cpu(each.pid) for each in gateways) - sum(before)
                    cost = used / sum(each.requests for each in rounds) * 1000
                    rate = statistics.median(each.rate for each in rounds)
                    found.setdefault(case.name, {})[str(count)] = {"rate": rate, "cost": cost}
                    print(f"{case.name:12} {count} gateways {cost:8.3f} ms CPU {rate:8.0f}/s", flush=True)
    return found


def latency(hall: Hall) -> Result:
    """One connection: what the gateways add to the mock's own time at p50, p95 and p99."""
    found: Result = {}
    with hall.pinhole() as pinhole:
        for case in CASES[:3]:
            each = hall.beside([hall.direct, hall.nginx, pinhole], case, c=1)
            direct = each.pop("direct")
            found[case.name] = {
                name: {q: figures[q] - direct[q] for q in ("p50", "p95", "p99")} for name, figures in each.items()
            }
    return found


def concurrency(hall: Hall) -> Result:
    """Requests a second and CPU a request at 1, 16, 64 and 256 connections."""
    found: Result = {}
    with hall.pinhole() as pinhole:
        for case in CASES[:2]:
            which = [hall.direct, hall.nginx, pinhole]
            found[case.name] = {str(c): hall.beside(which, case, c=c) for c in CONCURRENCY}
    return found


def growth(hall: Hall) -> Result:
    """How CPU a request grows with the size of the image and with n."""
    sizes: Result = {}
    counts: Result = {}
    with hall.pinhole() as pinhole:
        both = [hall.nginx, pinhole]
        for name, size in SIZES.items():
            case = Case(name=f"size-{name}", title="", key=f"gen{name}", image=name)
            sizes[str(size)] = hall.beside(both, case)
        for n in (1, *COUNTS):
            key = "gen256k" if n == 1 else f"n{n}x256k"
            case = Case(name=f"n-{n}", title="", key=key, image="256k", n=n, model=MANY, fields={"n": n})
            counts[str(n)] = hall.beside(both, case)
    return {"size": sizes, "n": counts}


def keys(hall: Hall) -> Result:
    """CPU of a 1 KiB answer with 1, 100 and 10,000 caller keys in the config file."""
    found: Result = {}
    for count in KEYS:
        name = f"keys-{count}"
        targets.write_config(hall.work / name, count)
        with hall.pinhole(name) as pinhole:
            found[str(count)] = hall.beside([pinhole], CASES[0])[name]
    return found


def memory(hall: Hall) -> Result:
    """MiB of a fresh process: idle, at the peak with 64 answers of 8 and of 1.5 MiB in flight; start in seconds."""
    found: Result = {"pinhole": {}, "nginx": {}}
    starts, idle = [], []
    for i in range(3):
        began = time.perf_counter()
        with hall.pinhole(f"start-{i}") as pinhole:
            hall.bench.verify(pinhole, CASES[0])
            starts.append(time.perf_counter() - began)
            idle.append(tools.memory(pinhole.pid))
    found["pinhole"] |= {"start": statistics.median(starts), "idle": statistics.median(idle)}
    for name in ("1m5", "8m"):
        case = next(each for each in CASES if each.name == f"gen{name}")
        with hall.pinhole(f"memory-{name}") as pinhole:
            for target in (hall.nginx, pinhole):
                hall.bench.verify(target, CASES[0])
                before = tools.memory(target.pid)
                tools.reset_peak(target.pid)
                hall.bench.load(target, case, 64, 0.5, least=192)
                peak = tools.memory(target.pid, "VmHWM")
                each = found["nginx" if target is hall.nginx else "pinhole"]
                each |= {f"before_{name}": before, f"peak_{name}": peak}
                print(f"memory {name:6} {target.name:12} {before:.0f} -> {peak:.0f} MiB", flush=True)
    return found


def slow(hall: Hall) -> Result:
    """`/healthz` while 256 calls wait 1.5 to 2.5 seconds for the upstream, all begun; ms. An error ends the run."""
    case = replace(CASES[0], name="slow", key=f"gen1k~{SLOW_MS}")
    command = hall.bench.command
    with hall.pinhole("slow") as pinhole:
        hall.bench.verify(pinhole, CASES[0])
        with tools.pinned(tools.cores()[0]):
            line = command(pinhole, case, SLOW, 3 * SLOW_MS / 1000)
            child = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
            time.sleep(SLOW_MS / 1000)
            times = list(_probes(pinhole.port, 2 * SLOW_MS / 1000))
        out = child.communicate()[0]
        hall.bench.judged(pinhole, case, SLOW, out)
    times.sort()
    return {
        "in_flight": SLOW,
        "probes": len(times),
        "p50": times[len(times) // 2],
        "p99": times[int(len(times) * 0.99)],
    }


def _probes(port: int, seconds: float) -> Iterator[float]:
    wire = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        wire.request("GET", "/healthz")
        answer = wire.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"/healthz answered {answer.status} with {SLOW} calls in flight")
        yield (time.perf_counter() - began) * 1000
        time.sleep(0.01)
