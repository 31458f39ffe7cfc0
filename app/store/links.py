"""Signed, expiring links to kept images. The signature covers the name and the time, not the URL before them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from providers.kit.clock import Clock


class Links:
    """Makes and checks links. The first secret signs, all of them verify."""

    def __init__(self, public_url: str, secrets: Sequence[bytes], clock: Clock, ttl_seconds: float) -> None:
        self._public_url = public_url
        self._secrets = [hashlib.sha256(b"pinhole-link:" + secret).digest() for secret in secrets]
        self._clock = clock
        self._ttl = ttl_seconds

    def url(self, name: str) -> str:
        """The link of an image, good for the time images are kept."""
        expires = int(self._clock.time() + self._ttl)
        signature = self._signature(self._secrets[0], name, str(expires))
        return f"{self._public_url}/files/{name}?expires={expires}&signature={signature}"

    def valid(self, name: str, expires: str, signature: str) -> bool:
        """Whether a link was made here and is still good; in constant time for the signature."""
        if not expires.isascii() or not expires.isdigit() or len(expires) > len("9999999999"):
            return False
        made = [
            hmac.compare_digest(self._signature(secret, name, expires).encode(), signature.encode())
            for secret in self._secrets
        ]
        return any(made) and int(expires) > self._clock.time()

    @staticmethod
    def _signature(secret: bytes, name: str, expires: str) -> str:
        digest = hmac.digest(secret, f"{name}\n{expires}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
