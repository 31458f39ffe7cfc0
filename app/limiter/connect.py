"""A client of Redis that a limiter can trust: no retries of its own, short timeouts, a bound on connections."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

TIMEOUT_SECONDS: Final = 0.5
CONNECTIONS: Final = 32
SENTINEL_PORT: Final = 26379


def connect(url: str) -> Redis:
    """A client for redis://, rediss:// (TLS), unix:// or redis+sentinel://host:port,host:port/service?db=0.

    Also rediss+sentinel://. User and password of the URL are the server's; `sentinel_password` in its query is the
    sentinels'. TLS takes `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile`. Raises ValueError.

    redis-py 8 retries ten times by default and so counts one decision several times (facts of 2026-11): no retries
    here, short timeouts, and the request's mark makes the one repeat we do harmless.
    """
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "decode_responses": True,
        "max_connections": 2 * CONNECTIONS,  # the limiter uses half of them: what it cancelled may still be closing
    }
    scheme, _, rest = url.partition("://")
    if not scheme.endswith("+sentinel"):
        return Redis.from_pool(ConnectionPool.from_url(url, **options))
    return _of_sentinels(scheme.removesuffix("+sentinel"), rest, options)


async def disconnect(client: Redis) -> None:
    """Let go of all connections, those to sentinels too."""
    await client.connection_pool.disconnect(inuse_connections=True)
    await client.aclose(close_connection_pool=True)
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    for sentinel in manager.sentinels if manager else ():
        await sentinel.aclose(close_connection_pool=True)


def _of_sentinels(scheme: str, rest: str, options: dict[str, Any]) -> Redis:
    parts = urlsplit(f"//{rest}")
    hosts = parts.netloc.rpartition("@")[2].split(",")
    nodes = [(host.rpartition(":")[0] or host, int(host.rpartition(":")[2] or SENTINEL_PORT)) for host in hosts]
    named: dict[str, Any] = {**parse_url(f"{scheme}://sentinel/?{parts.query}")}
    secure = {name: value for name, value in named.items() if name.startswith("ssl_")}
    if scheme == "rediss":
        secure["ssl"] = True
    same = ("socket_timeout", "socket_connect_timeout", "retry", "decode_responses")
    asking = {**{name: options[name] for name in same}, "password": named.get("sentinel_password")}
    found: Any = Sentinel(  # type: ignore[no-untyped-call] # redis-py 8.1 leaves it untyped
        nodes,
        sentinel_kwargs={**asking, **secure},
    )
    user, password = (unquote(text) if text else None for text in (parts.username, parts.password))
    master: Redis = found.master_for(
        parts.path.strip("/") or "mymaster",
        **{**options, **secure, "db": int(named.get("db", 0)), "username": user, "password": password},
    )
    return master
