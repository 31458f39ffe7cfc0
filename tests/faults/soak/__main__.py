"""The command, and how a soak goes."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.faults.soak.callers import Caller
from tests.faults.soak.size import Report, Size
from tests.faults.soak.world import World, reckon, world
from tests.processes import Process

SETTLED_SECONDS = 3.0


async def soak(size: Size) -> Report:
    """Run it to its end."""
    report = Report(seed=size.seed or secrets.randbelow(2**31))
    with world(size, report) as found:
        callers = [Caller(size, found.gateways, found.made, report, number) for number in range(size.callers)]
        begun = time.monotonic()
        await drive(size, report, found, callers)
        report.seconds = round(time.monotonic() - begun, 1)
        await asyncio.sleep(SETTLED_SECONDS)
        report.peak_mib = [max([*report.peak_mib, 0.0]), *(peak(process.wait()) for process in found.gateways)]
        report.sockets = [sockets(process) for process in found.gateways]
        await reckon(report, found, callers, killed=bool(size.kill))
    return report


async def drive(size: Size, report: Report, found: World, callers: list[Caller]) -> None:
    """The callers, and the stops of gateways meanwhile."""
    begun, numbers = time.monotonic(), itertools.count()

    def goes_on() -> bool:
        enough = size.requests and report.requests >= size.requests
        return time.monotonic() - begun < size.seconds and not enough

    async def work(caller: Caller) -> None:
        async with httpx2.AsyncClient(trust_env=False) as client:
            while goes_on():
                report.requests += 1
                await caller.one(client, f"{report.seed}-{next(numbers)}")

    async def stops() -> None:
        for process in itertools.cycle(found.gateways):
            await asyncio.sleep(size.kill or size.restart)
            if not goes_on():
                return
            report.peak_mib.append(peak(process))
            await asyncio.to_thread(again, process, report, killed=bool(size.kill))

    stopping = asyncio.create_task(stops()) if size.kill or size.restart else None
    await asyncio.gather(*(work(caller) for caller in callers))
    if stopping is not None:
        await stopping


def again(process: Process, report: Report, *, killed: bool) -> None:
    """Stop a gateway and start it; a SIGTERM that had to become a kill is a fault of ours."""
    if killed:
        process.kill()
    else:
        report.late_stops += not process.stop()
    process.start().wait()
    report.stops += 1


def peak(process: Process) -> float:
    """The most memory it ever held, in MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024, 1)


def sockets(process: Process) -> int:
    """How many sockets it holds."""
    found = 0
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue  # closed meanwhile
    return found


def main(arguments: list[str]) -> int:
    """The command line; 1 when anything was lost, paid twice or wrong."""
    parser = argparse.ArgumentParser(prog="soak")
    plain = Size()
    for name in ("seconds", "requests", "gateways", "callers", "restart", "kill", "faults", "seed"):
        default: Any = getattr(plain, name)
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--stay", action="store_true", help="callers repeat at their own gateway only")
    given = vars(parser.parse_args(arguments))
    report = asyncio.run(soak(Size(roam=not given.pop("stay"), **given)))
    print(report.shown())  # noqa: T201 - it is a command
    return 0 if report.sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
