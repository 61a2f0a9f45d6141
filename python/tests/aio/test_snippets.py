"""What newcomers type first, under asyncio, uvloop and trio."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
import trio as trio_module
import uvloop

import dqlite
import dqlite.aio

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"


def _asyncio(work, *args):
    asyncio.run(work(*args))


def _uvloop(work, *args):
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(work(*args))
    finally:
        loop.close()


@pytest.fixture(params=[_asyncio, _uvloop, trio_module.run], ids=["asyncio", "uvloop", "trio"])
def run(request):
    return request.param


@pytest.fixture
def table(conn, url):
    conn.execute("create table t(id integer primary key, a, b)")
    return url


def test_p18_pool_shortcuts_positional_arguments(run, table):
    async def main():
        pool = await dqlite.create_pool(table, min_size=1, max_size=5)
        assert await pool.fetchval("select ? + ?", 1, 2) == 3
        assert await pool.fetchval("select ? + ?", [1, 2]) == 3
        await pool.close()

    run(main)


def test_p19_nested_transaction_is_a_savepoint(run, table):
    async def main():
        async with dqlite.create_pool(table) as pool, pool.acquire() as c:
            async with c.transaction():
                await c.execute("insert into t(a) values (0)")
                with contextlib.suppress(KeyError):
                    async with c.transaction():
                        await c.execute("insert into t(a) values (1)")
                        raise KeyError
                assert c.is_in_transaction()
            assert not c.is_in_transaction()
            assert await c.fetchval("select count(*) from t") == 1

    run(main)


def test_p20_record(run, table):
    async def main():
        async with dqlite.create_pool(table) as pool, pool.acquire() as c:
            r = await c.fetchrow("select 1 as id, 'x' as name")
            assert r["id"] == r[0] == 1
            assert dict(r) == {"id": 1, "name": "x"}
            assert r == (1, "x")
            assert not hasattr(r, "id")

    run(main)


def test_p21_cursor_left_early(run, table):
    async def main():
        async with dqlite.create_pool(table) as pool, pool.acquire() as c, c.transaction():
            await c.executemany("insert into t(a) values (?)", ((i,) for i in range(5000)))
            async for r in c.cursor("select a from t"):
                assert r["a"] == 0
                break
            assert await c.fetchval("select 2") == 2

    run(main)


def test_p22_deadline_leaves_the_connection_usable(run, table):
    async def main():
        async with dqlite.create_pool(table) as pool, pool.acquire() as c:
            begun = time.monotonic()
            with pytest.raises(TimeoutError) as caught:
                await c.fetch(ENDLESS, timeout=0.2)
            assert isinstance(caught.value, dqlite.StatementTimeoutError)
            assert await c.fetchval("select 1") == 1
            assert c.session_number == 1
            assert time.monotonic() - begun < 10

    run(main)


def test_p23_cancelled_task_poisons_nothing(run, table):
    async def cancelled_after(pool, delay):
        if run is trio_module.run:
            with trio_module.move_on_after(delay):
                await pool.fetch("select * from t")
            return
        task = asyncio.ensure_future(pool.fetch("select * from t"))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])

    async def main():
        async with dqlite.create_pool(table, max_size=5) as pool:
            for delay in (0, 0.001, 0.01):
                await cancelled_after(pool, delay)
            assert await pool.fetchval("select 1") == 1
            assert pool.get_size() <= 5

    run(main)


def test_p24_statement_as_a_context(run, table):
    async def main():
        async with dqlite.aio.connect(table) as d, d.execute("select 1") as cur:
            assert await cur.fetchone() == (1,)
        async with dqlite.aio.connect(table) as d:
            cur = await d.execute("insert into t(a) values (?)", ("z",))
            assert cur.lastrowid
            async for row in await d.execute("select a from t"):
                assert row["a"] is not None

    run(main)


@pytest.mark.cluster
@pytest.mark.slow
def test_p25_leader_killed_under_a_loop(run, own_trio):
    database = "p25"

    async def main():
        acked = unknown = 0
        killed = False
        async with dqlite.create_pool(own_trio.addresses, database=database) as pool:
            await pool.execute("create table t(id integer primary key, a, b)")
            start = time.monotonic()
            while (gone := time.monotonic() - start) < 3 or not acked:
                if gone > 0.5 and not killed:
                    acked, killed = 0, own_trio.kill_leader() is not None
                assert await pool.fetchval("select count(*) from t") is not None
                try:
                    await pool.execute("insert into t(a) values (?)", "k" if killed else "before")
                    acked += 1
                except dqlite.OutcomeUnknownError:
                    unknown += 1
            n = await pool.fetchval("select count(*) from t where a = 'k'")
            assert killed
            assert acked <= n <= acked + unknown

    run(main)
