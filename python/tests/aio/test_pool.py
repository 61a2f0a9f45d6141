"""The pool: who gets a connection, what comes back, and what a lost leader does to it."""

from __future__ import annotations

import asyncio
import gc
import os
import time

import pytest

import dqlite
import dqlite.aio


@pytest.fixture
async def pool(url):
    async with dqlite.create_pool(url, min_size=1, max_size=3) as pool:
        yield pool


async def test_shortcuts(pool):
    await pool.execute("create table t(a)")
    assert await pool.executemany("insert into t values (?)", [(1,), (2,)]) == 2
    assert await pool.fetch("select a from t") == [(1,), (2,)]
    assert await pool.fetchrow("select a from t") == (1,)
    assert (
        await pool.fetchval("select ? + ?", 1, 2)
        == 3
        == await pool.fetchval("select ? + ?", [1, 2])
    )
    with pytest.raises(KeyError):
        async with pool.transaction() as conn:
            await conn.execute("delete from t")
            raise KeyError
    assert await pool.fetchval("select count(*) from t") == 2


async def test_pool_is_awaited_or_entered(url):
    pool = await dqlite.create_pool(url, min_size=2, max_size=5)
    assert (pool.get_size(), pool.get_idle_size()) == (2, 2)
    assert (pool.get_min_size(), pool.get_max_size()) == (2, 5)
    await pool.close()
    await pool.close()
    assert pool.is_closed()
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        await pool.fetchval("select 1")


async def test_never_more_than_max_and_waiters_in_order(pool):
    held = [await pool.acquire() for _ in range(3)]
    for conn in held:
        await pool.release(conn)
    order = []

    async def use(i):
        async with pool.acquire() as conn:
            order.append(i)
            assert pool.get_size() <= 3
            await conn.fetchval("select 1")

    await asyncio.gather(*(use(i) for i in range(50)))
    assert order == list(range(50))
    stats = pool.get_stats()
    assert stats["acquired"] == 53
    assert stats["in_use"] == stats["waiting"] == 0


async def test_timeout_says_what_is_taken(pool):
    held = [await pool.acquire() for _ in range(3)]
    with pytest.raises(dqlite.PoolTimeoutError, match=r"max_size=3, in use=3") as caught:
        await pool.acquire(timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    for conn in held:
        await pool.release(conn)
    assert await pool.fetchval("select 1") == 1


async def test_bounded_queue(url):
    async with dqlite.create_pool(url, max_size=1, max_waiting=1) as pool:
        held = await pool.acquire()
        waiter = asyncio.create_task(pool.fetchval("select 1"))
        await asyncio.sleep(0)
        with pytest.raises(dqlite.PoolTimeoutError, match="wait"):
            await pool.acquire()
        await pool.release(held)
        assert await waiter == 1


async def test_released_connection_refuses_use(pool):
    async with pool.acquire() as conn:
        assert await conn.fetchval("select 1") == 1
    with pytest.raises(dqlite.InterfaceError, match="released"):
        await conn.fetchval("select 1")
    assert conn.is_closed()
    await pool.release(conn)


async def test_open_transaction_is_rolled_back_on_return(pool):
    await pool.execute("create table t(a)")
    async with pool.acquire() as conn:
        await conn.execute("begin immediate")
        await conn.execute("insert into t values (1)")
    assert await pool.fetchval("select count(*) from t") == 0
    await pool.execute("insert into t values (2)", timeout=4)


async def test_cancelled_waiters_lose_nothing(pool):
    for _ in range(20):
        tasks = [asyncio.create_task(pool.fetchval("select ?", i)) for i in range(100)]
        await asyncio.sleep(0.001)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        assert all(task.result() == i for i, task in enumerate(tasks) if not task.cancelled())
    assert pool.get_size() <= 3
    held = [await pool.acquire(timeout=5) for _ in range(3)]
    assert len({conn.address for conn in held}) == 1
    for conn in held:
        await pool.release(conn)


async def test_a_storm_of_ten_thousand_cancelled_acquires(pool):
    held = [await pool.acquire() for _ in range(3)]
    given = 0

    async def borrow():
        nonlocal given
        async with pool.acquire(timeout=30):
            given += 1
            await asyncio.sleep(0)

    for lot in range(10):
        tasks = [asyncio.create_task(borrow()) for _ in range(1000)]
        await asyncio.sleep(0)
        if held:
            await pool.release(held.pop())
        for i, task in enumerate(tasks):
            task.cancel()
            if i % 50 == lot:
                await asyncio.sleep(0)  # some have been served by now
        await asyncio.wait(tasks)
    stats = pool.get_stats()
    assert stats["in_use"] == stats["waiting"] == 0
    assert pool.get_size() == pool.get_idle_size() == 3
    assert stats["acquired"] == 3 + given
    assert await pool.fetchval("select 1") == 1


async def test_hooks(url):
    seen = []

    def hook(word):
        async def tell(conn):
            seen.append((word, await conn.fetchval("select 1")))

        return tell

    hooks = {word: hook(word) for word in ("init", "check", "setup", "reset")}
    async with dqlite.create_pool(url, min_size=1, max_size=1, **hooks) as pool:
        assert seen == [("init", 1)]
        seen.clear()
        async with pool.acquire():
            seen.append("use")
        assert await pool.fetchval("select 2", timeout=5) == 2
        assert seen[:4] == [("check", 1), ("setup", 1), "use", ("reset", 1)]
        await pool.expire_connections()
        seen.clear()
        await pool.fetchval("select 1")
        assert ("init", 1) in seen


async def test_hooks_may_be_plain_functions(url):
    names = []
    async with dqlite.create_pool(url, setup=lambda conn: names.append(conn.name)) as pool:
        assert await pool.fetchval("select 1") == 1
    assert len(names) == 1


async def test_a_failing_check_costs_the_session(url):
    doubts = [True]

    async def check(conn):
        if doubts and doubts.pop():
            raise dqlite.ConnectionFailedError
        await dqlite.Pool.check_ping(conn)

    async with dqlite.create_pool(url, max_size=1, check=check) as pool, pool.acquire() as conn:
        assert conn.session_number == 2


async def test_a_failing_setup_or_reset_gives_the_place_back(url):
    def fail(conn):
        raise KeyError(conn.name)

    async with dqlite.create_pool(url, max_size=1, setup=fail) as pool:
        for _ in range(3):
            with pytest.raises(KeyError):
                await pool.acquire(timeout=5)
    async with dqlite.create_pool(url, max_size=1, reset=fail) as pool:
        for _ in range(3):
            assert await pool.fetchval("select 1") == 1


async def test_resize(url):
    async with dqlite.create_pool(url, min_size=1, max_size=2) as pool:
        pool.resize(3, 4)
        await pool.wait(20)
        assert (pool.get_size(), pool.get_min_size(), pool.get_max_size()) == (3, 3, 4)
        pool.resize(0, 1)
        assert pool.get_size() == 1
        held = await pool.acquire()
        waiter = asyncio.create_task(pool.fetchval("select 1"))
        await asyncio.sleep(0)
        pool.resize(0, 2)
        assert await waiter == 1
        await pool.release(held)
        with pytest.raises(dqlite.ProgrammingError, match="sizes"):
            pool.resize(2, 1)


async def test_close_waits_for_borrowers_only_so_long(url):
    pool = await dqlite.create_pool(url)
    held = await pool.acquire()
    await pool.close(timeout=0.05)
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        await held.fetchval("select 1")


async def test_an_old_session_is_renewed(url):
    async with dqlite.create_pool(url, max_size=1, max_lifetime=0.001) as pool:
        deadline = time.monotonic() + 10
        while pool.get_stats()["opened"] < 2:
            assert time.monotonic() < deadline
            assert await pool.fetchval("select 1") == 1
        assert pool.get_size() <= 1  # it may be too old again


async def test_cancelled_at_the_moment_of_the_handover(pool):
    held = [await pool.acquire() for _ in range(3)]
    waiter = asyncio.create_task(pool.fetchval("select 1"))
    next_one = asyncio.create_task(pool.fetchval("select 2"))
    await asyncio.sleep(0)
    await pool.release(held.pop())
    waiter.cancel()
    assert await next_one == 2
    for conn in held:
        await pool.release(conn)
    await asyncio.wait([waiter])
    assert pool.get_stats()["in_use"] == 0


async def test_idle_connections_above_the_minimum_are_closed(url, until):
    async with dqlite.create_pool(url, min_size=1, max_size=4, max_idle=0.2) as pool:
        await asyncio.gather(*(pool.fetchval("select 1") for _ in range(4)))
        assert pool.get_size() == 4
        deadline = time.monotonic() + 10
        while pool.get_size() > 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def test_expired_sessions_are_replaced(pool):
    async with pool.acquire() as conn:
        before = conn.session_number
        await pool.expire_connections()
        assert await conn.fetchval("select 1") == 1
    assert await pool.fetchval("select 1") == 1
    assert before == 1
    assert pool.get_stats()["closed"] >= 1


async def test_opening_fails_as_a_whole(addresses):
    with pytest.raises(dqlite.NoLeaderError):
        await dqlite.create_pool(addresses(1)[0], min_size=3, connect_timeout=0.3)


@pytest.mark.parametrize("sizes", [(-1, 1), (2, 1), (0, 0)])
def test_sizes_are_checked(url, sizes):
    with pytest.raises(dqlite.ProgrammingError, match="sizes"):
        dqlite.create_pool(url, min_size=sizes[0], max_size=sizes[1])


async def test_open_pool_warns_when_collected(url):
    pool = await dqlite.create_pool(url)
    with pytest.warns(ResourceWarning, match="garbage-collected open"):
        del pool
        gc.collect()
    await asyncio.sleep(0)


async def test_descriptors_are_given_back(url):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        async with dqlite.create_pool(url, min_size=5, max_size=5) as pool:
            await asyncio.gather(*(pool.fetchval("select 1") for _ in range(20)))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.cluster
@pytest.mark.slow
async def test_a_killed_leader_loses_no_acknowledged_row(own_trio):
    async with dqlite.create_pool(own_trio.addresses, max_size=8, database="app") as pool:
        await pool.execute("create table t(a)")
        acked = unknown = 0
        end, killed = time.monotonic() + 4, False

        async def write():
            nonlocal acked, unknown
            while time.monotonic() < end:
                assert await pool.fetchval("select count(*) from t") is not None
                try:
                    await pool.execute("insert into t values ('k')")
                    acked += 1
                except dqlite.OutcomeUnknownError:
                    unknown += 1

        async def kill():
            nonlocal killed
            await asyncio.sleep(1)
            await asyncio.to_thread(own_trio.kill_leader)
            killed = True

        await asyncio.gather(kill(), *(write() for _ in range(8)))
        found = await pool.fetchval("select count(*) from t where a = 'k'")
        assert killed
        assert acked > 0
        assert acked <= found <= acked + unknown
        assert pool.get_size() <= 8


@pytest.mark.cluster
async def test_a_moved_leader_is_followed(own_trio):
    async with dqlite.create_pool(own_trio.addresses, min_size=3, database="app") as pool:
        await pool.execute("create table t(a)")
        old = await asyncio.to_thread(own_trio.leader)
        await asyncio.to_thread(old.handover)
        assert await pool.fetchval("select count(*) from t") == 0
        await pool.execute("insert into t values (1)")
        async with pool.acquire() as conn:
            assert conn.address != old.address
