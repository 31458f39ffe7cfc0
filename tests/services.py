"""Real servers of the tests' own, on loopback: PostgreSQL as an unprivileged user, Redis and its sentinels."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self

from redis.asyncio import Redis

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
        time.sleep(0.3)  # it listens before it answers
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
                return
        time.sleep(0.05)
    raise AssertionError("the server did not start")


class RedisServer:
    """A redis-server of the test's own, that can be stopped and started again on its port, without its data."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Returns when it listens."""
        found = shutil.which("redis-server")
        assert found, "redis-server is missing: run tests/ensure-services.sh"
        port = () if "--tls-port" in self._options else ("--port", str(self.port))
        where = ("--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder))
        options = [option.format(port=self.port) for option in self._options]
        self._process = subprocess.Popen([found, *options, *port, *where], stdout=subprocess.DEVNULL)  # noqa: S603 - ours
        _wait(self.port)
        return self

    def stop(self) -> None:
        """Ends the process this object started."""
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    async def ask(self, *words: str) -> Any:
        """One command, by a client that the gateway does not use."""
        client = Redis.from_url(self.url, decode_responses=True)
        try:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py's
        finally:
            await client.aclose(close_connection_pool=True)

    def freeze(self, *, frozen: bool) -> None:
        """Stop it in the middle of everything, its port open, or let it go on."""
        assert self._process, "the server was not started"
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
