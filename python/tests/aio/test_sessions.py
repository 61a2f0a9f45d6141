"""What a session keeps and refuses: prepared statements, poison, rows and bytes without end."""

from __future__ import annotations

import asyncio
import time

import pytest

import dqlite
import dqlite.aio

MANY = "with recursive n(i) as (select 1 union all select i + 1 from n limit {}) select i from n"


def asked(relay):
    """The requests for statements."""
    return [name for name in relay.requests() if name.startswith(("EXEC", "QUERY", "PREP"))]


async def test_a_repeated_statement_runs_by_its_id(relay, database):
    async with dqlite.aio.connect(relay, database=database) as conn:
        await conn.execute("create table t(a)")
        for i in range(4):
            await conn.execute("insert into t values (?)", i)
        for i in range(4):
            assert await conn.fetchval("select a from t where a = ?", i) == i
        assert await conn.fetch("select count(*) from t") == [(4,)]
    # Nobody waits for the preparation: what is asked before it is done goes as text.
    insert = ["EXEC_SQL", "EXEC_SQL", "PREPARE", "EXEC_SQL", "EXEC"]
    select = ["QUERY_SQL", "QUERY_SQL", "PREPARE", "QUERY_SQL", "QUERY"]
    assert asked(relay) == ["EXEC_SQL", *insert, *select, "QUERY_SQL"]


def test_the_same_without_a_loop(relay, database):
    with dqlite.connect(relay, database=database) as conn:
        conn.execute("create table t(a)")
        for i in range(4):
            conn.execute("insert into t values (?)", [i])
        for i in range(4):
            assert conn.fetchval("select a from t where a = ?", i) == i
    insert = ["EXEC_SQL", "EXEC_SQL", "PREPARE", "EXEC", "EXEC"]
    select = ["QUERY_SQL", "QUERY_SQL", "PREPARE", "QUERY", "QUERY"]
    assert asked(relay) == ["EXEC_SQL", *insert, *select]


MANY_AT_ONCE = [
    "insert into t values (?, ?)",
    'INSERT INTO main."t" (a, [b]) VALUES (:a, @b) ;',
    "insert or replace into t(a, b) values /* one row */ (?, ?) -- end",
    "REPLACE INTO t VALUES(?,?)",
]
ONE_BY_ONE = [
    "insert into t values (?2, ?1)",
    "insert into t values (?, ? + 1)",
    "insert into t(a) select ? union values (?)",
    "insert into t values (?, 1), (?, 2)",
    "insert into t values (?, ?) on conflict do nothing",
    "insert or fail into t values (?, ?)",
    "with w as (select 1) insert into t values (?, ?)",
    "update t set a = ? where b = ?",
]


@pytest.mark.parametrize("sql", MANY_AT_ONCE + ONE_BY_ONE)
async def test_plain_rows_go_many_at_once(relay, database, sql):
    sets = [{"a": n, "b": n} if ":a" in sql else (n, n) for n in range(1100)]
    async with dqlite.aio.connect(relay, database=database) as conn:
        await conn.execute("create table t(a, b)")
        done = await conn.executemany(sql, sets)
        assert done == (0 if "update" in sql else 2200 if "2)" in sql else 1100)
        assert await conn.fetchval("select count(*) from t") == done
    many = sql in MANY_AT_ONCE
    assert asked(relay).count("PREPARE") == (2 if many else 1)
    # 1,024 values to an execution, and the rest of the rows by themselves.
    assert asked(relay).count("EXEC") == (2 + 76 if many else 1100)


@pytest.mark.parametrize("size", [0, 1, 3])
async def test_so_many_statements_are_kept(relay, database, size):
    async with dqlite.aio.connect(relay, database=database, statement_cache_size=size) as conn:
        for _ in range(3):
            for number in range(6):
                for _ in range(3):
                    assert await conn.fetchval(f"select {number}") == number
        # What was sent before its answer has been heard.
        assert await conn.fetchval("select 'last'") == "last"
    names = relay.requests()
    assert ("PREPARE" in names) == (size > 0)
    assert names.count("PREPARE") - names.count("FINALIZE") == size


async def test_a_star_means_the_columns_of_today(url):
    async with dqlite.aio.connect(url) as conn, dqlite.aio.connect(url) as other:
        await conn.execute("create table t(a)")
        await conn.execute("insert into t values (1)")
        for _ in range(4):
            assert dict(await conn.fetchrow("select * from t")) == {"a": 1}
            assert await conn.fetchval("select count(*) from t") == 1
        await other.execute("alter table t add column b default 2")
        for _ in range(3):
            # The first statement after the change learns of it.
            assert await conn.fetchval("select count(*) from t") == 1
            assert dict(await conn.fetchrow("select * from t")) == {"a": 1, "b": 2}
        await other.execute("drop table t")
        with pytest.raises(dqlite.OperationalError, match="no such table"):
            await conn.fetchval("select count(*) from t")
        await other.execute("create table t(a)")
        assert await conn.fetchval("select count(*) from t") == 0
        assert conn.session_number == 1


async def test_kept_statements_end_with_their_session(relay, database):
    async with dqlite.aio.connect(relay, database=database) as conn:
        for _ in range(4):
            assert await conn.fetchval("select 1") == 1
        relay.poison = b"select 'cut'"
        with pytest.raises(dqlite.ConnectionFailedError):
            await conn.fetchval("select 'cut'")
        for _ in range(4):
            assert await conn.fetchval("select 1") == 1
        assert conn.session_number > 1


async def test_cancelled_while_statements_are_kept(url):
    async with dqlite.aio.connect(url) as conn:
        for number in range(40):
            task = asyncio.ensure_future(conn.fetch(MANY.format(2000 + number % 3)))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert await conn.fetchval("select ?", number) == number
        assert conn.session_number == 1


def _dies(conn, sql):
    with pytest.raises(dqlite.Error) as caught:
        conn.fetch(sql)
    return type(caught.value)


def test_poison_is_not_sent_a_third_time(relay, database):
    relay.poison = b"poison"
    with dqlite.connect(relay, database=database) as conn:
        # A read is sent again once: two sessions have died.
        assert issubclass(_dies(conn, "select 'poison'"), dqlite.ConnectionFailedError)
        assert bytes(relay.heard).count(b"poison") == 2
        for _ in range(3):
            assert _dies(conn, "select 'poison'") is dqlite.PoisonStatementError
        assert bytes(relay.heard).count(b"poison") == 2
        assert conn.fetchval("select 1") == 1
        # Another text is another statement.
        assert issubclass(_dies(conn, "select 'more poison'"), dqlite.ConnectionFailedError)


async def test_a_block_whose_transaction_a_conflict_ended_can_only_end(url):
    async with dqlite.aio.connect(url) as conn:
        await conn.execute("create table s(b unique on conflict rollback)")
        await conn.execute("insert into s values (-1)")
        sets = [(1,), (-1,), (2,)]
        with pytest.raises(dqlite.Error, match="rolled back"):
            async with conn.transaction():
                await conn.execute("insert into s values (3)")
                with pytest.raises(dqlite.OutcomeUnknownError):
                    await conn.executemany("insert into s values (?) returning b", sets)
                await conn.execute("insert into s values (4)")
        assert await conn.fetchval("select count(*) from s where b in (1, 3, 4)") == 0


async def test_poison_in_a_pool(relay, database):
    relay.poison = b"poison"
    pool = dqlite.create_pool(relay, database=database, min_size=2, max_size=4)
    async with pool:
        for _ in range(3):
            with pytest.raises(dqlite.Error):
                await pool.execute("update t set a = 'poison'")
        with pytest.raises(dqlite.PoisonStatementError, match="not sent") as caught:
            await pool.execute("update t set a = 'poison'")
        assert caught.value.outcome == "not_sent"
        assert bytes(relay.heard).count(b"poison") == 2
        assert await pool.fetchval("select 1") == 1


async def test_success_clears_a_suspect(relay, database):
    async with dqlite.aio.connect(relay, database=database) as conn:
        await conn.execute("create table t(a)")
        for _ in range(3):
            relay.poison = b"insert"
            with pytest.raises(dqlite.OutcomeUnknownError):
                await conn.execute("insert into t values (1)")
            relay.poison = None
            await conn.execute("insert into t values (1)")
        assert await conn.fetchval("select count(*) from t") == 3


async def test_more_rows_than_wanted(url):
    async with dqlite.aio.connect(url, max_rows=1000) as conn:
        assert len(await conn.fetch(MANY.format(1000))) == 1000
        for sql in (MANY.format(1001), MANY.format(10_000_000)):
            with pytest.raises(dqlite.DataError, match="max_rows = 1000"):
                await conn.fetch(sql)
            assert await conn.fetchval("select 1") == 1
        with pytest.raises(dqlite.DataError, match="max_rows = 1000"):
            async for _ in conn.cursor(MANY.format(10_000_000)):
                pass
        assert await conn.fetchval("select 1") == 1
        assert await conn.fetchval(MANY.format(5000)) == 1
    with dqlite.connect(url, max_rows=3) as sync:
        for _ in range(2):
            assert len(sync.fetch(MANY.format(3))) == 3
            with pytest.raises(dqlite.DataError, match="max_rows = 3"):
                sync.fetch(MANY.format(4))


async def test_larger_messages_than_wanted(url):
    async with dqlite.aio.connect(url, max_frame_bytes=100_000) as conn:
        assert await conn.fetchval("select length(randomblob(90000))") == 90_000
        with pytest.raises(dqlite.ProtocolError):
            await conn.fetchval("select randomblob(200000)")
        assert await conn.fetchval("select 1") == 1
        with pytest.raises(dqlite.DataError):
            await conn.fetchval("select length(?)", bytes(200_000))
        assert await conn.fetchval("select 1") == 1


async def test_more_set_aside_than_wanted(url):
    async with dqlite.aio.connect(url, max_buffered_bytes=1 << 20) as conn:
        begun = time.monotonic()
        cursor = await conn.execute(MANY.format(3_000_000))
        assert await cursor.fetchone() == (1,)
        assert await conn.fetchval("select 1") == 1
        with pytest.raises(dqlite.OperationalError, match="1 MiB of an unread result"):
            await cursor.fetchall()
        assert time.monotonic() - begun < 40


@pytest.mark.parametrize(
    "options",
    [
        {"statement_cache_size": -1},
        {"max_rows": "many"},
        {"max_frame_bytes": 10},
        {"max_buffered_bytes": -5},
    ],
)
def test_what_is_no_bound(url, options):
    with pytest.raises(dqlite.ProgrammingError, match=next(iter(options))):
        dqlite.aio.connect(url, **options)
    with pytest.raises(dqlite.ProgrammingError, match=next(iter(options))):
        dqlite.connect(url, **options)


async def test_each_new_session_is_shown(url):
    seen = []

    async def greet(guest):
        await guest.execute("create temp table mine(a)")
        await guest.execute("insert into mine values (?)", len(seen))
        seen.append(guest)

    async with dqlite.aio.connect(url, on_connect=greet) as conn:
        for number in range(1, 4):
            assert await conn.fetchval("select a from mine") == number - 1
            assert (len(seen), conn.session_number) == (number, number)
            conn._core.terminate()  # noqa: SLF001 - as if the server had
        # A session that begins with a transaction is shown before that.
        async with conn.transaction():
            assert await conn.fetchval("select a from mine") == 3
        with pytest.raises(dqlite.InterfaceError, match="released"):
            await seen[0].fetchval("select 1")

    def refuse(guest):
        raise KeyError(guest.name)

    with pytest.raises(KeyError):
        await dqlite.aio.connect(url, on_connect=refuse, name="refused")


def test_each_new_session_is_shown_without_a_loop(url):
    seen = []

    def greet(guest):
        guest.execute("create temp table mine(a)")
        guest.execute("insert into mine values (?)", [len(seen)])
        seen.append(guest)

    with dqlite.connect(url, on_connect=greet) as conn:
        for number in range(1, 4):
            with conn.transaction():
                assert conn.fetchval("select a from mine") == number - 1
            assert (len(seen), conn.session_number) == (number, number)
            conn._state.session.terminate()  # noqa: SLF001 - as if the server had
        with pytest.raises(dqlite.InterfaceError, match="closed"):
            seen[0].fetchval("select 1")

    def refuse(guest):
        raise KeyError(guest.name)

    with pytest.raises(KeyError):
        dqlite.connect(url, on_connect=refuse, name="refused")
