"""Redis over TLS and behind a password, as managed ones are."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.limiter.protocol import LimiterLost
from app.limiter.redis import RedisLimiter
from app.redis import connect
from tests.app.test_limiter import spend
from tests.services import RedisServer

PASSWORD = "s3cret-of-redis"


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A server that takes TLS alone; its port and the authority to trust."""
    certificate, key = tmp_path / "redis.crt", tmp_path / "redis.key"
    sign(certificate, key)
    options = ["--port", "0", "--tls-port", "{port}", "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    options += ["--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no", "--requirepass", PASSWORD]
    with RedisServer(tmp_path / "redis", *options) as server:
        yield server.port, certificate


async def test_decisions_come_over_tls_with_a_password(secure: tuple[int, Path]) -> None:
    """A limit holds exactly over `rediss://`, the certificate checked against the file that the URL names."""
    port, authority = secure
    limiter = RedisLimiter(connect(f"rediss://:{PASSWORD}@127.0.0.1:{port}/0?ssl_ca_certs={authority}"))
    decisions = [await limiter.spend(spend(f"r{i}", requests_per_minute=3)) for i in range(5)]
    await limiter.close()
    assert [decision.allowed for decision in decisions] == [True, True, True, False, False]


async def test_a_server_that_cannot_be_trusted_is_no_limiter(secure: tuple[int, Path]) -> None:
    """Without its authority nothing is said to it, and the password stays here."""
    limiter = RedisLimiter(connect(f"rediss://:{PASSWORD}@127.0.0.1:{secure[0]}/0"))
    with pytest.raises(LimiterLost):
        await limiter.spend(spend("r", requests_per_minute=3))
    await limiter.close()


def sign(certificate: Path, key: Path) -> None:
    """A certificate for 127.0.0.1 that signs itself."""
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis of the tests")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key.write_bytes(secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
