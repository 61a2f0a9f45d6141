"""What goes wrong around a connection: cancellation, forks, exits, storms, cut streams."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import dqlite
import dqlite.aio

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
MANY = "with recursive n(i) as (select 1 union all select i + 1 from n limit {}) select i from n"


@pytest.fixture
async def conn(url):
    async with dqlite.aio.connect(url) as connection:
        yield connection


async def ends_soon(url, seconds=5.0):
    """Wait until no statement of anybody runs: a write gets its turn."""
    async with dqlite.aio.connect(url) as other:
        begun = time.monotonic()
        await other.execute("create table if not exists probe(a)", timeout=seconds)
        return time.monotonic() - begun


async def test_deadline_ends_the_statement_on_the_server(conn, url):
    await conn.execute("create table t(a)")
    with pytest.raises(dqlite.StatementTimeoutError):
        await conn.execute(f"insert into t {ENDLESS}", timeout=0.1)
    assert await ends_soon(url) < 4
    assert await conn.fetchval("select count(*) from t") == 0
    assert conn.session_number == 1


async def test_timeout_scope(conn):
    for sql in (ENDLESS, MANY.format(10_000_000)):
        with pytest.raises(asyncio.TimeoutError):
            if sys.version_info >= (3, 11):
                async with asyncio.timeout(0.05):
                    await conn.fetch(sql)
            else:
                await asyncio.wait_for(conn.fetch(sql), 0.05)
        assert await conn.fetchval("select 1") == 1


async def test_task_goes_on_within_the_wake_up_that_brought_the_answer(conn):
    order = []

    async def work(name):
        for _ in range(50):
            assert await conn.fetchval("select ?", name) == name
        order.append(name)

    await asyncio.gather(*(work(i) for i in range(8)))
    assert sorted(order) == list(range(8))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_a_task_lets_out_ends_the_loop(url, error):
    async def leave():
        async with dqlite.aio.connect(url) as conn:
            await conn.fetchval("select 1")
            raise error

    with pytest.raises(error):
        asyncio.run(leave())


async def test_storm_of_cancelled_acquires(url):
    async with dqlite.create_pool(url, max_size=4) as pool:
        holders = [await pool.acquire() for _ in range(4)]
        tasks = [asyncio.ensure_future(_acquire(pool)) for _ in range(10_000)]
        await asyncio.sleep(0)
        for number, task in enumerate(tasks):
            task.cancel()
            if number == 5_000:
                for holder in holders:
                    await pool.release(holder)
        await asyncio.wait(tasks)
        stats = pool.get_stats()
        assert (stats["waiting"], stats["in_use"]) == (0, 0)
        assert stats["pool_size"] <= 4
        answers = await asyncio.gather(*(pool.fetchval("select ?", i) for i in range(100)))
        assert answers == list(range(100))


async def _acquire(pool):
    async with pool.acquire():
        await asyncio.sleep(0)


async def test_pool_wait_is_bounded(url):
    async with dqlite.create_pool(url, max_size=1, acquire_timeout=0.1) as pool:
        async with pool.acquire():
            with pytest.raises(dqlite.PoolTimeoutError, match=r"within 0\.1 s"):
                await pool.fetchval("select 1")
            with pytest.raises(dqlite.PoolTimeoutError, match=r"within 0\.01 s"):
                await pool.acquire(timeout=0.01)
        assert await pool.fetchval("select 1") == 1
        stats = pool.get_stats()
        assert stats["timeouts"] == 2
        assert stats["wait_seconds_total"] > 0.1


async def test_hundred_thousand_parameters_are_refused(conn):
    marks = ", ".join("?" * 100_000)
    with pytest.raises(dqlite.ProgrammingError, match="100000 parameters, more than 32766"):
        await conn.fetch(f"select {marks}", *range(100_000))
    assert await conn.fetchval("select 1") == 1


async def test_giant_rows(conn):
    blob = os.urandom(20_000_000)
    rows = await conn.fetch("select ? as a, ? as b union all select ?, 1", blob, "x", blob[:10])
    assert rows[0]["a"] == blob
    assert rows[1] == (blob[:10], 1)


@pytest.mark.parametrize("after", [1, 7, 8, 9, 40, 500, 4096, 50_000])
async def test_server_closes_in_the_middle_of_a_frame(relay, database, after):
    async with dqlite.aio.connect(relay, database=database, reconnect=False) as conn:
        assert await conn.fetchval("select 1") == 1
        relay.left = after
        with pytest.raises(dqlite.ConnectionFailedError) as caught:
            await conn.fetch(MANY.format(100_000))
        assert caught.value.outcome in {"refused", "unknown"}
    relay.left = 1 << 40
    async with dqlite.aio.connect(relay, database=database) as conn:
        assert await conn.fetchval("select 2") == 2


@pytest.mark.parametrize(
    "sql",
    [
        "select 1 as a, 'text' as b union all select 2, x'00'",
        "insert into t values (1)",
        "select nonsense",
    ],
    ids=["read", "write", "failure"],
)
async def test_server_closes_at_every_byte_of_a_reply(relay, database, sql):
    options = {"database": database, "reconnect": False}
    async with dqlite.aio.connect(relay, **options) as conn:
        await conn.execute("create table t(a)")
        before = relay.left
        with contextlib.suppress(dqlite.OperationalError):
            await conn.execute(sql)
        size = before - relay.left
        assert size > 16
    for after in range(size):
        async with dqlite.aio.connect(relay, **options) as conn:
            relay.left = after
            with pytest.raises(dqlite.ConnectionFailedError) as caught:
                await conn.execute(sql)
            assert caught.value.outcome == ("unknown" if "insert" in sql else "refused")
            assert conn.address is None
        relay.left = 1 << 40
    with dqlite.connect(relay, database=database) as sync:
        for after in range(0, size, 5):
            assert sync.fetchval("select 1") == 1
            relay.left = after
            with contextlib.suppress(dqlite.Error):
                sync.execute(sql, timeout=0.5)
            relay.left = 1 << 40
        assert sync.fetchval("select count(*) from t") >= 0


async def test_a_write_that_is_sent_in_part_ends_its_session_at_the_deadline(relay, database):
    """The server waits for the rest of the frame: nobody else may write there.

    As the last byte was never handed to the kernel, the write is known not to have happened.
    """
    large = bytes(32 << 20)
    async with dqlite.aio.connect(relay, database=database) as conn:
        await conn.execute("create table t(a)")
        relay.flows.clear()
        with pytest.raises(dqlite.StatementTimeoutError) as caught:
            await conn.execute("insert into t values (?)", large, timeout=0.5)
        assert caught.value.outcome is dqlite.Outcome.NOT_SENT
        assert conn.address is None
        relay.flows.set()
        assert await conn.fetchval("select count(*) from t") == 0
        assert conn.session_number == 2
    with dqlite.connect(relay, database=database) as sync:
        sync.fetchval("select 1")
        relay.flows.clear()
        with pytest.raises(dqlite.StatementTimeoutError) as caught:
            sync.execute("insert into t values (?)", [large], timeout=0.5)
        assert caught.value.outcome is dqlite.Outcome.NOT_SENT
        assert sync.address is None
        relay.flows.set()
        assert sync.fetchval("select count(*) from t") == 0
        assert sync.session_number == 2


PRELOAD = """
import asyncio, os, sys, dqlite, dqlite.aio
url = sys.argv[1]
kept = []
async def warm():
    kept.append(await dqlite.aio.connect(url))
    kept.append(await dqlite.create_pool(url, min_size=2))
    assert await kept[1].fetchval("select 1") == 1
async def child():
    for old in kept:
        try:
            await old.fetchval("select 1")
        except dqlite.InterfaceError as error:
            assert "after fork" in str(error), error
        else:
            raise AssertionError("the copy was usable")
    async with dqlite.create_pool(url) as pool:
        assert await pool.fetchval("select 2") == 2
async def go_on():
    assert await kept[0].fetchval("select 3") == 3
    assert await kept[1].fetchval("select 4") == 4
    await kept[0].close()
    await kept[1].close()
loop = asyncio.new_event_loop()
loop.run_until_complete(warm())
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(child())
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
loop.run_until_complete(go_on())
loop.close()
"""


def run(code, *args):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *args],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_workers_forked_from_a_warm_master(url):
    done = run(PRELOAD, url)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def _ask(url, queue):
    async def main():
        async with dqlite.aio.connect(url) as connection:
            return await connection.fetchval("select 40 + 2")

    queue.put(asyncio.run(main()))


async def test_processes_started_beside_an_open_connection(conn, url):
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        queue = context.SimpleQueue()
        process = context.Process(target=_ask, args=(url, queue))
        process.start()
        await asyncio.to_thread(process.join, 40)
        assert process.exitcode == 0
        assert queue.get() == 42
        queue.close()
        process.close()
        assert await conn.fetchval("select 1") == 1


_inherited = {}


def _open_own(url, kept):
    """Runs in each worker before its first job."""
    for old in kept:
        with pytest.raises(dqlite.InterfaceError, match="after fork"):
            old.fetchval("select 1")
    _inherited["pool"] = dqlite.ConnectionPool(url, max_size=2)


def _square(number):
    return _inherited["pool"].fetchval("select ? * ?", number, number)


def test_workers_with_an_initializer(url):
    with dqlite.connect(url) as conn, dqlite.ConnectionPool(url, max_size=2) as pool:
        kept = (conn, pool)
        assert [one.fetchval("select 1") for one in kept] == [1, 1]
        context = multiprocessing.get_context("fork")
        with context.Pool(3, _open_own, (url, kept)) as workers:
            done = workers.map_async(_square, range(60)).get(50)
            assert done == [number * number for number in range(60)]
            workers.close()
            workers.join()
        assert [one.fetchval("select 2") for one in kept] == [2, 2]


def test_threads_with_loops_of_their_own(url):
    failed = []

    def work(number):
        async def main():
            async with dqlite.create_pool(url, max_size=2) as pool:
                asked = (pool.fetchval("select ?", number * 100 + i) for i in range(50))
                assert await asyncio.gather(*asked) == [number * 100 + i for i in range(50)]

        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not failed


async def test_pool_refuses_other_threads(url):
    async with dqlite.create_pool(url) as pool:
        assert await pool.fetchval("select 1") == 1

        def elsewhere():
            with pytest.raises(dqlite.InterfaceError, match="different event loop"):
                asyncio.run(pool.fetchval("select 1"))

        await asyncio.gather(*(asyncio.to_thread(elsewhere) for _ in range(8)))
        assert await pool.fetchval("select 2") == 2


async def test_never_awaited_is_never_sent(conn):
    await conn.execute("create table t(a)")
    with pytest.warns(RuntimeWarning, match="never awaited"):
        conn.fetch("insert into t values (1)")
    with pytest.warns(RuntimeWarning, match="never awaited"):
        conn.execute("insert into t values (1)")
    assert await conn.fetchval("select count(*) from t") == 0
