"""`python -m benchmarks [--quick]`: start everything, measure, write the table."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import chart, machine, parts, peers, report, tools
from benchmarks.cases import CASES, QUICK

RESULTS = Path(__file__).parent / "results"
PARTS = ("cases", "https", "redis", "replicas", "latency", "memory", "slow", "concurrency", "growth", "keys")


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Pinhole beside nginx.")
    parser.add_argument("--quick", action="store_true", help="five cases, under two minutes, nothing is written")
    parser.add_argument("--case", action="append", help="only these cases")
    parser.add_argument("--part", action="append", choices=PARTS, help="only these parts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a round")
    parser.add_argument("-c", type=int, default=16, help="concurrency")
    parser.add_argument("--boost", action="store_true", help="nice -15, as root on a machine with other work")
    parser.add_argument("--litellm", type=Path, help="its program, where it is installed")
    parser.add_argument("--portkey", type=Path, help="the folder where npm installed it")
    parser.add_argument("--from", dest="source", type=Path, help="measure nothing: write the table of this JSON file")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table, the chart and the figures")
    return parser.parse_args()


def measured(chosen: argparse.Namespace) -> dict[str, Any]:
    """Every part that was asked for, in order."""
    tools.CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="pinhole-bench-", dir=tools.MEMORY if tools.MEMORY.is_dir() else None))
    work = Path(tempfile.mkdtemp(prefix="pinhole-bench-"))
    wanted = chosen.part or (("cases",) if chosen.quick else PARTS)
    cases = [case for case in (QUICK if chosen.quick else CASES) if not chosen.case or case.name in chosen.case]
    found: dict[str, Any] = {"machine": machine.facts(), "rounds": chosen.rounds, "c": chosen.c}
    try:
        with ExitStack() as stack:
            hall = stack.enter_context(parts.hall(folder, work, chosen.rounds, chosen.seconds, chosen.c))
            others = []
            if chosen.litellm:
                others.append(stack.enter_context(peers.litellm(chosen.litellm, hall.upstream, work)))
            if chosen.portkey:
                others.append(stack.enter_context(peers.portkey(chosen.portkey, hall.upstream)))
            for part in PARTS:
                if part == "cases" and part in wanted:
                    found[part] = parts.main_cases(hall, cases, others)
                elif part in wanted:
                    found[part] = getattr(parts, part)(hall)
                (tools.CACHE / "bench.json").write_text(json.dumps(found))  # what a run that breaks off had measured
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(work)
    return found


def main() -> None:
    """The command."""
    chosen = options()
    if chosen.boost:
        os.setpriority(os.PRIO_PROCESS, 0, -15)  # what is started inherits it
    found = json.loads(chosen.source.read_text()) if chosen.source else measured(chosen)
    print(report.table(found))
    if chosen.quick:
        return
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
    (chosen.out / "bench.md").write_text(report.page(found))
    (chosen.out / "bench.svg").write_text(chart.drawn(found))


if __name__ == "__main__":
    main()
