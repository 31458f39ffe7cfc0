"""A real PostgreSQL of the tests' own: in a temporary folder, as an unprivileged user, on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

FOLDERS = ("/usr/lib/postgresql", "/usr/local/bin", "/usr/local/pgsql/bin", "/usr/bin")


def program(name: str) -> str:
    """The path of a PostgreSQL program. Fails with what to run when there is none."""
    found = shutil.which(name)
    versions = sorted(Path(FOLDERS[0]).glob(f"*/bin/{name}"), reverse=True)
    path = str(versions[0]) if versions else found
    assert path, f"{name} is missing: run tests/ensure-services.sh"
    return path


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def postgres() -> Iterator[str]:
    """A fresh server; yields its URL."""
    folder = Path(mkdtemp(prefix="pinhole-postgres-"))
    user = _unprivileged(folder)
    port = free_port()
    _run([program("initdb"), "-D", str(folder / "data"), "-U", "pinhole", "-A", "trust", "--no-sync"], user)
    command = [program("postgres"), "-D", str(folder / "data"), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    server = subprocess.Popen([*command, "-F"], user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - ours
    try:
        _wait(port)
        yield f"postgresql://pinhole@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged(folder: Path) -> int | None:
    """PostgreSQL refuses root: the folder and the server belong to somebody else then."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(folder, nobody, -1)
    return nobody


def _run(command: list[str], user: int | None) -> None:
    subprocess.run(command, user=user, check=True, capture_output=True, timeout=60, cwd="/")  # noqa: S603 - ours


def _wait(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(0.3)
                return
        time.sleep(0.05)
    raise AssertionError("postgres did not start")
