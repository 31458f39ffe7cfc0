"""One round of load on one target, and medians of rounds that take turns."""

from __future__ import annotations

import base64
import http.client
import json
import socket
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

    def load(self, target: Target, case: Case, c: int, seconds: float, *, least: int = 0) -> dict[str, Any]:
        """Run the load generator once. Raises SystemExit when an answer was not what it must be."""
        with tools.pinned(tools.cores()[0]):
            line = self.command(target, case, c, seconds, least=least)
            done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=False, timeout=600)
        return self.judged(target, case, c, done.stdout)

    def command(self, target: Target, case: Case, c: int, seconds: float, *, least: int = 0) -> list[str]:
        """The load generator's command line."""
        line = [
            str(tools.compiled("load")),
            "-p",
            str(target.port),
            "-c",
            str(c),
            "-s",
            str(seconds),
            "-m",
            str(least),
        ]
        if case.most:
            line += ["-M", str(max(case.most, least))]
        line += ["-e", str(self.material.base64(case.image))] if case.image else ["-w", case.text or ""]
        return [*line, "-n", str(case.n), str(self.request(target, case))]

    def judged(self, target: Target, case: Case, c: int, out: str) -> dict[str, Any]:
        """What the load generator printed. Raises SystemExit when it found an error."""
        if not out:
            raise SystemExit(f"{target.name}, {case.name}, c={c}: the load generator gave up")
        found: dict[str, Any] = json.loads(out)
        if found["errors"]:
            raise SystemExit(f"{target.name}, {case.name}, c={c}: {found['errors']} errors, first: {found['error']}")
        return found

    def request(self, target: Target, case: Case) -> Path:
        """The request file of a case."""
        name = f"{target.name}-{case.name}"
        return self.material.request(name, case.path, case.body, image=case.upload, headers=target.headers)

    def round(self, target: Target, case: Case, c: int, seconds: float) -> Round:
        """One measured round."""
        before = tools.cpu(target.pid)
        found = self.load(target, case, c, seconds, least=c)
        used = tools.cpu(target.pid) - before
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
        found = asked(target.port, self.request(target, case).read_bytes())
        if case.image:
            picture = (self.material.folder / f"{case.image}.png").read_bytes()
            document = json.loads(found)
            if "data" not in document:  # a relay of another provider's answer; the load generator compares it
                return
            made = [base64.b64decode(item["b64_json"]) for item in document["data"]]
            if made != [picture] * case.n:
                raise SystemExit(f"{target.name}, {case.name}: another image than the upstream's")


def asked(port: int, request: bytes) -> bytes:
    """The body of one answer to one raw request. Raises SystemExit unless it is 200."""
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
