"""What the figures were measured on: nothing that names a host or a path."""

from __future__ import annotations

import os
import platform
import shutil
import ssl
import subprocess
import sys
import sysconfig
import time
from pathlib import Path


def facts() -> dict[str, str]:
    """Processor, cores, memory, kernel, versions, and how busy the machine was with other work."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        "unknown",
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    virtual = any("hypervisor" in line for line in _lines("/proc/cpuinfo") if line.startswith("flags"))
    return {
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": processor + (" (virtual machine)" if virtual else ""),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**20:.0f} GiB",
        "kernel": platform.release(),
        "python": f"{platform.python_version()}, {_build()}",
        "openssl": ssl.OPENSSL_VERSION,
        "nginx": _nginx(),
        "commit": _output(["git", "rev-parse", "--short", "HEAD"]) or "unknown",
        "load before": f"{os.getloadavg()[0]:.1f} runnable processes of other work",
    }


def _build() -> str:
    """How the interpreter was made: one that was compiled with profiles takes a seventh less for a small request."""
    if sys.base_prefix == "/usr":
        return "the distribution's package"
    options = str(sysconfig.get_config_var("CONFIG_ARGS"))
    return "compiled with profiles" if "--enable-optimizations" in options else "compiled without profiles"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _nginx() -> str:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    return _output([program, "-v"]).rpartition("/")[2] if program else "none"


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""
