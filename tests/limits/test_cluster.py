"""Redis in cluster mode: REDIS_URL names any node, and the one that has our keys is found; a failover is a pause."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from app.limiter import GuardedLimiter, Used
from app.limiter.redis import RedisLimiter
from app.redis import connect
from app.runs.protocol import Record
from app.runs.redis import RedisIndex
from providers.kit.clock import SystemClock
from tests.limits.test_faults import spend, until, until_async
from tests.services import RedisServer, free_port

CLOCK = SystemClock()
MASTERS = 3
SLOTS = 16384


class Node(RedisServer):
    """One node, with its bus on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.bus = free_port()
        timeout = ("--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0")
        super().__init__(folder, "--cluster-enabled", "yes", "--cluster-port", str(self.bus), *timeout)

    async def meet(self, other: Node) -> None:
        """Be of one cluster."""
        await self.ask("CLUSTER", "MEET", "127.0.0.1", str(other.port), str(other.bus))

    async def whole(self, nodes: int) -> bool:
        """Whether this node sees all nodes and all slots."""
        info = str(await self.ask("CLUSTER", "INFO"))
        return "cluster_state:ok" in info and f"cluster_known_nodes:{nodes}" in info


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    """Nodes that do not know each other yet."""
    with ExitStack() as stack:
        yield [stack.enter_context(Node(tmp_path / str(i))) for i in range(MASTERS + 1)]


async def clustered(nodes: list[Node]) -> tuple[Node, list[Node]]:
    """Three masters and a replica of the one that has our keys; that one, and the other two masters."""
    masters, replica = nodes[:MASTERS], nodes[MASTERS]
    for i, node in enumerate(masters):
        first, last = SLOTS * i // MASTERS, SLOTS * (i + 1) // MASTERS - 1
        await node.ask("CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
    for node in nodes[1:]:
        await nodes[0].meet(node)
    for node in nodes:
        await until_async(partial(node.whole, len(nodes)))
    slot = int(await masters[0].ask("CLUSTER", "KEYSLOT", "{pinhole}"))
    owner = masters[slot * MASTERS // SLOTS]
    await replica.ask("CLUSTER", "REPLICATE", await owner.ask("CLUSTER", "MYID"))
    await until_async(lambda: linked(replica))
    return owner, [node for node in masters if node is not owner]


async def linked(replica: Node) -> bool:
    """Whether the replica follows."""
    return bool((await replica.ask("INFO", "replication")).get("master_link_status") == "up")


async def test_any_node_leads_to_the_one_that_decides(nodes: list[Node]) -> None:
    """Gateways that were given different nodes admit together what one limit says, and know each other's runs."""
    owner, others = await clustered(nodes)
    urls = [owner.url, *(node.url for node in others)]
    limiters = [RedisLimiter(connect(url)) for url in urls]
    decisions = await asyncio.gather(
        *(limiters[i % 3].spend(spend(f"r{i}", 2, images_per_minute=60, concurrent_images=50)) for i in range(90))
    )
    await limiters[1].settle(spend("r0", 2, images_per_minute=60, concurrent_images=50), Used(images=2))
    indexes = [RedisIndex(name, connect(url), CLOCK) for name, url in zip("abc", urls, strict=True)]
    for index in indexes:
        await index.start()
    run = Record(id="run", caller="c", label="l", fingerprint="f", key="k", started=CLOCK.time(), owner="a")
    first = await indexes[0].begin(run, retry=0, patience=60)
    again = await indexes[1].find("c", "l")
    for limiter, index in zip(limiters, indexes, strict=True):
        await limiter.close()
        await index.close()

    assert sum(decision.allowed for decision in decisions) == 25
    assert first is None
    assert again
    assert again.id == "run"


async def test_a_failover_in_a_cluster_is_a_pause(nodes: list[Node]) -> None:
    """The node that decides dies: its replica decides after a while, with what it knew, found over another node."""
    owner, others = await clustered(nodes)
    heard: list[bool] = []
    inner = RedisLimiter(connect(others[0].url))
    limiter = GuardedLimiter(inner, CLOCK, lambda _, back: heard.append(back), share=0.5)
    assert (await limiter.spend(spend("before", 3, 900_000, usd_per_day=1.0))).allowed
    await asyncio.sleep(0.3)
    owner.stop()
    during = await limiter.spend(spend("during", 1, requests_per_minute=10))
    await until(lambda: heard[-1:] == [True], 30)
    after = [(await limiter.spend(spend("after", 1, cost, usd_per_day=1.0))).allowed for cost in (200_000, 100_000)]
    await limiter.close()

    assert during.allowed
    assert after == [False, True]
