"""SIGHUP reads the config file again, all of it or nothing; SIGTERM answers what was accepted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.upstreams.openai import OpenAIStandIn

WAIT = 20.0


@dataclass(frozen=True, slots=True)
class Served:
    """A process of `pinhole serve`, and its config file."""

    process: subprocess.Popen[bytes]
    url: str
    config: Path
    log: Path

    def write(self, text: str, told: str) -> None:
        """Change the file, send SIGHUP, and wait until the log tells it."""
        before = self.log.read_text().count(told)
        self.config.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self.log.read_text().count(told) > before, told)

    def ask(self, model: str = "gpt-image-1.5", prompt: str = "a boat") -> httpx2.Response:
        body = {"model": model, "prompt": prompt, "response_format": "b64_json"}
        return httpx2.post(f"{self.url}/v1/images/generations", json=body, timeout=WAIT)


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@contextmanager
def served(folder: Path, upstream: OpenAIStandIn, config: str = "") -> Iterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file, log = folder / "pinhole.yaml", folder / "log"
    file.write_text(config)
    environ = {
        "PATH": os.environ["PATH"],
        "PINHOLE_PORT": str(port),
        "PINHOLE_DATA_DIR": str(folder / "data"),
        "PINHOLE_CONFIG": str(file),
        "OPENAI_API_KEY": upstream.key,
        "OPENAI_BASE_URL": f"{upstream.url}/v1",
    }
    program = str(Path(sys.executable).parent / "pinhole")
    with log.open("wb") as kept, subprocess.Popen([program, "serve"], env=environ, stderr=kept) as process:  # noqa: S603 - ours
        found = Served(process, f"http://127.0.0.1:{port}", file, log)
        try:
            until(lambda: reached(found.url), "the gateway listens")
            yield found
        finally:
            process.terminate()
            try:
                process.wait(WAIT)
            except subprocess.TimeoutExpired:
                process.kill()


def reached(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz").status_code == 200
    except httpx2.HTTPError:
        return False


@pytest.fixture
def upstream() -> Iterator[OpenAIStandIn]:
    """OpenAI's stand-in."""
    with OpenAIStandIn() as found:
        yield found


def test_a_reload_is_all_or_nothing(tmp_path: Path, upstream: OpenAIStandIn) -> None:
    """A new alias works; a broken file changes nothing, says why, and is counted; parts that cannot change say so."""
    with served(tmp_path, upstream) as gateway:
        assert gateway.ask("studio").status_code == 404
        gateway.write("aliases: {studio: gpt-image-1.5}\ncapacity: {requests: 7}", "config reloaded")
        assert gateway.ask("studio").status_code == 200
        assert '"needs_restart":["capacity"]' in gateway.log.read_text()
        gateway.write("aliases: {studio: nothing}", "config not reloaded")
        gateway.write("nonsense: 1", "config not reloaded")
        assert "nonsense" in gateway.log.read_text()
        gateway.write("keys: [{name: a, key: sk-a}]", "config not reloaded")
        assert gateway.ask("studio").status_code == 200
        metrics = httpx2.get(f"{gateway.url}/metrics").text
        assert 'pinhole_config_reloads_total{outcome="refused"} 3.0' in metrics
        assert 'pinhole_config_reloads_total{outcome="done"} 1.0' in metrics


def test_requests_end_under_the_config_they_began_with(tmp_path: Path, upstream: OpenAIStandIn) -> None:
    """An alias that a reload takes away still serves who came before."""
    with served(tmp_path, upstream, "aliases: {studio: gpt-image-1.5}") as gateway, ThreadPoolExecutor(1) as pool:
        upstream.pause()
        early = pool.submit(gateway.ask, "studio")
        until(lambda: upstream.exchanges, "it is on its way")
        gateway.write("", "config reloaded")
        assert gateway.ask("studio").status_code == 404
        upstream.resume()
        assert early.result().status_code == 200


def test_a_stop_answers_what_was_accepted(tmp_path: Path, upstream: OpenAIStandIn) -> None:
    """After SIGTERM nobody new gets in; who is in flight, in the queue, or detached comes to its end."""
    config = "capacity: {requests: 2}"
    with served(tmp_path, upstream, config) as gateway, ThreadPoolExecutor(3) as pool:
        upstream.pause()
        with pytest.raises(httpx2.TimeoutException):
            httpx2.post(
                f"{gateway.url}/v1/images/generations",
                json={"model": "gpt-image-1.5", "prompt": "detached"},
                timeout=httpx2.Timeout(5, read=1.0),
            )
        answers = [pool.submit(gateway.ask, prompt=f"boat {i}") for i in range(2)]
        until(lambda: len(upstream.exchanges) == 2, "one more is sent")
        time.sleep(0.3)
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: not reached(gateway.url), "nobody new gets in")
        upstream.resume()
        assert [answer.result().status_code for answer in answers] == [200, 200]
        gateway.process.wait(WAIT)
        assert upstream.paid == 3
        assert gateway.log.read_text().count('"state":"delivered"') == 3


def test_a_drain_that_is_over_leaves_unknown_rows(tmp_path: Path, upstream: OpenAIStandIn) -> None:
    """What drain_seconds did not suffice for is recorded: it may have been billed."""
    with served(tmp_path, upstream, "server: {drain_seconds: 1}") as gateway, ThreadPoolExecutor(1) as pool:
        upstream.pause()
        answer = pool.submit(gateway.ask)
        until(lambda: upstream.exchanges, "it is on its way")
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(WAIT)
        with pytest.raises((httpx2.HTTPError, AssertionError)):
            assert answer.result().status_code == 200
        assert '"state":"unknown"' in gateway.log.read_text()


def test_a_second_signal_stops_at_once(tmp_path: Path, upstream: OpenAIStandIn) -> None:
    """An operator who asks twice does not wait for the drain."""
    with served(tmp_path, upstream) as gateway, ThreadPoolExecutor(1) as pool:
        upstream.pause()
        answer = pool.submit(gateway.ask)
        until(lambda: upstream.exchanges, "it is on its way")
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: not reached(gateway.url), "nobody new gets in")
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(5)
        assert isinstance(answer.exception(), httpx2.HTTPError)
