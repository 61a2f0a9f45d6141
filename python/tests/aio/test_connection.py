"""The asyncio connection against a real node, and the ways in which calls end early."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import warnings

import pytest

import dqlite
import dqlite.aio

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
MANY = "with recursive n(i) as (select 1 union all select i + 1 from n limit {}) select i from n"


@pytest.fixture
async def conn(url):
    async with dqlite.aio.connect(url) as connection:
        yield connection


async def test_rows_by_every_verb(conn):
    await conn.execute("create table t(id integer primary key, a)")
    cursor = await conn.execute("insert into t(a) values (?)", "x")
    assert (cursor.lastrowid, cursor.rowcount) == (1, 1)
    await conn.execute("insert into t(a) values (:a)", {"a": "y"})
    await conn.execute("insert into t(a) values (?)", ["z"])
    assert await conn.fetch("select id, a from t") == [(1, "x"), (2, "y"), (3, "z")]
    assert await conn.fetchall("select id from t limit 1") == [(1,)]
    row = await conn.fetchrow("select id, a from t where a = ?", "y")
    assert row["id"] == row[0] == 2
    assert dict(row) == {"id": 2, "a": "y"}
    assert not hasattr(row, "id")
    assert await conn.fetchval("select id, a from t", column=1) == "x"
    assert await conn.fetchval("select 1 where 0") is None
    assert await conn.fetchrow("select 1 where 0") is None


async def test_execute_is_awaited_or_entered(conn):
    async with conn.execute("select 1 as n union all select 2") as cursor:
        assert cursor.description[0][0] == "n"
        assert [row["n"] async for row in cursor] == [1, 2]
    assert cursor.closed
    cursor = await conn.execute("select 1 union all select 2 union all select 3")
    assert await cursor.fetchone() == (1,)
    assert await cursor.fetchmany(1) == [(2,)]
    assert await cursor.fetchall() == [(3,)]


async def test_nothing_is_sent_before_the_await(conn):
    await conn.execute("create table t(a)")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        conn.execute("insert into t values (1)")
        gc.collect()
    assert "never awaited" in str(caught[0].message)
    assert await conn.fetchval("select count(*) from t") == 0


async def test_connect_is_awaited_or_entered(url):
    conn = await dqlite.aio.connect(url)
    assert conn.address
    assert not conn.is_closed()
    await conn.close()
    await conn.close()
    assert conn.is_closed()
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        await conn.fetchval("select 1")


async def test_nested_transactions_are_savepoints(conn):
    await conn.execute("create table t(a)")
    async with conn.transaction():
        await conn.execute("insert into t(a) values (0)")
        with pytest.raises(KeyError):
            async with conn.transaction():
                await conn.execute("insert into t(a) values (1)")
                raise KeyError
        assert conn.is_in_transaction()
    assert not conn.is_in_transaction()
    assert await conn.fetchval("select count(*) from t") == 1


async def test_executemany_takes_any_iterable(conn):
    await conn.execute("create table t(id integer primary key)")

    async def sets():
        for i in range(10):
            yield (i,)

    assert await conn.executemany("insert into t values (?)", sets()) == 10
    assert await conn.executemany("insert into t values (?)", ((i,) for i in range(10, 20))) == 10
    with pytest.raises(dqlite.IntegrityError) as caught:
        await conn.executemany("insert into t values (?)", [[99], [3]])
    assert caught.value.index == 1
    assert await conn.fetchval("select count(*) from t") == 20


async def test_calls_run_in_the_order_in_which_they_were_made(conn):
    await conn.execute("create table t(id integer primary key, a)")
    inserts = (conn.fetch("insert into t(a) values (?) returning id", i) for i in range(500))
    await asyncio.gather(*inserts)
    assert await conn.fetchval("select count(*) from t where a = id - 1") == 500


async def test_tasks_outside_a_block_wait(conn):
    async with conn.transaction():
        inside = asyncio.create_task(conn.fetchval("select 7"))
        assert await inside == 7

    entered, leave = asyncio.Event(), asyncio.Event()

    async def block():
        async with conn.transaction():
            entered.set()
            await leave.wait()

    task = asyncio.create_task(block())
    await entered.wait()
    with pytest.raises(dqlite.StatementTimeoutError, match="a transaction") as caught:
        await conn.fetchval("select 1", timeout=0.05)
    assert caught.value.outcome == "not_sent"
    waiting = asyncio.create_task(conn.fetchval("select 1"))
    leave.set()
    assert await waiting == 1
    await task


@pytest.mark.parametrize("rows", [1, 100_000])
@pytest.mark.parametrize("delay", [0, 0.0005, 0.005, 0.05])
async def test_cancelled_call_leaves_the_connection_usable(conn, rows, delay):
    task = asyncio.create_task(conn.fetch(MANY.format(rows)))
    await asyncio.sleep(delay)
    task.cancel()
    begun = time.monotonic()
    await asyncio.wait([task])
    assert time.monotonic() - begun < 5
    for i in range(3):
        assert await conn.fetchval("select ?", i) == i


async def test_cancelled_while_queued_is_never_sent(conn):
    await conn.execute("create table t(a)")
    slow = asyncio.create_task(conn.fetch(MANY.format(50_000)))
    await asyncio.sleep(0)
    queued = asyncio.create_task(conn.fetch("insert into t values (1)"))
    after = asyncio.create_task(conn.fetchval("select 3"))
    await asyncio.sleep(0)
    queued.cancel()
    assert len(await slow) == 50_000
    assert await after == 3
    assert queued.cancelled()
    assert await conn.fetchval("select count(*) from t") == 0


async def test_cancelled_in_the_middle_of_a_large_parameter(conn):
    blob = os.urandom(30_000_000)
    for delay in (0, 0.001, 0.01):
        task = asyncio.create_task(conn.fetchval("select length(?)", blob))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        assert await conn.fetchval("select 5") == 5
    assert await conn.fetchval("select length(?)", blob) == len(blob)


async def test_cancelled_in_a_transaction_rolls_back(conn, busy, eventually):
    await conn.execute("create table t(a)")

    async def work():
        async with conn.transaction():
            await conn.execute("insert into t values (1)")
            await conn.fetch(MANY.format(1_000_000))

    busy.mark()
    task = asyncio.create_task(work())
    await eventually(busy.computes)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not conn.is_in_transaction()
    assert await conn.fetchval("select count(*) from t") == 0


async def test_cancelled_begin_holds_no_lock(conn, url):
    await conn.execute("create table t(a)")
    async with dqlite.aio.connect(url) as other:
        async with other.transaction():

            async def wait_for_lock():
                async with conn.transaction():
                    pass

            task = asyncio.create_task(wait_for_lock())
            await asyncio.sleep(0)
            await other.fetchval("select 1")  # answered by a server that got BEGIN before
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.wait_for(other.fetch("insert into t values (1) returning a"), 4)
        assert await conn.fetchval("select count(*) from t") == 1


async def test_deadline_leaves_the_connection_usable(conn):
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=r"within 0\.2 s") as caught:
        await conn.fetch(ENDLESS, timeout=0.2)
    assert isinstance(caught.value, dqlite.StatementTimeoutError)
    assert caught.value.outcome == "refused"
    assert await conn.fetchval("select 1") == 1
    assert time.monotonic() - begun < 10


async def test_deadline_of_a_write_leaves_doubt(conn):
    await conn.execute("create table t(a)")
    with pytest.raises(dqlite.StatementTimeoutError) as caught:
        await conn.execute(f"insert into t {ENDLESS}", timeout=0.1)
    assert caught.value.outcome == "unknown"
    assert not caught.value.retryable


async def test_deadline_in_a_transaction_leads_to_rollback(conn):
    await conn.execute("create table t(a)")
    with pytest.raises(dqlite.OperationalError, match="must be rolled back"):
        async with conn.transaction():
            await conn.execute("insert into t values (1)")
            with pytest.raises(dqlite.StatementTimeoutError):
                await conn.fetch(ENDLESS, timeout=0.1)
            await conn.execute("insert into t values (2)")
    assert await conn.fetchval("select count(*) from t") == 0


async def test_another_loop_or_thread_is_refused(conn):
    def elsewhere():
        return asyncio.run(conn.fetchval("select 1"))

    with pytest.raises(dqlite.InterfaceError, match="bound to a different event loop"):
        await asyncio.to_thread(elsewhere)
    assert await conn.fetchval("select 1") == 1


async def test_fork_is_refused_and_harmless(conn):
    pid = os.fork()
    if pid == 0:
        try:
            conn.fetchval("select 1").send(None)
        except dqlite.InterfaceError as error:
            os._exit(0 if "used after fork" in str(error) else 2)
        except BaseException:
            os._exit(3)
        os._exit(1)
    status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status[1]) == 0
    assert await conn.fetchval("select 2") == 2


async def test_open_connection_warns_when_collected(url):
    connection = await dqlite.aio.connect(url, name="forgotten")
    with pytest.warns(ResourceWarning, match="'forgotten' was garbage-collected open"):
        del connection
        gc.collect()


async def test_errors_are_typed_and_the_connection_stays(conn):
    for sql, error in [
        ("select * from nowhere", dqlite.OperationalError),
        ("select ?", dqlite.ProgrammingError),
        ("select 1; select 2", dqlite.ProgrammingError),
    ]:
        with pytest.raises(error):
            await conn.fetch(sql)
    with pytest.raises(dqlite.DataError):
        await conn.fetch("select ?", 2**63)
    assert await conn.fetchval("select 1") == 1
    assert conn.session_number == 1


async def test_other_tasks_run_while_a_large_result_comes(conn):
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    watcher = asyncio.create_task(watch())
    assert len(await conn.fetch(MANY.format(300_000))) == 300_000
    watcher.cancel()
    assert longest < 0.2


async def test_no_leader(addresses):
    host = addresses(1)[0]
    with pytest.raises(dqlite.NoLeaderError, match=host):
        await dqlite.aio.connect(host, connect_timeout=0.3)
    task = asyncio.ensure_future(_connect(host))
    await asyncio.sleep(0)
    task.cancel()
    begun = time.monotonic()
    await asyncio.wait([task])
    assert task.cancelled()
    assert time.monotonic() - begun < 5


async def _connect(host):
    return await dqlite.aio.connect(host, connect_timeout=30)


@pytest.mark.parametrize("debug", [False, True])
def test_uvloop_and_debug_mode(url, debug):
    uvloop = pytest.importorskip("uvloop")

    async def main():
        async with dqlite.create_pool(url, min_size=2, max_size=4) as pool:
            answers = await asyncio.gather(*(pool.fetchval("select ?", i) for i in range(200)))
            assert answers == list(range(200))
            with pytest.raises(TimeoutError):
                await pool.fetch(ENDLESS, timeout=0.1)
            task = asyncio.ensure_future(pool.fetch(MANY.format(100_000)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert await pool.fetchval("select 1") == 1

    for new_loop in (uvloop.new_event_loop, asyncio.new_event_loop):
        loop = new_loop()
        loop.set_debug(debug)
        loop.run_until_complete(main())
        loop.close()
