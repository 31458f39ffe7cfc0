"""Where Redis is: REDIS_URL as the address of one server, found anew for each connection."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import RedisSSLContext, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.redis.wire import Asked, Lost, Watch, Wire, bulk, question

PORT: Final = 6379
SENTINEL_PORT: Final = 26379
# Of a sentinel that says nothing: there must be time to ask another one and to reach the server that it names.
SENTINEL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One Redis, by host and port, by the path of its socket, or by its name at sentinels."""

    host: str = "localhost"
    port: int = PORT
    path: str = ""
    db: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    tls: RedisSSLContext | None = None
    sentinel: Sentinel | None = None
    name: str = ""

    async def open(self, watch: Watch, moved: tuple[str, int] | None = None) -> Wire:
        """A connection that may ask; of a cluster, to the node that another one named. Raises Lost."""
        loop = asyncio.get_running_loop()
        wire = Wire(watch)
        try:
            tls = self.tls.get() if self.tls else None
            if self.path:
                await loop.create_unix_connection(lambda: wire, self.path)
            else:
                host, port = moved or await self._found()
                await loop.create_connection(lambda: wire, host or self.host, port, ssl=tls)
            await self._greet(wire, loop)
        except (RedisError, OSError, ValueError) as error:
            wire.drop()
            raise Lost(type(error).__name__) from error
        except BaseException:
            wire.drop()
            raise
        return wire

    async def close(self) -> None:
        """Let go of the sentinels."""
        for sentinel in self.sentinel.sentinels if self.sentinel else ():
            await sentinel.aclose(close_connection_pool=True)

    async def _found(self) -> tuple[str, int]:
        if self.sentinel is None:
            return self.host, self.port
        host, port = await self.sentinel.discover_master(self.name)
        return host, int(port)

    async def _greet(self, wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
        who = (self.user, self.password) if self.user else (self.password,)
        said: list[tuple[object, ...]] = [("AUTH", *who)] if self.password else []
        said += [("SELECT", self.db)] if self.db else []
        asked = [Asked(question([bulk(w) for w in words]), loop.create_future(), loop.time()) for words in said]
        wire.send(asked, loop.time())
        for each in asked:
            await each.reply


def server(url: str) -> Server:
    """The server of redis://, rediss:// (TLS), unix:// or redis+sentinel://host:port,host:port/service?db=0.

    Also rediss+sentinel://. User and password of the URL are the server's; `sentinel_password` in its query is the
    sentinels'. TLS takes redis-py's `ssl_...` options. Raises ValueError, whose text may repeat the URL.
    """
    scheme, _, rest = url.partition("://")
    if scheme.endswith("+sentinel"):
        return _of_sentinels(scheme.removesuffix("+sentinel"), rest)
    found: dict[str, Any] = {**parse_url(url)}
    found.pop("connection_class", None)
    return Server(
        host=found.pop("host", "localhost"),
        port=found.pop("port", PORT),
        path=found.pop("path", ""),
        user=found.pop("username", ""),
        password=found.pop("password", ""),
        db=int(found.pop("db", 0)),
        tls=_tls(found, scheme),
    )


def _of_sentinels(scheme: str, rest: str) -> Server:
    parts = urlsplit(f"//{rest}")
    hosts = parts.netloc.rpartition("@")[2].split(",")
    nodes = [(host.rpartition(":")[0] or host, int(host.rpartition(":")[2] or SENTINEL_PORT)) for host in hosts]
    named: dict[str, Any] = {**parse_url(f"{scheme}://sentinel/?{parts.query}")}
    for name in ("connection_class", "host"):
        named.pop(name, None)
    db, password = int(named.pop("db", 0)), named.pop("sentinel_password", None)
    tls = _tls(named, scheme)
    secure = {**named, "ssl": True} if tls else {}
    times = {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS}
    asking = {**times, "retry": Retry(NoBackoff(), 0), "decode_responses": True, "password": password, **secure}
    found = Sentinel(nodes, sentinel_kwargs=asking)  # type: ignore[no-untyped-call] # redis-py 8.1 leaves it untyped
    return Server(
        sentinel=found,
        name=parts.path.strip("/") or "mymaster",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        db=db,
        tls=tls,
    )


def _tls(options: dict[str, Any], scheme: str) -> RedisSSLContext | None:
    """What is left of a URL's options is for TLS, whose files are read. Raises ValueError."""
    if any(not name.startswith("ssl_") for name in options) or (options and scheme != "rediss"):
        raise ValueError("an option that is not known")  # such as timeouts, which are chosen here
    if scheme != "rediss":
        return None
    try:
        found: RedisSSLContext = SSLConnection(**options).ssl_context
        found.get()
    except (OSError, ssl.SSLError, TypeError, RedisError) as error:
        raise ValueError(str(error)) from error
    return found
