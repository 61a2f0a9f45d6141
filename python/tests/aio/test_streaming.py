"""Results that are read while they come, and statements with many sets of parameters."""

from __future__ import annotations

import asyncio
import gc
import resource

import pytest

import dqlite
import dqlite.aio
from dqlite import rows

COUNT = "with recursive n(i) as (select 1 union all select i + 1 from n limit {}) select i from n"
WIDE = COUNT.replace("select i from", "select i, randomblob(1000) from")


@pytest.fixture
async def conn(url):
    async with dqlite.aio.connect(url) as connection:
        yield connection


async def test_first_rows_come_before_the_last(conn):
    cursor = await conn.execute(COUNT.format(2_000_000))
    assert [column[0] for column in cursor.description] == ["i"]
    assert (await cursor.fetchone())["i"] == 1
    assert [row["i"] for row in await cursor.fetchmany(3)] == [2, 3, 4]
    await cursor.close()
    assert await conn.fetchval("select 1") == 1


async def test_all_rows_come_in_order(conn):
    seen = 0
    async for row in conn.cursor(COUNT.format(100_000)):
        seen += 1
        assert row[0] == seen
    assert seen == 100_000
    cursor = await conn.execute(COUNT.format(50_000))
    assert (await cursor.fetchone())[0] == 1
    left = await cursor.fetchall()
    assert [row[0] for row in left] == list(range(2, 50_001))
    assert await cursor.fetchone() is None


async def test_memory_stays_flat_however_slow_the_reader(conn):
    cursor = conn.cursor(WIDE.format(150_000), prefetch=100)
    seen = 0
    async for _ in cursor:
        seen += 1
        if seen == 1000:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if seen % 10_000 == 0:
            await asyncio.sleep(0.01)
    assert seen == 150_000
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 30_000, "KiB, of 150 MB"


async def test_another_statement_sets_the_rest_aside(conn):
    await conn.execute("create table t(a)")
    seen = 0
    async for row in conn.cursor(COUNT.format(20_000)):
        seen += 1
        if row[0] in {1, 5000, 20_000}:
            await conn.execute("insert into t values (?)", row[0])
    assert seen == 20_000
    assert await conn.fetchval("select count(*) from t") == 3


async def test_two_results_at_once(conn):
    first, second = conn.cursor(COUNT.format(20_000)), conn.cursor(COUNT.format(30_000))
    assert (await first.fetchone())[0] == 1
    assert (await second.fetchone())[0] == 1
    assert len(await second.fetchall()) == 29_999
    assert len(await first.fetchall()) == 19_999


async def test_too_much_to_set_aside(conn):
    cursor = conn.cursor(WIDE.format(200_000))
    await cursor.fetchone()
    assert await conn.fetchval("select 1", timeout=20) == 1
    with pytest.raises(dqlite.OperationalError, match="second connection"):
        await cursor.fetchall()
    assert await conn.fetchval("select 2") == 2


async def test_error_in_the_middle_comes_behind_the_rows(conn):
    sql = COUNT.format(100_000).replace(
        "select i from n", "select i, case when i = 90000 then abs(-9223372036854775808) end from n"
    )
    seen = 0
    with pytest.raises(dqlite.OperationalError, match="integer overflow"):
        async for _ in conn.cursor(sql):
            seen += 1
    assert 80_000 < seen < 90_000
    assert await conn.fetchval("select 1") == 1


async def test_left_early_in_a_transaction(conn):
    await conn.execute("create table t(a)")
    async with conn.transaction():
        await conn.execute("insert into t values (1)")
        async for _ in conn.cursor(COUNT.format(1_000_000)):
            break
        gc.collect()
        assert await conn.fetchval("select 2") == 2
    assert await conn.fetchval("select count(*) from t") == 1


async def test_connection_lost_in_the_middle(conn):
    cursor = conn.cursor(COUNT.format(3_000_000))
    await cursor.fetchone()
    conn.terminate()
    with pytest.raises(dqlite.ConnectionFailedError):
        await cursor.fetchall()


async def test_pool_takes_back_a_connection_with_a_result_half_read(url):
    async with dqlite.create_pool(url, max_size=1) as pool:
        for _ in range(3):
            async with pool.acquire() as conn:
                await conn.cursor(COUNT.format(500_000)).fetchone()
            assert await pool.fetchval("select 3") == 3
        assert pool.get_size() == 1


async def test_row_factories(url):
    for factory, expected in [
        (rows.tuple_row, (1, "x")),
        (None, (1, "x")),
        (rows.dict_row, {"a": 1, "b": "x"}),
        (rows.list_row, [1, "x"]),
        (lambda _, row: row[::-1], ("x", 1)),
        (rows.class_row(dict), {"a": 1, "b": "x"}),
    ]:
        async with dqlite.aio.connect(url, row_factory=factory) as conn:
            sql = "select 1 as a, 'x' as b"
            assert await conn.fetch(sql) == [expected]
            assert await conn.fetchrow(sql) == expected
            assert await (await conn.execute(sql)).fetchone() == expected
            assert [row async for row in conn.cursor(sql)] == [expected]
            assert await conn.fetchrow("select 1 as a, 2 as b where false") is None


async def test_prepared_statement(conn):
    await conn.execute("create table t(id integer primary key, a)")
    insert = conn.prepare("insert into t(a) values (?)")
    assert await insert.executemany([[1], [2]]) == 2
    assert (await insert.execute(3)).lastrowid == 3
    find = conn.prepare("select a from t where id = :id")
    assert find.parameters == ["id"]
    assert await find.fetchval({"id": 2}) == 2
    assert [row["a"] for row in await find.fetch({"id": 3})] == [3]
    assert (await find.fetchrow({"id": 1}))["a"] == 1
    assert [row[0] async for row in find.cursor({"id": 1})] == [1]


async def test_executemany_is_pipelined_and_whole(conn):
    await conn.execute("create table t(id integer primary key, a)")
    assert (
        await conn.executemany("insert into t values (?, ?)", [(i, i) for i in range(5000)]) == 5000
    )
    with pytest.raises(dqlite.IntegrityError) as caught:
        await conn.executemany(
            "insert into t values (?, ?)",
            ((i, i) for i in [*range(6000, 8000), 7, *range(8000, 9000)]),
        )
    assert caught.value.index == 2000
    assert not conn.is_in_transaction()
    assert await conn.fetchval("select count(*) from t") == 5000
    with pytest.raises(dqlite.ProgrammingError) as caught:
        await conn.executemany("insert into t values (?, ?)", [(6000, 1), (6001,)])
    assert caught.value.index == 1
    assert await conn.fetchval("select count(*) from t") == 5000
    with pytest.raises(dqlite.ProgrammingError, match="INSERT, REPLACE, UPDATE and DELETE"):
        await conn.executemany("select ?", [(1,)])


async def test_executemany_with_large_values(conn):
    await conn.execute("create table t(a)")
    sets = [(bytes(100_000),) for _ in range(50)]
    assert await conn.executemany("insert into t values (?)", sets) == 50
    assert await conn.fetchval("select sum(length(a)) from t") == 5_000_000


async def test_executemany_inside_a_transaction_is_a_savepoint(conn):
    await conn.execute("create table t(id integer primary key)")
    async with conn.transaction():
        await conn.execute("insert into t values (1)")
        with pytest.raises(dqlite.IntegrityError):
            await conn.executemany("insert into t values (?)", [[2], [1], [3]])
        await conn.executemany("insert into t values (?)", [[4], [5]])
    assert [row[0] for row in await conn.fetch("select id from t")] == [1, 4, 5]


async def test_executemany_that_rolls_back_by_itself(conn):
    await conn.execute("create table t(id integer primary key)")
    with pytest.raises(dqlite.IntegrityError):
        await conn.executemany("insert or rollback into t values (?)", [[1], [1], [2], [3]])
    assert await conn.fetchval("select count(*) from t") == 0
    assert not conn.is_in_transaction()


async def test_executemany_with_returning(conn):
    await conn.execute("create table t(id integer primary key, a)")
    sql = "insert into t(a) values (?) returning id, a"
    got = await conn.fetchmany(sql, [["x"], ["y"]])
    assert [tuple(row) for row in got] == [(1, "x"), (2, "y")]
    assert await conn.executemany(sql, [["z"]]) == 1


async def test_iterator_that_raises(conn):
    await conn.execute("create table t(a)")

    def sets():
        yield (1,)
        message = "mine"
        raise KeyError(message)

    with pytest.raises(KeyError, match="mine"):
        await conn.executemany("insert into t values (?)", sets())
    assert await conn.fetchval("select count(*) from t") == 0


async def test_cancelled_executemany(conn, busy, eventually):
    await conn.execute("create table t(a)")

    async def forever():
        await conn.executemany("insert into t values (?)", ((i,) for i in range(10**9)))

    task = asyncio.create_task(forever())
    await eventually(busy.computes)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await conn.fetchval("select count(*) from t") == 0
    assert not conn.is_in_transaction()
