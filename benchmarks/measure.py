"""One round of load on one target, and medians of rounds that take turns."""

from __future__ import annotations

import base64
import json
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import tools
from benchmarks.cases import Case
from benchmarks.material import Material
from benchmarks.targets import Target

WARM_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Round:
    """`cost` is milliseconds of CPU a request of the target's process tree; latencies are milliseconds."""

    requests: int
    cost: float
    rate: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Bench:
    """The load generator and what it sends."""

    material: Material

    def load(
        self, target: Target, case: Case, c: int, seconds: float, *, least: int = 0, most: int = 0
    ) -> dict[str, Any]:
        """Run the load generator once. Raises SystemExit when an answer was not what it must be."""
        command = [str(tools.compiled("load")), "-p", str(target.port), "-c", str(c), "-s", str(seconds)]
        command += ["-m", str(least), *(["-M", str(most or case.most)] if most or case.most else [])]
        # nginx relays the upstream's own answer: a case that the gateway turns into a link is not asked of it.
        command += (
            ["-e", str(self.material.base64(case.image)), "-n", str(case.n)]
            if case.image
            else ["-w", case.text or ""]
        )
        requests = [str(path) for path in self.requests(case)]
        with tools.pinned(tools.cores()[0]):
            done = subprocess.run([*command, *requests], capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            raise SystemExit(f"{target.name}, {case.name}, c={c}: {done.stderr.strip()}")
        found: dict[str, Any] = json.loads(done.stdout)
        if found["errors"]:
            raise SystemExit(f"{target.name}, {case.name}, c={c}: {found['errors']} errors, first: {found['error']}")
        return found

    def requests(self, case: Case) -> Sequence[Path]:
        """The request files of a case."""
        return [self.material.request(case.name, case.path, case.body, image=case.upload)]

    def round(self, target: Target, case: Case, c: int, seconds: float) -> Round:
        """One measured round."""
        before = tools.cpu(target.pid) if target.pid else 0.0
        found = self.load(target, case, c, seconds, least=c)
        used = (tools.cpu(target.pid) if target.pid else 0.0) - before
        return Round(
            requests=found["requests"],
            cost=used / found["requests"] * 1000,
            rate=found["requests"] / found["seconds"],
            p50=found["p50"],
            p95=found["p95"],
            p99=found["p99"],
        )

    def side_by_side(
        self, targets: Sequence[Target], case: Case, *, c: int = 16, rounds: int = 3, seconds: float = 1.0
    ) -> Mapping[str, Round]:
        """Medians of rounds that take turns between the targets, after a short warm-up of each."""
        for target in targets:
            self.load(target, case, c, WARM_SECONDS, least=c)
        found: dict[str, list[Round]] = {target.name: [] for target in targets}
        for _ in range(rounds):
            for target in targets:
                found[target.name].append(self.round(target, case, c, seconds))
        return {name: median(each) for name, each in found.items()}

    def verify(self, target: Target, case: Case) -> None:
        """One answer read in full: the images decoded are the mock's. Raises SystemExit."""
        found = asked(target.port, self.requests(case)[0].read_bytes())
        if case.image:
            picture = (self.material.folder / f"{case.image}.png").read_bytes()
            made = [base64.b64decode(item["b64_json"]) for item in json.loads(found)["data"]]
            if made != [picture] * case.n:
                raise SystemExit(f"{target.name}, {case.name}: another image than the upstream's")


def asked(port: int, request: bytes) -> bytes:
    """The body of one answer to one raw request. Raises SystemExit unless it is 200."""
    import http.client  # noqa: PLC0415 - one use
    import socket  # noqa: PLC0415 - one use

    with socket.create_connection(("127.0.0.1", port), timeout=60) as wire:
        wire.sendall(request)
        answer = http.client.HTTPResponse(wire)
        answer.begin()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"port {port} answered {answer.status}: {body[:500]!r}")
        return body


def median(rounds: Sequence[Round]) -> Round:
    """Each figure's own median."""
    names = Round.__slots__
    return Round(**{name: statistics.median(getattr(each, name) for each in rounds) for name in names})
