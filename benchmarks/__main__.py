"""`python -m benchmarks [--quick]`: start everything, measure, write the table."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from benchmarks import targets, tools
from benchmarks.cases import CASES, QUICK
from benchmarks.material import Material
from benchmarks.measure import Bench


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Pinhole beside nginx.")
    parser.add_argument("--quick", action="store_true", help="under two minutes")
    parser.add_argument("--case", action="append", help="only these cases")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a round")
    parser.add_argument("-c", type=int, default=16, help="concurrency")
    parser.add_argument("--boost", action="store_true", help="nice -15, as root on a machine with other work")
    options = parser.parse_args()
    if options.boost:
        os.setpriority(os.PRIO_PROCESS, 0, -15)  # what is started inherits it
    cases = [case for case in (QUICK if options.quick else CASES) if not options.case or case.name in options.case]
    folder = Path(tempfile.mkdtemp(prefix="pinhole-bench-", dir=tools.MEMORY if tools.MEMORY.is_dir() else None))
    work = Path(tempfile.mkdtemp(prefix="pinhole-bench-"))
    try:
        tools.CACHE.mkdir(parents=True, exist_ok=True)
        port = tools.free_port()
        material = Material(folder)
        material.make(f"http://127.0.0.1:{port}")
        bench = Bench(material)
        with (
            targets.mock(port, folder),
            targets.nginx(port, work) as nginx,
            targets.pinhole(f"http://127.0.0.1:{port}", work) as pinhole,
        ):
            for case in cases:
                bench.verify(pinhole, case)
                relayed = not case.relay
                found = bench.side_by_side(
                    [nginx, pinhole] if relayed else [pinhole],
                    case,
                    c=options.c,
                    rounds=options.rounds,
                    seconds=options.seconds,
                )
                for name, each in found.items():
                    print(
                        f"{case.name:10} {name:8} {each.cost:8.3f} ms CPU  {each.rate:8.0f}/s  p50 {each.p50:8.2f}",
                        flush=True,
                    )
                if relayed:
                    print(
                        f"{case.name:10} ratio    {found['pinhole'].cost / found['nginx'].cost:8.2f} x nginx",
                        flush=True,
                    )
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
