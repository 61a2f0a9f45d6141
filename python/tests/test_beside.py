"""What connections offer beside statements: prepared ones, watchers, read-only blocks, copies."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from functools import partial

import pytest

import dqlite
import dqlite.aio
import dqlite.dbapi
import dqlite.rows
import dqlite.testing


@pytest.fixture
async def aconn(url):
    async with dqlite.aio.connect(url) as connection:
        yield connection


def test_prepared_statements(conn):
    conn.execute("create table t(id integer primary key, a)")
    insert = conn.prepare("insert into t(a) values (?)")
    assert insert.execute("x").lastrowid == 1
    assert insert.execute(["y"]).lastrowid == 2
    assert insert.executemany([["z"], ["u"]]).rowcount == 2
    find = conn.prepare("select id, a from t where id >= :from order by id")
    assert find.parameters == ["from"]
    assert find.sql.startswith("select")
    assert find.fetchrow({"from": 2}) == (2, "y")
    assert [tuple(row) for row in find.fetch({"from": 3})] == [(3, "z"), (4, "u")]
    assert find.fetchval({"from": 1}, column=1) == "x"
    assert [row["a"] for row in find.cursor({"from": 1})] == ["x", "y", "z", "u"]
    find.close()
    find.close()
    with pytest.raises(dqlite.ProgrammingError, match="one statement"):
        conn.prepare("select 1; select 2")


def test_fetchmany_gives_what_each_set_returned(conn):
    conn.execute("create table t(id integer primary key, a)")
    sets = [["x"], ["y"]]
    rows = conn.fetchmany("insert into t(a) values (?) returning id, a", sets)
    assert [tuple(row) for row in rows] == [(1, "x"), (2, "y")]
    assert rows[0]["a"] == "x"
    assert conn.fetchmany("update t set a = ?", sets) == []


def test_another_type_of_rows(conn):
    assert conn.with_row_factory(dqlite.rows.dict_row) is conn
    assert conn.execute("select 1 as n").fetchone() == {"n": 1}
    cursor = conn.cursor().with_row_factory(dqlite.rows.scalar_row)
    assert cursor.execute("select 7, 8").fetchall() == [7]
    assert conn.execute("select 2 as n").fetchone() == {"n": 2}


WRITES = ("insert into t values (2)", "create table u(a)", "with x as (select 1) delete from t")


def test_a_block_that_only_reads(conn):
    conn.execute("create table t(a)")
    conn.execute("insert into t values (1)")
    with conn.transaction(readonly=True):
        assert conn.fetchval("select count(*) from t") == 1
        for sql in WRITES:
            with pytest.raises(dqlite.ProgrammingError, match="read-only") as caught:
                conn.execute(sql)
            assert caught.value.outcome == "not_sent"
        with pytest.raises(dqlite.ProgrammingError, match="read-only"):
            conn.executemany("insert into t values (?)", [[1]])
        with conn.transaction():
            assert conn.fetchval("select count(*) from t") == 1
    with conn.transaction():
        conn.execute("insert into t values (2)")
        with pytest.raises(dqlite.ProgrammingError), conn.transaction(readonly=True):
            conn.execute("insert into t values (3)")
        conn.execute("insert into t values (4)")
    assert conn.fetchval("select sum(a) from t") == 7


def test_savepoints_have_the_name_they_are_given(conn):
    told = []
    conn.set_trace_callback(told.append)
    with conn.transaction(), conn.transaction(savepoint_name='a "b"'):
        conn.execute('rollback to [a "b"]')
    assert 'SAVEPOINT "a ""b"""' in told
    assert 'RELEASE "a ""b"""' in told
    for name in ("", "\0", 5):
        with pytest.raises(dqlite.ProgrammingError, match="name"):
            conn.transaction(savepoint_name=name)


def test_watchers_are_told_of_each_statement(conn):
    told = []
    conn.add_query_logger(told.append)
    conn.add_query_logger(told.append)
    conn.execute("create table t(a)")
    conn.execute("insert into t values (?)", ["secret"])
    conn.fetch("select * from t where a <> ? and a <> ?", 1, 2)
    with pytest.raises(dqlite.OperationalError):
        conn.fetchval("select nothing")
    conn.remove_query_logger(told.append)
    conn.remove_query_logger(told.append)
    conn.fetchval("select 1")
    assert [(query.sql[:6], query.params_count, query.rows) for query in told] == [
        ("create", 0, -1),
        ("insert", 1, 1),
        ("select", 2, 1),
        ("select", 0, -1),
    ]
    assert "secret" not in repr(told)
    assert {query.address for query in told} == {conn.address}
    assert isinstance(told[-1].exception, dqlite.OperationalError)
    assert told[0].exception is None
    assert all(0 <= query.wait <= query.elapsed < 30 for query in told)


def test_what_a_watcher_raises_reaches_the_caller(conn):
    def refuse(query):
        raise KeyError(query.sql)

    conn.add_query_logger(refuse)
    with pytest.raises(KeyError):
        conn.fetchval("select 1")
    conn.remove_query_logger(refuse)
    assert conn.fetchval("select 1") == 1


async def test_what_cannot_be_called_is_refused_at_once(conn, aconn):
    for connection in (conn, aconn):
        for attach in (connection.add_query_logger, connection.set_trace_callback):
            with pytest.raises(dqlite.ProgrammingError, match="callable, not int"):
                attach(5)
    assert conn.fetchval("select 1") == 1
    with pytest.raises(dqlite.NotSupportedError, match="cancel the task"):
        aconn.interrupt()


def test_a_client_of_a_node_connects_as_the_node_does(server, database):
    with dqlite.Client(server) as client, client.connect(database) as conn:
        assert conn.fetchval("select 1") == 1
        assert client.connection_targets()[0] == server.connection_targets()[0]


def test_hosts_are_another_name_of_the_target(server):
    with dqlite.connect(hosts=[server.address], database="hosts") as conn:
        assert conn.database == "hosts"
        assert conn.fetchval("select 1") == 1


async def test_cursors_have_what_pep_249_has_beside_rows(conn, aconn):
    for cursor in (conn.cursor(), aconn.cursor()):
        cursor.setinputsizes([1])
        cursor.setoutputsize(1, 2)
        for call in (lambda c: c.callproc("f"), lambda c: c.nextset(), lambda c: c.scroll(1)):
            with pytest.raises(dqlite.NotSupportedError):
                call(cursor)


@pytest.mark.parametrize("method", ["create_function", "blobopen", "tpc_commit", "xid"])
async def test_what_cannot_be_says_so_by_its_name(conn, aconn, url, method):
    with contextlib.closing(dqlite.dbapi.connect(url)) as third:
        for connection in (conn, aconn, third):
            with pytest.raises(dqlite.NotSupportedError, match=method):
                getattr(connection, method)()


def test_old_tokens_are_forgotten(server, database):
    with dqlite.Client([server.address]) as client:
        assert client.forget_tokens(database, 0) == 0
        with client.connect(database) as conn:
            for _ in range(3):
                conn.run_transaction(lambda c: c.fetchval("select 1"), token=dqlite.new_token())
            assert client.forget_tokens(database, 3600) == 0
            assert client.forget_tokens(database, -10) == 3
            with pytest.raises(dqlite.ProgrammingError, match="seconds"):
                client.forget_tokens(database, "1h")


def test_files_of_a_certain_node(trio, until):
    with dqlite.Client(trio.addresses) as client:
        with client.connect("files") as conn:
            conn.execute("create table t(a)")
            conn.execute("insert into t values ('needle')")
        for address in trio.addresses:

            def is_there(address=address):
                files = client.dump("files", address=address)
                return b"needle" in b"".join(files.values())

            until(is_there)
        with pytest.raises(dqlite.Error):
            client.dump("files", address="127.0.0.1:1")


@pytest.mark.parametrize(
    "connect", [dqlite.connect, partial(dqlite.dbapi.connect, autocommit=True)]
)
def test_transactions_without_a_block(url, connect):
    with contextlib.closing(connect(url)) as conn, dqlite.connect(url) as other:
        conn.execute("create table t(a)")
        conn.begin()
        conn.execute("insert into t values (1)")
        conn.rollback()
        conn.rollback()
        assert not conn.in_transaction
        conn.begin("deferred")
        conn.execute("insert into t values (2)")
        assert other.fetch("select a from t") == []
        conn.commit()
        conn.commit()
        assert not conn.in_transaction
        assert other.fetch("select a from t") == [(2,)]


def test_a_raw_begin_is_ended_by_the_methods_of_native_connections_only(url, conn):
    """Stdlib's do nothing in autocommit mode."""
    conn.execute("create table t(a)")
    conn.execute("begin immediate")
    conn.execute("insert into t values (1)")
    conn.commit()
    assert not conn.in_transaction
    with contextlib.closing(dqlite.dbapi.connect(url, autocommit=True)) as like_stdlib:
        like_stdlib.execute("begin immediate")
        like_stdlib.commit()
        assert like_stdlib.in_transaction
        like_stdlib.execute("rollback")


async def test_asyncio_transactions_without_a_block(aconn):
    await aconn.execute("create table t(a)")
    await aconn.begin()
    assert aconn.in_transaction
    await aconn.execute("insert into t values (1)")
    await aconn.rollback()
    await aconn.rollback()
    await aconn.begin("deferred")
    await aconn.execute("insert into t values (2)")
    await aconn.commit()
    await aconn.commit()
    assert not aconn.in_transaction
    assert await aconn.execute_fetchall("select a from t") == [(2,)]
    assert await aconn.execute_insert("insert into t values (?)", [3]) == 2
    assert await aconn.ping()
    assert (await aconn.get_server_version()) >= (3, 40)
    assert (aconn.timeout, aconn.busy_timeout, aconn.closed) == (60, 5, False)
    await aconn.close()
    assert aconn.closed
    assert not await aconn.ping()


async def test_asyncio_versions_are_asked_once_in_a_session(aconn, conn):
    with pytest.raises(dqlite.InterfaceError, match=r"await get_server_version\(\)"):
        _ = aconn.server_version
    seen = []
    aconn.set_trace_callback(seen.append)
    conn.set_trace_callback(seen.append)
    version = await aconn.get_server_version()
    assert version == aconn.server_version == await aconn.get_server_version()
    assert version == conn.server_version == conn.server_version
    assert seen == ["SELECT sqlite_version()"] * 2
    aconn._core.terminate()  # noqa: SLF001 - the session is lost
    assert await aconn.get_server_version() == version
    assert aconn.session_number == 2


def test_asking_for_the_version_begins_nothing(url):
    with contextlib.closing(dqlite.dbapi.connect(url, autocommit=False)) as manual:
        assert manual.server_version >= (3, 40)
        assert not manual.in_transaction
    with pytest.raises(dqlite.InterfaceError, match="closed"):
        _ = manual.server_version


async def test_asyncio_changes_are_counted(aconn):
    await aconn.execute("create table t(id integer primary key, a)")
    assert aconn.total_changes == 0
    await aconn.execute("insert into t(a) values (1), (2)")
    await aconn.execute("update t set a = 3 where a = 1 returning id")
    assert aconn.total_changes == 3
    await aconn.executemany("insert into t(a) values (?)", [[1]] * 4)
    await aconn.fetchmany("insert into t(a) values (?) returning id", [[1]] * 2)
    await aconn.fetchmany("insert into t(a) values (?)", [[1]])
    assert aconn.total_changes == 10
    script = "delete from t where a = 2; select * from t; insert into t values (99, 0)"
    await aconn.executescript(script)
    await aconn.execute_insert("insert into t(a) values (?)", [7])
    assert aconn.total_changes == 13
    cursor = aconn.cursor()
    await cursor.execute("delete from t where id < 4")
    assert aconn.total_changes == 13 + cursor.rowcount


async def test_asyncio_cursors_run_scripts(aconn):
    cursor = await aconn.execute("select 1")
    script = "create table t(a); insert into t values (1); insert into t values (2)"
    assert await cursor.executescript(script) is cursor
    assert (await cursor.fetchall(), cursor.description, cursor.rowcount) == ([], None, -1)
    with pytest.raises(dqlite.OperationalError, match="no such table") as caught:
        await cursor.executescript("delete from t;\n\ndelete from u")
    assert (caught.value.index, caught.value.line) == (1, 3)
    assert await aconn.fetchval("select count(*) from t") == 0
    await cursor.close()
    with pytest.raises(dqlite.InterfaceError, match="cursor is closed"):
        await cursor.executescript("select 1")


async def test_asyncio_cursors_have_row_factories_of_their_own(aconn):
    rows = dqlite.rows
    count = "with recursive n(v) as (select 1 union all select v + 1 from n limit 5000)"
    cursor = aconn.cursor()
    assert cursor.with_row_factory(rows.dict_row) is cursor
    await cursor.execute("select 1 as a, 2 as b")
    assert await cursor.fetchone() == {"a": 1, "b": 2}
    scalars = aconn.cursor(f"{count} select v from n").with_row_factory(rows.scalar_row)
    assert await scalars.fetchmany(3) == [1, 2, 3]
    scalars.with_row_factory(rows.list_row)  # of the next statement
    assert await scalars.fetchall() == list(range(4, 5001))
    await scalars.execute("select 1")
    assert await scalars.fetchall() == [[1]]
    scalars.with_row_factory(None)
    await scalars.execute("select 1")
    row = await scalars.fetchone()
    assert (row, type(row)) == ((1,), tuple)
    assert type(await aconn.fetchrow("select 1")) is dqlite.Record
    with pytest.raises(dqlite.ProgrammingError, match="row_factory"):
        cursor.with_row_factory(7)


async def test_asyncio_transactions_never_begin_by_themselves(url, aconn):
    assert (aconn.autocommit, aconn.isolation_level) == (True, "IMMEDIATE")
    aconn.autocommit, aconn.isolation_level = True, "IMMEDIATE"
    for options in ({"autocommit": False}, {"isolation_level": None}):
        with pytest.raises(
            dqlite.NotSupportedError, match=r"dqlite\.aio\.dbapi\.connect"
        ) as caught:
            dqlite.aio.connect(url, **options)
        assert caught.value.outcome == "not_sent"
        (name, value), *_ = options.items()
        assert name in str(caught.value)
        with pytest.raises(dqlite.NotSupportedError, match=name):
            setattr(aconn, name, value)


async def test_asyncio_blocks_that_only_read(aconn):
    await aconn.execute("create table t(a)")
    async with aconn.transaction(readonly=True):
        assert await aconn.fetchval("select count(*) from t") == 0
        for sql in WRITES:
            with pytest.raises(dqlite.ProgrammingError, match="read-only"):
                await aconn.execute(sql)
        with pytest.raises(dqlite.ProgrammingError, match="read-only"):
            await aconn.executemany("insert into t values (?)", [[1]])
    async with aconn.transaction(), aconn.transaction(savepoint_name="kept"):
        await aconn.execute("insert into t values (1)")
    assert await aconn.fetchval("select count(*) from t") == 1


async def test_asyncio_watchers(url):
    queries, texts = [], []
    async with dqlite.create_pool(url, min_size=1, max_size=1) as pool:
        async with pool.acquire() as conn:
            conn.add_query_logger(queries.append)
            conn.set_trace_callback(texts.append)
            assert await conn.fetchval("select ?", 1) == 1
            with pytest.raises(dqlite.OperationalError):
                await conn.fetch("select nothing")
        assert await pool.fetchval("select 2") == 2
    assert texts == ["select ?", "select nothing"]
    assert [(query.params_count, query.rows) for query in queries] == [(1, 1), (0, -1)]
    assert isinstance(queries[1].exception, dqlite.OperationalError)


async def test_asyncio_copies(aconn, tmp_path):
    await aconn.executescript("create table t(a); insert into t values ('x')")
    await aconn.backup(tmp_path / "copy.db")
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("select a from t").fetchall() == [("x",)]
    lines = [line async for line in aconn.iterdump()]
    assert lines == list(copy.iterdump())
    copy.close()
    assert (await aconn.serialize()).startswith(b"SQLite format 3")


ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"


def test_a_cluster_comes_to_rest(tmp_path):
    with dqlite.testing.Cluster(tmp_path, size=1) as cluster:
        with dqlite.connect(cluster.url()) as conn:
            with pytest.raises(dqlite.StatementTimeoutError):
                conn.fetch(ENDLESS, timeout=0.3)
            assert cluster.idle(within=20)
        begun = time.monotonic()
        assert cluster.kill_leader() in cluster.nodes
        assert cluster.wait_for_leader() in cluster.nodes
        assert time.monotonic() - begun < 60
