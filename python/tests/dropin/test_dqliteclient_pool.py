"""`dqliteclient.create_pool` against real nodes."""

from __future__ import annotations

import asyncio

import pytest

import dqlite
import dqliteclient
from dqliteclient import ClusterClient, ConnectionPool, MemoryNodeStore, create_pool

pytestmark = pytest.mark.cluster


async def test_shortcuts(trio) -> None:
    async with ConnectionPool(trio.addresses, database="shortcuts") as pool:
        await pool.execute("CREATE TABLE t (a)")
        assert await pool.execute("INSERT INTO t VALUES (?)", [1]) == (1, 1)
        assert await pool.fetch("SELECT a FROM t") == [{"a": 1}]
        assert await pool.fetchall("SELECT a FROM t") == [[1]]
        assert await pool.fetchone("SELECT a FROM t") == {"a": 1}
        assert await pool.fetchval("SELECT a FROM t") == 1
    assert pool.closed


@pytest.mark.parametrize("kind", ["addresses", "node_store", "cluster"])
async def test_every_way_to_name_the_cluster(trio, kind) -> None:
    ways = {
        "addresses": trio.addresses,
        "node_store": MemoryNodeStore(trio.addresses),
        "cluster": ClusterClient.from_addresses(trio.addresses),
    }
    pool = await create_pool(**{kind: ways[kind]})
    assert await pool.fetchval("SELECT 1") == 1
    await pool.close()
    await pool.close()


async def test_a_connection_comes_back_clean(trio) -> None:
    async with ConnectionPool(trio.addresses, database="clean", max_size=1) as pool:
        await pool.execute("CREATE TABLE t (a)")
        async with pool.acquire() as conn:
            await conn.execute("BEGIN")
            await conn.execute("INSERT INTO t VALUES (1)")
        assert await pool.fetchval("SELECT count(*) FROM t") == 0
        with pytest.raises(dqliteclient.DqliteConnectionError, match="Not connected"):
            await conn.fetch("SELECT 1")


async def test_waiting_has_a_deadline(trio) -> None:
    async with ConnectionPool(trio.addresses, max_size=1, timeout=2) as pool:
        async with pool.acquire():
            with pytest.raises(dqliteclient.DqliteConnectionError) as info:
                await pool.fetchval("SELECT 1")
        assert "Timed out waiting for a connection from the pool (max_size=1" in str(info.value)
        assert isinstance(info.value, dqlite.PoolTimeoutError)
        assert await pool.fetchval("SELECT 1") == 1


async def test_closed_pool_says_so(trio) -> None:
    pool = await create_pool(trio.addresses)
    await pool.close()
    with pytest.raises(dqliteclient.DqliteConnectionError, match="Pool is closed"):
        await pool.fetch("SELECT 1")


async def test_close_sends_waiters_away_and_waits_for_borrowers(trio) -> None:
    pool = await create_pool(trio.addresses, max_size=1)
    async with pool.acquire() as conn:
        waiting = asyncio.ensure_future(pool.fetchval("SELECT 1"))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(pool.close())
        with pytest.raises(dqliteclient.DqliteConnectionError, match="Pool is closed"):
            await waiting
        assert await conn.fetchval("SELECT 2") == 2
        assert not closing.done()
    await closing


async def test_initialize_fails_as_a_whole(addresses) -> None:
    nobody = addresses(1)
    with pytest.raises(dqliteclient.ClusterError, match="Could not find leader") as info:
        await create_pool(nobody, min_size=3, max_attempts=1, timeout=2)
    assert nobody[0] in str(info.value)
    with pytest.raises(dqliteclient.ClusterError, match="No nodes configured"):
        await create_pool([], max_attempts=1)


async def test_min_size_is_opened_in_parallel_and_may_be_zero(trio) -> None:
    async with ConnectionPool(trio.addresses, min_size=4) as pool:
        assert "size=4" in repr(pool)
    async with ConnectionPool(trio.addresses, min_size=0) as pool:
        assert "size=0" in repr(pool)
        assert await pool.fetchval("SELECT 1") == 1


async def test_many_tasks_share_few_connections(trio) -> None:
    async with ConnectionPool(trio.addresses, max_size=4) as pool:
        asked = [pool.fetchval("SELECT ?", [n]) for n in range(100)]
        assert await asyncio.gather(*asked) == list(range(100))
        assert "size=4" in repr(pool)


async def test_forgotten_pool_warns(trio) -> None:
    pools = [await create_pool(trio.addresses, min_size=0)]
    with pytest.warns(ResourceWarning, match="garbage-collected"):
        pools.clear()


async def test_survives_a_new_leader(own_trio) -> None:
    async with ConnectionPool(own_trio.addresses, min_size=2, timeout=5) as pool:
        await pool.execute("CREATE TABLE t (a)")
        await asyncio.to_thread(own_trio.leader().stop)
        assert await pool.fetchval("SELECT count(*) FROM t") == 0
        await pool.execute("INSERT INTO t VALUES (1)")
        assert await pool.fetchval("SELECT count(*) FROM t") == 1
