"""`dial_func`: the caller opens the streams, and every byte goes through them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle

import pytest

import dqlite
from dqliteclient import (
    ClusterClient,
    ConnectionPool,
    DqliteConnectionError,
    connect,
    create_pool,
)

pytestmark = pytest.mark.cluster


class Tunnel:
    """Opens streams and knows them."""

    def __init__(self) -> None:
        self.dialled: list[str] = []

    async def __call__(self, address: str):
        self.dialled.append(address)
        host, port = address.rsplit(":", 1)
        return await asyncio.open_connection(host, int(port))


def sockets() -> int:
    """Open sockets of this process; descriptors may go while they are counted."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += "socket:" in os.readlink(f"/proc/self/fd/{descriptor}")
    return count


@pytest.mark.parametrize("which", [0, 1, 2])
async def test_any_node_leads_to_the_leader_through_the_tunnel(trio, which):
    tunnel = Tunnel()
    start = trio.addresses[which]
    conn = await connect(start, dial_func=tunnel)
    await conn.execute("CREATE TABLE IF NOT EXISTS dialled (v)")
    await conn.execute("INSERT INTO dialled VALUES (?)", [b"x" * 300_000])
    assert await conn.fetchval("SELECT length(v) FROM dialled LIMIT 1") == 300_000
    assert tunnel.dialled[0] == start
    assert tunnel.dialled[-1] == trio.leader().address
    await conn.close()


async def test_nothing_is_left_behind(trio):
    before = sockets()
    for _ in range(3):
        async with ConnectionPool(trio.addresses, dial_func=Tunnel()) as pool:
            assert await pool.fetchval("SELECT 1") == 1
        conn = await connect(trio.addresses[0], dial_func=Tunnel())
        await conn.close()
    deadline = asyncio.get_running_loop().time() + 20
    while sockets() > before:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_a_pool_through_the_tunnel(trio):
    tunnel = Tunnel()
    pool = await create_pool([trio.addresses[0]], min_size=2, dial_func=tunnel)
    async with pool.acquire() as conn:
        assert await conn.fetch("SELECT 1 AS a") == [{"a": 1}]
    assert trio.leader().address in tunnel.dialled
    await pool.close()


async def test_administration_through_the_tunnel(trio):
    tunnel = Tunnel()
    cluster = ClusterClient.from_addresses(trio.addresses[:1], dial_func=tunnel)
    assert await cluster.find_leader() == trio.leader().address
    assert len(await cluster.cluster_info()) == 3
    async with cluster.open_admin_connection(trio.addresses[1]) as admin:
        assert (await admin.get_leader())[1] == trio.leader().address
    conn = await cluster.connect()
    assert await conn.fetchval("SELECT 1") == 1
    await conn.close()
    assert set(tunnel.dialled) <= set(trio.addresses)
    with pytest.raises(dqlite.NotSupportedError, match="dial_func"):
        await cluster.describe()


async def test_a_tunnel_that_fails_or_hangs():
    async def fail(address: str):
        text = "no way to " + address
        raise OSError(text)

    async def hang(address: str):
        await asyncio.Event().wait()

    with pytest.raises(DqliteConnectionError, match=r"Failed to connect to h:1: no way to h:1"):
        await connect("h:1", dial_func=fail)
    with pytest.raises(DqliteConnectionError, match=r"Connection to h:1 timed out") as caught:
        await connect("h:1", dial_func=hang, dial_timeout=0.05)
    assert pickle.loads(pickle.dumps(caught.value)).stage == "dial"
