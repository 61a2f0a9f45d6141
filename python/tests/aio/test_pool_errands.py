"""Statements that wait for a connection of the pool are sent as soon as one is free."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

import dqlite
import dqlite.aio

LONG = (
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1e9) "
    "SELECT count(*) FROM c"
)


@pytest.fixture
async def pool(url):
    async with dqlite.create_pool(url, min_size=1, max_size=1) as pool:
        yield pool


@pytest.fixture
async def held(pool):
    """The only connection, borrowed."""
    return await pool.acquire()


async def behind(pool, *works):
    """Start them all; they wait for a connection when it returns."""
    tasks = [asyncio.ensure_future(work) for work in works]
    await asyncio.sleep(0)
    assert pool.get_stats()["waiting"] == len(works)
    return tasks


async def test_every_waiter_gets_its_own_answer(pool, held):
    tasks = await behind(pool, *(pool.fetchval("select ?", i) for i in range(50)))
    await pool.release(held)
    assert await asyncio.gather(*tasks) == list(range(50))
    stats = pool.get_stats()
    assert (stats["waiting"], stats["in_use"], stats["idle"]) == (0, 0, 1)
    assert stats["acquired"] == 51
    assert stats["wait_seconds_total"] > 0


async def test_none_is_an_answer(pool, held):
    tasks = await behind(pool, pool.fetchval("select null"), pool.fetchrow("select 1 where 0"))
    await pool.release(held)
    assert await asyncio.gather(*tasks) == [None, None]


async def test_statements_and_borrowers_are_served_in_the_order_of_asking(pool, held):
    order = []

    async def ask(i):
        await pool.fetchval("select 1")
        order.append(i)

    async def borrow(i):
        async with pool.acquire() as conn:
            await conn.fetchval("select 1")
            order.append(i)

    works = (ask(i) if i % 3 else borrow(i) for i in range(12))
    tasks = await behind(pool, *works)
    await pool.release(held)
    await asyncio.gather(*tasks)
    assert order == list(range(12))


async def test_a_wrong_argument_is_its_owner_s_affair(pool, held):
    tasks = await behind(
        pool,
        pool.fetchval("select ?", object()),
        pool.fetchval("select ?, ?", 1),
        pool.fetchval("selec 1"),
        pool.fetchval("select 7"),
    )
    await pool.release(held)
    *wrong, right = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in wrong] == [
        dqlite.ProgrammingError,
        dqlite.ProgrammingError,
        dqlite.OperationalError,
    ]
    assert right == 7
    assert pool.get_stats()["in_use"] == 0


async def test_a_session_that_died_meanwhile_is_replaced(pool, held):
    tasks = await behind(pool, *(pool.fetchval("select ?", i) for i in range(3)))
    await pool.expire_connections()
    held.terminate()
    await pool.release(held)
    assert await asyncio.gather(*tasks) == [0, 1, 2]
    assert pool.get_size() == 1


async def test_who_waits_too_long_is_told_and_takes_nothing(url):
    async with dqlite.create_pool(url, max_size=1, acquire_timeout=0.05) as pool:
        held = await pool.acquire()
        with pytest.raises(dqlite.PoolTimeoutError, match="max_size=1, in use=1"):
            await pool.fetchval("select 1")
        await pool.release(held)
        assert await pool.fetchval("select 1") == 1
        assert pool.get_stats()["timeouts"] == 1


async def test_a_cancelled_statement_is_ended_and_the_next_one_served(pool, held):
    endless, after = await behind(pool, pool.fetchval(LONG), pool.fetchval("select 5"))
    await pool.release(held)
    assert pool.get_stats()["waiting"] == 1
    endless.cancel()
    with pytest.raises(asyncio.CancelledError):
        await endless
    assert await asyncio.wait_for(after, 20) == 5
    assert pool.get_stats()["in_use"] == 0


async def test_who_is_cancelled_when_served_gives_the_connection_back(pool, held):
    first, second = await behind(pool, pool.fetchval("select 1"), pool.fetchval("select 2"))
    await pool.release(held)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await asyncio.wait_for(second, 20) == 2
    assert pool.get_stats()["in_use"] == 0


async def test_closing_refuses_who_waits(pool, held):
    (task,) = await behind(pool, pool.fetchval("select 1"))
    pool.terminate()
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        await task
    assert held.is_closed()


async def test_hooks_see_every_statement_that_waited(url):
    seen = []
    async with dqlite.create_pool(url, max_size=1, setup=seen.append) as pool:
        held = await pool.acquire()
        tasks = await behind(pool, pool.fetchval("select 1"), pool.fetchval("select 2"))
        await pool.release(held)
        assert await asyncio.gather(*tasks) == [1, 2]
    assert len(seen) == 3


async def test_a_storm_of_cancelled_statements(url, eventually):
    async with dqlite.create_pool(url, min_size=4, max_size=4) as pool:
        await pool.execute("create table t(a)")

        async def insert(i):
            await pool.execute("insert into t values (?)", i)
            return i

        tasks = [asyncio.ensure_future(insert(i)) for i in range(2_000)]
        chance = random.Random(7)
        while not all(task.done() for task in tasks):
            for task in chance.sample(tasks, 10):
                task.cancel()
            await asyncio.sleep(0)
        done = {task.result() for task in tasks if not task.cancelled()}
        await eventually(lambda: not pool.get_stats()["in_use"])
        stats = pool.get_stats()
        assert (stats["waiting"], stats["pool_size"]) == (0, 4)
        rows = [row[0] for row in await pool.fetch("select a from t")]
        assert done <= set(rows)
        assert len(rows) == len(set(rows))


async def test_a_transaction_object_that_outlives_its_loan_touches_nobody_else_s(pool):
    async def lose_it():
        conn = await pool.acquire()
        await conn.execute("create table t(a)")
        left = conn.transaction()
        await left.start()
        await conn.execute("insert into t values (1)")
        await pool.release(conn)
        return left

    left = await asyncio.create_task(lose_it())
    assert await pool.fetchval("select count(*) from t", timeout=20) == 0
    async with pool.transaction() as conn:
        await conn.execute("insert into t values (2)")
        with pytest.raises(dqlite.InterfaceError, match="closed"):
            await left.commit()
        assert conn.in_transaction
    assert [row[0] for row in await pool.fetch("select a from t")] == [2]


async def test_who_loses_a_connection_to_the_end_of_the_pool_is_told_so(url, eventually):
    pool = await dqlite.create_pool(url, min_size=1, max_size=1)
    (task,) = [asyncio.ensure_future(pool.fetchval(LONG))]
    await eventually(lambda: pool.get_stats()["in_use"])
    pool.terminate()
    with pytest.raises(dqlite.InterfaceError, match="connection is closed"):
        await task
    pool = await dqlite.create_pool(url)
    async with pool.acquire() as conn:
        await pool.close(0.01)
        assert conn.is_closed()


async def test_nobody_is_served_by_a_pool_that_has_ended_meanwhile(url):
    pool = await dqlite.create_pool(url, min_size=1, max_size=1)
    held = await pool.acquire()
    task = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)
    await pool.release(held)
    assert pool.get_stats()["waiting"] == 0
    pool.terminate()
    with pytest.raises(dqlite.InterfaceError, match="pool is closed"):
        await task
    pool = await dqlite.create_pool(url, min_size=0)
    tasks = [asyncio.ensure_future(pool.fetchval("select 1")) for _ in range(3)]
    await asyncio.sleep(0)
    assert pool.get_size() == 3
    await pool.close()
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(error, dqlite.InterfaceError)
    assert pool.get_size() == 0


async def test_a_smaller_pool_shrinks_although_somebody_waits(url):
    async with dqlite.create_pool(url, min_size=3, max_size=3) as pool:
        held = [await pool.acquire() for _ in range(3)]
        tasks = await behind(pool, *(pool.fetchval("select ?", i) for i in range(10)))
        pool.resize(1, 1)
        for conn in held:
            await pool.release(conn)
        assert await asyncio.gather(*tasks) == list(range(10))
        stats = pool.get_stats()
        assert (stats["pool_size"], stats["opened"], stats["closed"]) == (1, 3, 2)


@pytest.mark.parametrize("waits", [False, True])
async def test_the_errors_of_statements_are_collected(pool, waits):
    async def fail():
        with pytest.raises(dqlite.OperationalError, match="nobody_collects"):
            await pool.fetchval("select nobody_collects")

    held = await pool.acquire() if waits else None
    tasks = [asyncio.ensure_future(fail()) for _ in range(20)]
    await asyncio.sleep(0)
    if held is not None:
        await pool.release(held)
    await asyncio.gather(*tasks)
    del tasks
    gc.collect()
    kept = [one for one in gc.get_objects() if isinstance(one, dqlite.OperationalError)]
    assert len([one for one in kept if "nobody_collects" in str(one)]) <= 1
