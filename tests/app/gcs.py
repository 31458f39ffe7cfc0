"""Google Cloud Storage as its XML API is documented, on loopback, with one empty bucket and one service account.

cloud.google.com/storage/docs/xml-api (objects, headers, listing; read 2026-11-26); tokens an account signs itself:
developers.google.com/identity/protocols/oauth2/service-account, "without OAuth". What is not documented there is
refused; the code of an unsigned request is not verified.
"""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from functools import cached_property
from hashlib import md5
from typing import Any, Final
from urllib.parse import unquote
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.app.s3 import BUCKET
from tests.upstreams.http import Exchange, Reply
from tests.upstreams.server import StandIn

ACCOUNT: Final = "pinhole@tests.iam.gserviceaccount.com"
KEY_ID: Final = "0123456789abcdef"
PAGE: Final = 2  # documented are up to 1000; fewer, so that every listing needs the next page's token
HEADERS: Final = frozenset(
    {"host", "accept", "user-agent", "authorization", "content-length", "content-type", "range"}
)
LISTING: Final = frozenset({"list-type", "prefix", "start-after", "continuation-token", "max-keys"})
SCOPE: Final = re.compile(r"https://www\.googleapis\.com/auth/(cloud-platform|devstorage\.(full_control|read_write))")


class Refusal(Exception):
    """An error document."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class Thing:
    """A kept object."""

    data: bytes
    media_type: str
    modified: float
    generation: int


class GoogleStorage(StandIn):
    """PUT, GET (ranges), HEAD and DELETE of an object, and GET of the bucket in its second version."""

    def __init__(self) -> None:
        super().__init__()
        self.things: dict[str, Thing] = {}

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def account(self) -> str:
        """The key file of the service account; the two fields of the emulator's move the endpoint (obstore 0.12)."""
        form = serialization.PrivateFormat.PKCS8
        pem = self._key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        return json.dumps(
            {
                "type": "service_account",
                "private_key": pem.decode(),
                "private_key_id": KEY_ID,
                "client_email": ACCOUNT,
                "gcs_base_url": self.url,
                "disable_oauth": False,
            }
        )

    def variables(self) -> dict[str, str]:
        """What an operator would set."""
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": self.account, "NO_PROXY": "127.0.0.1"}

    def handle(self, exchange: Exchange) -> Reply:
        try:
            return self._routed(exchange)
        except Refusal as refusal:
            body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{refusal.code}</Code></Error>"
            text = b"" if exchange.method == "HEAD" else body.encode()
            return Reply(status=refusal.status, headers=(("content-type", "application/xml"),), body=text)

    def _routed(self, exchange: Exchange) -> Reply:
        self._admit(exchange)
        if {name.lower() for name, _ in exchange.headers} - HEADERS:
            raise Refusal(400, "InvalidArgument")
        bucket, _, key = exchange.path.removeprefix("/").partition("/")
        if bucket != BUCKET:
            raise Refusal(404, "NoSuchBucket")
        return self._object(exchange, unquote(key, errors="strict")) if key else self._listing(exchange)

    def _object(self, exchange: Exchange, key: str) -> Reply:
        if exchange.query:
            raise Refusal(400, "InvalidArgument")
        if exchange.method == "PUT":
            return self._put(exchange, key)
        if exchange.body or exchange.method not in {"GET", "HEAD", "DELETE"}:
            raise Refusal(405 if not exchange.body else 400, "MethodNotAllowed")
        thing = self.things.get(key)
        if thing is None:
            raise Refusal(404, "NoSuchKey")
        if exchange.method == "DELETE":
            del self.things[key]
            return Reply(status=204)
        return _given(thing, exchange)

    def _put(self, exchange: Exchange, key: str) -> Reply:
        if exchange.header("content-length") is None:
            raise Refusal(411, "MissingContentLength")
        if exchange.header("range") is not None:
            raise Refusal(400, "InvalidArgument")
        media_type = exchange.header("content-type") or "application/octet-stream"
        generation = len(self.exchanges) + 1
        self.things[key] = Thing(exchange.body, media_type, time.time(), generation)
        return Reply(headers=_marks(self.things[key]))

    def _listing(self, exchange: Exchange) -> Reply:
        asked = {name: values[0] for name, values in exchange.query.items() if len(values) == 1}
        if exchange.method != "GET" or set(exchange.query) - LISTING or asked.get("list-type") != "2":
            raise Refusal(400, "InvalidArgument")
        after = max(asked.get("start-after", ""), _opened(asked.get("continuation-token", "")))
        found = sorted(key for key in self.things if key.startswith(asked.get("prefix", "")) and key > after)
        most = min(PAGE, int(asked.get("max-keys", "1000")))
        page, more = found[:most], found[most:]
        token = base64.b64encode(page[-1].encode()).decode() if more else ""
        items = "".join(self._item(key) for key in page)
        body = (
            "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>"
            f"<Name>{BUCKET}</Name><Prefix>{escape(asked.get('prefix', ''))}</Prefix>"
            f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated><KeyCount>{len(page)}</KeyCount>"
            f"{f'<NextContinuationToken>{token}</NextContinuationToken>' if more else ''}{items}</ListBucketResult>"
        )
        return Reply.file("application/xml; charset=UTF-8", body.encode())

    def _item(self, key: str) -> str:
        thing = self.things[key]
        modified = datetime.fromtimestamp(thing.modified, UTC).isoformat(timespec="milliseconds")
        return (
            f"<Contents><Key>{escape(key)}</Key><Generation>{thing.generation}</Generation>"
            f"<MetaGeneration>1</MetaGeneration><LastModified>{modified.replace('+00:00', 'Z')}</LastModified>"
            f"<ETag>{dict(_marks(thing))['etag']}</ETag><Size>{len(thing.data)}</Size></Contents>"
        )

    def _admit(self, exchange: Exchange) -> None:
        """A token that the service account signed itself, of at most an hour, for a scope that may write."""
        kind, _, token = (exchange.header("authorization") or "").partition(" ")
        parts = token.split(".")
        if kind != "Bearer" or len(parts) != 3:
            raise Refusal(401, "AuthenticationRequired")
        head, claims = (json.loads(_unpadded(part)) for part in parts[:2])
        signed = f"{parts[0]}.{parts[1]}".encode()
        try:
            self._key.public_key().verify(_unpadded(parts[2]), signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise Refusal(401, "AuthenticationRequired") from None
        if head != {"typ": "JWT", "alg": "RS256", "kid": KEY_ID} or not _sound(claims):
            raise Refusal(401, "AuthenticationRequired")


def _sound(claims: dict[str, Any]) -> bool:
    now, issued, expires = time.time(), claims["iat"], claims["exp"]
    own = claims["iss"] == claims["sub"] == ACCOUNT
    return own and bool(SCOPE.fullmatch(claims["scope"])) and issued - 60 <= now < expires <= issued + 3600


def _given(thing: Thing, exchange: Exchange) -> Reply:
    asked, size = exchange.header("range"), len(thing.data)
    head = (
        *_marks(thing),
        ("content-type", thing.media_type),
        ("last-modified", formatdate(thing.modified, usegmt=True)),
    )
    if exchange.method == "HEAD":
        return Reply(headers=(*head, ("content-length", str(size))))
    if asked is None:
        return Reply(headers=head, body=thing.data)
    match = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", asked)
    if match is None or int(match[1]) >= size:
        raise Refusal(416, "InvalidRange")
    start, stop = int(match[1]), min(int(match[2]) + 1, size)
    return Reply(
        status=206,
        headers=(*head, ("content-range", f"bytes {start}-{stop - 1}/{size}")),
        body=thing.data[start:stop],
    )


def _marks(thing: Thing) -> tuple[tuple[str, str], ...]:
    digest = md5(thing.data)  # noqa: S324 - Google's entity tag
    return (
        ("etag", f'"{digest.hexdigest()}"'),
        ("x-goog-generation", str(thing.generation)),
        ("x-goog-hash", f"md5={base64.b64encode(digest.digest()).decode()}"),
    )


def _opened(token: str) -> str:
    return base64.b64decode(token, validate=True).decode()


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
