"""The processes under test, each with its own port, on the gateway's core; and the mock on the other."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import tools
from benchmarks.material import KEY

LIMITS = (
    "{requests_per_minute: 60000000, images_per_minute: 60000000, megapixels_per_minute: 900000000, "
    "concurrent_images: 100000, usd_per_day: 100000000}"
)
NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log crit; user {user};
events {{ worker_connections 8192; }}
http {{
    access_log off; client_max_body_size 0; keepalive_requests 100000000; tcp_nodelay on;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    upstream mock {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port}{ssl} backlog=4096;
        {certificate}
        location / {{
            proxy_pass {scheme}://mock; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 512k; proxy_max_temp_file_size 0;
            proxy_request_buffering off; proxy_read_timeout 600s;
            {trust}
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A process that listens."""

    name: str
    port: int
    pid: int


@contextmanager
def process(
    name: str, port: int, command: list[str], core: set[int], env: Mapping[str, str] | None = None
) -> Iterator[Target]:
    """Start a command and wait until it listens; it is stopped at the end."""
    log = tools.CACHE / f"{name}.log"
    with log.open("wb") as out, tools.pinned(core):
        child = subprocess.Popen(command, env=None if env is None else dict(env), stdout=out, stderr=out)
    try:
        tools.listening(port)
        if child.poll() is not None:
            raise SystemExit(f"{name} did not start: {log.read_text()[-2000:]}")
        yield Target(name, port, child.pid)
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def mock(port: int, folder: Path) -> Iterator[Target]:
    """The compiled upstream."""
    program = tools.compiled("upstream")
    with process("mock", port, [str(program), str(port), str(folder)], tools.cores()[0]) as target:
        yield target


@contextmanager
def nginx(upstream: int, folder: Path) -> Iterator[Target]:
    """The relay that is the limit: keep-alive to the upstream, 16 buffers of 64 KiB, no temporary files."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit("The benchmark needs nginx: sudo apt-get install -y --no-install-recommends nginx-light")
    folder = folder / "nginx"
    folder.mkdir()
    port = tools.free_port()
    text = NGINX.format(
        folder=folder,
        user=getpass.getuser(),
        upstream=upstream,
        port=port,
        ssl="",
        certificate="",
        scheme="http",
        trust="",
    )
    (folder / "nginx.conf").write_text(text)
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log")]
    with process("nginx", port, command, tools.cores()[1]) as target:
        yield target


def gateway_environment(
    port: int, upstream: str, folder: Path, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Every feature on: caller keys, limits of every unit that are never reached, the ledger in SQLite."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "pinhole.yaml"
    if not config.exists():
        config.write_text(f"limits: {LIMITS}\nkeys:\n  - {{name: bench, key: {KEY}, limits: {LIMITS}}}\n")
    return {
        "PATH": os.environ["PATH"],
        "PINHOLE_PORT": str(port),
        "PINHOLE_DATA_DIR": str(folder / "data"),
        "PINHOLE_CONFIG": str(config),
        "PINHOLE_ADMIN_KEY": "bench-admin",
        "OPENAI_API_KEY": "made-up",
        "OPENAI_BASE_URL": f"{upstream}/v1",
        "GEMINI_API_KEY": "made-up",
        "GEMINI_BASE_URL": upstream,
        "ZAI_API_KEY": "made-up",
        "ZAI_BASE_URL": f"{upstream}/api/paas/v4",
        **(extra or {}),
    }


@contextmanager
def pinhole(
    upstream: str, folder: Path, *, name: str = "pinhole", extra: Mapping[str, str] | None = None
) -> Iterator[Target]:
    """`pinhole serve` as an operator starts it."""
    port = tools.free_port()
    env = gateway_environment(port, upstream, folder / name, extra)
    command = [str(Path(sys.executable).parent / "pinhole"), "serve"]
    with process(name, port, command, tools.cores()[1], env) as target:
        time.sleep(0.2)
        yield target
