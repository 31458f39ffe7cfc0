"""What can be seen on this machine alone."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from app.auth import keyring
from app.commands.doctor.finding import Finding, Installation, fine, problem, warning
from app.settings import LOOPBACK

ROOM_BYTES: Final = 2**30
SHORT_SECRET: Final = 16
# Two sockets for each request in flight, and what the process holds besides.
SOCKETS: Final = 2
OTHER_FILES: Final = 256


async def callers(found: Installation) -> AsyncIterator[Finding]:
    """Who may call."""
    settings = found.settings
    ring = keyring(settings, found.config, None)
    count = len(settings.api_keys) + len(found.config.keys)
    if ring.closed:
        yield fine("callers", f"{count} keys of the environment and the config file; others are in the database")
    else:
        yield fine("callers", f"no key is needed: {settings.host} is reached from this machine alone")
    if settings.admin_key is None and settings.host not in LOOPBACK:
        yield warning("callers", "no admin key", "Set PINHOLE_ADMIN_KEY for /admin and for /metrics.")


async def data_folder(found: Installation) -> AsyncIterator[Finding]:
    """Database, secret, spooled bodies and, unless told otherwise, images lie there."""
    folder = found.settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        remedy = "Choose another PINHOLE_DATA_DIR, or let the gateway's user write there."
        yield problem("data folder", f"{folder} cannot be written ({error.strerror})", remedy)
        return
    said = f"{folder} can be written, {free / ROOM_BYTES:.1f} GiB are free"
    if free < ROOM_BYTES:
        yield warning("data folder", said, "Bodies beyond capacity.bytes and images go there: give it more room.")
    else:
        yield fine("data folder", said)


async def secret(found: Installation) -> AsyncIterator[Finding]:
    """What signs links and peppers key hashes."""
    settings = found.settings
    if settings.secret:
        if min(map(len, settings.secret)) < SHORT_SECRET:
            yield warning("secret", "PINHOLE_SECRET is short", f"Use {SHORT_SECRET} characters or more.")
        else:
            yield fine("secret", f"PINHOLE_SECRET, {len(settings.secret)} of them")
        return
    if found.several:
        remedy = "Give all gateways one PINHOLE_SECRET: links and keys of one are not valid at another without."
        yield warning("secret", "each gateway has one of its own", remedy)
    path = settings.data_dir / "secret"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        readable = os.access(path, os.R_OK)
    except FileNotFoundError:
        yield fine("secret", f"{path} is made at the first start")
        return
    except OSError as error:
        yield problem("secret", f"{path} cannot be seen ({error.strerror})", "Let the gateway's user read it.")
        return
    if not readable:
        yield problem("secret", f"{path} cannot be read", "Let the gateway's user read it.")
    elif mode & 0o077:
        yield warning("secret", f"{path} has mode {mode:04o}: others can read it", f"chmod 600 {path}")
    else:
        yield fine("secret", f"{path}, for its owner alone")


async def public_url(found: Installation) -> AsyncIterator[Finding]:
    """What links begin with."""
    settings = found.settings
    try:
        parts = urlsplit(settings.public_url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        yield problem(
            "public URL", settings.public_url, "Set PINHOLE_PUBLIC_URL to something like https://images.example.com."
        )
    elif host in LOOPBACK and settings.host not in LOOPBACK:
        remedy = "Set PINHOLE_PUBLIC_URL to the address that callers use: links to images begin with it."
        yield warning("public URL", f"{settings.public_url}, while others reach {settings.host}", remedy)
    elif parts.scheme == "http" and host not in LOOPBACK:
        yield warning(
            "public URL", f"{settings.public_url} is not encrypted", "Put a proxy with TLS before it: deploy/."
        )
    else:
        yield fine("public URL", settings.public_url)


async def open_files(found: Installation) -> AsyncIterator[Finding]:
    """The limit of this process; the gateway raises its own to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SOCKETS * found.config.capacity.requests + OTHER_FILES
    if hard not in (resource.RLIM_INFINITY, -1) and hard < wanted:
        remedy = f"Raise it to {wanted} (ulimit -n, LimitNOFILE=), or lower capacity.requests."
        yield warning(
            "open files", f"at most {hard}, for {found.config.capacity.requests} requests in flight", remedy
        )
    else:
        yield fine("open files", "no limit" if hard in (resource.RLIM_INFINITY, -1) else f"up to {hard}")
