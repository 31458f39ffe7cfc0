"""Gateways as processes of their own, as operators run them: `pinhole serve`, stopped by process id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx2

from tests.services import free_port

START_SECONDS = 60.0
STOP_SECONDS = 75.0


class Process:
    """One gateway. `log` is what it wrote, a document a line."""

    def __init__(self, folder: Path, config: str = "", environ: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"log-{self.port}.jsonl"
        file = folder / "config.yaml"
        file.write_text(config)
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._environ = {
            **inherited,
            "PINHOLE_PORT": str(self.port),
            "PINHOLE_DATA_DIR": str(folder),
            "PINHOLE_CONFIG": str(file),
            "PINHOLE_SANDBOX": "true",
            **(environ or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Returns at once; `wait` until it answers."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-c", "from app.cli import main; main()", "serve"]
            self._process = subprocess.Popen(command, env=self._environ, stdout=log, stderr=log)  # noqa: S603 - ours
        return self

    def wait(self) -> Self:
        """Until it can get requests."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if httpx2.get(f"{self.url}/readyz", timeout=5).status_code == httpx2.codes.OK:
                    return self
            except httpx2.HTTPError:
                time.sleep(0.05)
        raise AssertionError(f"the gateway did not start: {self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        """As kill -9 does."""
        if self._process:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def stop(self) -> bool:
        """As an operator does; killed when that takes too long, which is False."""
        in_time = True
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                in_time = False
            self._process = None
        return in_time

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process, "the gateway does not run"
        return self._process.pid

    def upgrade(self) -> None:
        """Bring its database up to date, as an operator does before the first start."""
        command = [sys.executable, "-c", "from app.cli import main; main()", "db", "upgrade"]
        subprocess.run(command, env=self._environ, check=True, capture_output=True, timeout=60)  # noqa: S603 - ours

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def metrics(self) -> str:
        """The Prometheus text."""
        return httpx2.get(f"{self.url}/metrics", timeout=30).text

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
