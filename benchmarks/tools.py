"""The compiled helpers, free ports, cores, and what the kernel counts of a process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "bench"
SOURCES = Path(__file__).parent / "c"
MEMORY = Path("/dev/shm")  # noqa: S108 - the mock's answers are read from memory where there is such a folder


def compiled(name: str) -> Path:
    """The program made of c/NAME.c; compiled when it is missing or older than its source."""
    source, program = SOURCES / f"{name}.c", CACHE / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise SystemExit("The benchmark needs a C compiler: sudo apt-get install -y gcc libc6-dev")
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)
    return program


def cores() -> tuple[set[int], set[int]]:
    """The core of the mock and the load generator, and the gateway's; one for both where there is only one."""
    found = sorted(os.sched_getaffinity(0))
    return {found[0]}, {found[1 % len(found)]}


@contextmanager
def pinned(core: set[int]) -> Iterator[None]:
    """What is started inside runs on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int, alive: Callable[[], bool], otherwise: str, seconds: float = 90) -> None:
    """Wait until something accepts connections. Raises SystemExit."""
    until = time.monotonic() + seconds
    while alive() and time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.002)
    raise SystemExit(otherwise)


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def cpu(pid: int) -> float:
    """Seconds of CPU that a process tree has used, reaped children included.

    The clock of a process is the sum that utime and stime are taken from, without their steps of 10 ms.
    """
    ticks = os.sysconf("SC_CLK_TCK")
    used = 0.0
    for each in tree(pid):
        try:
            used += time.clock_gettime((~each << 3) | 2)
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used += (int(fields[13]) + int(fields[14])) / ticks
    return used


def memory(pid: int, field: str = "VmRSS") -> float:
    """A line of /proc/PID/status, summed over a process tree, in MiB."""
    total = 0
    for each in tree(pid):
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                total += int(line.split()[1])
    return total / 1024


def touch(folder: Path, size: int) -> None:
    """Fill a file and remove it, so that new files find memory that was used before.

    A virtual machine gets a page from its host when it is first written to, at three times the cost of the write.
    """
    block = bytes(2**20)
    with (folder / "touched").open("wb", buffering=0) as file:
        for _ in range(size // len(block)):
            file.write(block)
    (folder / "touched").unlink()


def reset_peak(pid: int) -> None:
    """Set VmHWM back to what is resident, over a process tree."""
    for each in tree(pid):
        Path(f"/proc/{each}/clear_refs").write_text("5")
