"""Under trio: cancel scopes, nurseries, shared connections, the end of a run."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time

import pytest
import trio
import trio.testing

import dqlite
import dqlite.aio

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
MANY = "with recursive n(i) as (select 1 union all select i + 1 from n limit {}) select i from n"


async def eventually(holds, seconds=20):
    with trio.fail_after(seconds):
        while True:
            if holds():
                return
            await trio.sleep(0.01)


def test_tasks_share_a_connection_in_order(url):
    async def main():
        order = []

        async def work(conn, number):
            for i in range(50):
                assert await conn.fetchval("select ?", number * 100 + i) == number * 100 + i
            order.append(number)

        async with dqlite.aio.connect(url) as conn, trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(work, conn, number)
        assert sorted(order) == list(range(8))

    trio.run(main)


@pytest.mark.parametrize("sql", [ENDLESS, MANY.format(10_000_000)])
def test_scope_that_times_out_ends_the_statement(url, sql):
    async def main():
        async with dqlite.aio.connect(url) as conn:
            for _ in range(3):
                with trio.move_on_after(0.05) as scope:
                    await conn.fetch(sql)
                assert scope.cancelled_caught
                assert await conn.fetchval("select 1") == 1
            if sql == ENDLESS:
                assert conn.session_number == 1

    trio.run(main)


def test_cancelled_in_a_block_rolls_back(url):
    async def main():
        async with dqlite.aio.connect(url) as conn, dqlite.aio.connect(url) as other:
            await conn.execute("create table t(a)")
            for sql in (f"insert into t {ENDLESS}", ENDLESS):
                with trio.move_on_after(0.1) as scope:
                    async with conn.transaction():
                        await conn.execute("insert into t values (1)")
                        await conn.execute(sql)
                assert scope.cancelled_caught
                assert not conn.is_in_transaction()
                # Nobody holds the write lock, nothing stayed.
                await other.execute("delete from t where a > 5", timeout=20)
                assert await conn.fetchval("select count(*) from t") == 0

    trio.run(main)


def test_cancelled_between_statements_of_a_block_rolls_back(url):
    async def main():
        async with dqlite.aio.connect(url) as conn:
            await conn.execute("create table t(a)")
            with trio.move_on_after(0.05):
                async with conn.transaction():
                    await conn.execute("insert into t values (1)")
                    await trio.sleep_forever()
            assert not conn.is_in_transaction()
            assert conn.session_number == 1
            assert await conn.fetchval("select count(*) from t") == 0

    trio.run(main)


def test_cancelled_executemany_rolls_back(url):
    async def main():
        async with dqlite.aio.connect(url) as conn:
            await conn.execute("create table t(a)")
            with trio.move_on_after(0.2) as scope:
                await conn.executemany("insert into t values (?)", iter(lambda: (1,), None))
            assert scope.cancelled_caught
            assert await conn.fetchval("select count(*) from t") == 0

    trio.run(main)


def test_nothing_is_sent_in_a_cancelled_scope(url):
    async def main():
        async with dqlite.aio.connect(url) as conn:
            await conn.execute("create table t(a)")
            with trio.CancelScope() as scope:
                scope.cancel()
                await conn.execute("insert into t values (1)")
            assert scope.cancelled_caught
            with trio.CancelScope(shield=True):
                assert await conn.fetchval("select count(*) from t") == 0

    trio.run(main)


def test_failed_nursery_leaves_the_pool_whole(url):
    async def ask(pool, number):
        while True:
            assert await pool.fetchval("select ?", number) == number

    async def fail():
        await trio.sleep(0.05)
        raise KeyError

    async def main():
        async with dqlite.create_pool(url, max_size=3) as pool:
            for _ in range(5):
                with pytest.RaisesGroup(KeyError):
                    async with trio.open_nursery() as nursery:
                        for number in range(8):
                            nursery.start_soon(ask, pool, number)
                        nursery.start_soon(fail)
                assert pool.get_stats()["waiting"] == 0
            await eventually(lambda: not pool.get_stats()["in_use"])
            assert pool.get_size() <= 3
            assert await pool.fetchval("select 1") == 1

    trio.run(main)


def test_statements_that_wait_for_a_connection(url):
    answers = {}

    async def ask(pool, i):
        answers[i] = await pool.fetchval("select ?", i)

    async def main():
        async with dqlite.create_pool(url, max_size=1) as pool:
            held = await pool.acquire()
            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    for i in range(20):
                        nursery.start_soon(ask, pool, i)
                    await trio.testing.wait_all_tasks_blocked()
                    await pool.release(held)
            assert answers == {i: i for i in range(20)}
            held = await pool.acquire()
            async with trio.open_nursery() as nursery:
                for i in range(20, 40):
                    nursery.start_soon(ask, pool, i)
                await trio.testing.wait_all_tasks_blocked()
                await pool.release(held)
                nursery.cancel_scope.cancel()
            assert await pool.fetchval("select 1") == 1
            assert (pool.get_stats()["waiting"], pool.get_stats()["in_use"]) == (0, 0)

    trio.run(main)


def test_storm_of_cancelled_acquires(url):
    async def acquire(pool):
        async with pool.acquire():
            await trio.lowlevel.checkpoint()

    async def main():
        async with dqlite.create_pool(url, max_size=4) as pool:
            holders = [await pool.acquire() for _ in range(4)]
            async with trio.open_nursery() as nursery:
                for _ in range(2_000):
                    nursery.start_soon(acquire, pool)
                await trio.testing.wait_all_tasks_blocked()
                for holder in holders:
                    await pool.release(holder)
                nursery.cancel_scope.cancel()
            stats = pool.get_stats()
            assert (stats["waiting"], stats["in_use"]) == (0, 0)
            assert stats["pool_size"] <= 4
            assert await pool.fetchval("select 1") == 1

    trio.run(main)


def test_pool_wait_is_bounded(url):
    async def main():
        async with dqlite.create_pool(url, max_size=1, acquire_timeout=0.1) as pool:
            async with pool.acquire():
                with pytest.raises(dqlite.PoolTimeoutError, match=r"within 0\.1 s"):
                    await pool.fetchval("select 1")
            assert await pool.fetchval("select 1") == 1

    trio.run(main)


def test_turn_is_waited_for_within_the_deadline(url):
    async def main():
        async with dqlite.aio.connect(url) as conn:

            async def hold(task_status):
                async with conn.transaction():
                    task_status.started()
                    await trio.sleep_forever()

            async with trio.open_nursery() as nursery:
                await nursery.start(hold)
                with pytest.raises(dqlite.StatementTimeoutError, match="for a transaction"):
                    await conn.fetchval("select 1", timeout=0.05)
                nursery.cancel_scope.cancel()
            assert await conn.fetchval("select 1") == 1

    trio.run(main)


def test_large_results_stream(url):
    async def main():
        async with dqlite.aio.connect(url) as conn:
            seen = 0
            async for row in conn.cursor(MANY.format(200_000)):
                seen += 1
                assert row[0] == seen
            assert seen == 200_000
            blob = b"x" * 20_000_000  # More than the socket takes at once.
            assert await conn.fetchval("select ?", blob) == blob

    trio.run(main)


def test_connection_belongs_to_its_run(url):
    kept = []

    async def first():
        kept.append(await dqlite.aio.connect(url))
        kept.append(await dqlite.create_pool(url))
        assert await kept[0].fetchval("select 1") == 1

    async def second():
        for old in kept:
            with pytest.raises(dqlite.InterfaceError, match="different event loop"):
                await old.fetchval("select 1")

    trio.run(first)
    trio.run(second)
    with pytest.raises(dqlite.InterfaceError, match="different event loop"):
        asyncio.run(kept[0].fetchval("select 1"))
    kept[0].terminate()
    kept[1].terminate()


def test_run_ends_with_requests_in_flight(url):
    async def main():
        conn = await dqlite.aio.connect(url)
        pool = await dqlite.create_pool(url, min_size=2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(conn.fetch, ENDLESS)
            nursery.start_soon(pool.fetch, ENDLESS)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    with pytest.warns(ResourceWarning, match="garbage-collected"):
        trio.run(main)
        gc.collect()


def test_collected_in_another_thread(url):
    async def main():
        conn = [await dqlite.aio.connect(url)]
        session = conn[0]._core.session  # noqa: SLF001 - nobody else knows that it ended

        def drop():
            conn.clear()
            gc.collect()

        with pytest.warns(ResourceWarning, match="garbage-collected"):
            thread = threading.Thread(target=drop)
            thread.start()
            thread.join()
        await eventually(lambda: session.closed)

    trio.run(main)


def test_guest_of_asyncio(url):
    async def guest():
        async with dqlite.create_pool(url) as pool:
            return await pool.fetchval("select 40 + 2")

    async def host():
        done = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
        )
        async with dqlite.aio.connect(url) as conn:
            assert await conn.fetchval("select 1") == 1
            assert (await done).unwrap() == 42

    asyncio.run(host())


def test_trio_is_not_imported_for_asyncio():
    code = "import sys, dqlite.aio; assert 'trio' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lost_session_is_replaced(url):
    async def main():
        async with dqlite.aio.connect(url) as conn:
            for number in range(1, 20):
                assert await conn.fetchval("select ?", number) == number
                assert conn.session_number == number
                conn._core.terminate()  # noqa: SLF001 - as if the server had

    begun = time.monotonic()
    trio.run(main)
    assert time.monotonic() - begun < 30
