"""Azure's own emulator of its blob storage (Azurite) on loopback, with one empty container."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Final

from tests.app.s3 import BUCKET, process
from tests.services import free_port

BINARY: Final = Path(__file__).parents[1] / "compat/azurite/node_modules/.bin/azurite-blob"
ENVIRONMENTS: Final = "Azurite is not installed: run tests/compat/environments.sh"
# Every installation of the emulator has this account and this key (learn.microsoft.com, "Use Azurite").
ACCOUNT: Final = "devstoreaccount1"
KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION: Final = "2021-08-06"


def available() -> bool:
    """Whether the emulator can be started here."""
    return BINARY.exists() and shutil.which("node") is not None


def variables(port: int) -> dict[str, str]:
    """What an operator would set."""
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
        "AZURE_ALLOW_HTTP": "true",
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def azurite() -> Iterator[int]:
    """A fresh emulator in memory; yields its port."""
    port = free_port()
    command = [str(BINARY), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    more = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    with process([*command, *more], port, {}):
        _create_container(port)
        yield port


def _create_container(port: int) -> None:
    """One request signed by hand: the client library of the product makes no containers."""
    date = formatdate(usegmt=True)
    resource = f"/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
    text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{VERSION}\n{resource}"
    digest = hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)
    signature = base64.b64encode(digest).decode()
    headers = {"x-ms-date": date, "x-ms-version": VERSION, "authorization": f"SharedKey {ACCOUNT}:{signature}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("PUT", f"/{ACCOUNT}/{BUCKET}?restype=container", headers=headers)
    assert connection.getresponse().status == http.HTTPStatus.CREATED
    connection.close()
