"""The processes under test, each with its own port, on the gateway's core; and the mock on the other."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
    upstream mock {{ {servers} keepalive 1024; keepalive_requests 100000000; }}
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
    headers: str = ""  # further lines of each request to it


@contextmanager
def process(
    name: str, port: int, command: list[str], core: set[int], env: Mapping[str, str] | None = None
) -> Iterator[Target]:
    """Start a command and wait until it listens; it is stopped at the end."""
    log = tools.CACHE / f"{name}.log"
    with log.open("wb") as out, tools.pinned(core):
        child = subprocess.Popen(command, env=None if env is None else dict(env), stdout=out, stderr=out)
    try:
        tools.listening(port, lambda: child.poll() is None, f"{name} did not start; see {log}")
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
def nginx(upstream: int, work: Path, *, name: str = "nginx", authority: Path | None = None) -> Iterator[Target]:
    """The relay that is the limit: keep-alive to the upstream, 16 buffers of 64 KiB, no temporary files.

    With `authority`, the certificate of an authority, the upstream speaks TLS and is verified.
    """
    port = tools.free_port()
    trust = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {authority}; proxy_ssl_name 127.0.0.1;"
    trust += " proxy_ssl_protocols TLSv1.3;"
    values = {"servers": servers(upstream), "port": port, "ssl": "", "certificate": ""}
    https = {"scheme": "https", "trust": trust} if authority else {"scheme": "http", "trust": ""}
    with _nginx(name, port, tools.cores()[1], Path(tempfile.mkdtemp(dir=work)), {**values, **https}) as target:
        yield target


def servers(*ports: int) -> str:
    """The lines of an nginx upstream."""
    return " ".join(f"server 127.0.0.1:{port};" for port in ports)


@contextmanager
def balancer(gateways: Sequence[Target], work: Path) -> Iterator[Target]:
    """An nginx on the mock's core before several gateways; a request goes to the one with the fewest of them."""
    port = tools.free_port()
    behind = f"least_conn; {servers(*(each.port for each in gateways))}"
    values = {"servers": behind, "port": port, "ssl": "", "certificate": ""}
    values |= {"scheme": "http", "trust": ""}
    with _nginx("balancer", port, tools.cores()[0], Path(tempfile.mkdtemp(dir=work)), values) as target:
        yield target


@contextmanager
def tls_front(upstream: int, work: Path) -> Iterator[tuple[Target, Path]]:
    """An nginx on the mock's core that ends TLS for it, and the certificate of the authority made for it."""
    folder = Path(tempfile.mkdtemp(dir=work))
    authority = certified(folder)
    port = tools.free_port()
    certificate = (
        f"ssl_certificate {folder}/front.pem; ssl_certificate_key {folder}/front.key; ssl_protocols TLSv1.3;"
    )
    values = {"servers": servers(upstream), "port": port, "ssl": " ssl", "certificate": certificate}
    values |= {"scheme": "http", "trust": ""}
    with _nginx("tls-front", port, tools.cores()[0], folder, values) as target:
        yield target, authority


@contextmanager
def _nginx(name: str, port: int, core: set[int], folder: Path, values: Mapping[str, object]) -> Iterator[Target]:
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, user=getpass.getuser(), **values))
    command = [found("nginx", "nginx-light"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with process(name, port, [*command, "-e", str(folder / "start.log")], core) as target:
        yield target


def certified(folder: Path) -> Path:
    """An authority and a certificate for 127.0.0.1, for a day; returns the authority's certificate."""
    openssl = found("openssl", "openssl")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    authority = [*key, "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.pem", "-subj", "/CN=bench authority"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    front = [*key, "-keyout", f"{folder}/front.key", "-out", f"{folder}/front.pem", "-subj", "/CN=127.0.0.1"]
    front += ["-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key", "-addext", "subjectAltName=IP:127.0.0.1"]
    for rest in ([*authority, *usage], [*front, "-addext", "basicConstraints=critical,CA:FALSE"]):
        subprocess.run([openssl, "req", "-x509", *rest], check=True, capture_output=True)
    return folder / "ca.pem"


@contextmanager
def redis(work: Path) -> Iterator[Target]:
    """A redis-server that keeps nothing, on the mock's core."""
    port = tools.free_port()
    command = [found("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with process("redis-server", port, [*command, "--dir", str(work)], tools.cores()[0]) as target:
        yield target


def found(program: str, package: str) -> str:
    """Where a program is. Raises SystemExit with what to type."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise SystemExit(f"The benchmark needs {program}: sudo apt-get install -y --no-install-recommends {package}")
    return path


def write_config(folder: Path, keys: int = 1) -> Path:
    """The config file of a gateway: limits of every unit that are never reached, for all and for each key."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "pinhole.yaml"
    if not config.exists():
        others = [f"sk-bench-other-{i}" for i in range(1, keys)]
        entries = "".join(f"  - {{name: {key}, key: {key}, limits: {LIMITS}}}\n" for key in (KEY, *others))
        config.write_text(f"limits: {LIMITS}\nkeys:\n{entries}")
    return config


def gateway_environment(
    port: int, upstream: str, folder: Path, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Every feature on: caller keys, limits of every unit that are never reached, the ledger in SQLite."""
    config = write_config(folder)
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
    upstream: str,
    folder: Path,
    *,
    name: str = "pinhole",
    extra: Mapping[str, str] | None = None,
    core: set[int] | None = None,
) -> Iterator[Target]:
    """`pinhole serve` as an operator starts it; on the gateways' core when none is named."""
    port = tools.free_port()
    env = gateway_environment(port, upstream, folder / name, extra)
    command = [str(Path(sys.executable).parent / "pinhole"), "serve"]
    with process(name, port, command, core or tools.cores()[1], env) as target:
        yield target
