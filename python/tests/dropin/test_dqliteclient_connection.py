"""`dqliteclient.connect` and its connection against real nodes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest

import dqlite
import dqliteclient
from dqliteclient import ConnectionPool, DqliteConnection, ProtocolError, connect
from dqliteclient.connection import is_no_transaction_error

pytestmark = pytest.mark.cluster


@pytest.fixture
async def conn(trio, request):
    name = request.node.name.replace("[", "_").replace("]", "")[:100]
    async with DqliteConnection(trio.addresses[0], database=name) as opened:
        yield opened


async def test_shapes_of_results(conn) -> None:
    assert await conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a)") == (0, 0)
    assert await conn.execute("INSERT INTO t(a) VALUES (?), (?)", ["x", None]) == (2, 2)
    assert await conn.fetch("SELECT * FROM t") == [{"id": 1, "a": "x"}, {"id": 2, "a": None}]
    assert await conn.fetchall("SELECT * FROM t") == [[1, "x"], [2, None]]
    assert await conn.fetchone("SELECT * FROM t WHERE id = ?", (2,)) == {"id": 2, "a": None}
    assert await conn.fetchone("SELECT * FROM t WHERE id = 9") is None
    assert await conn.fetchval("SELECT a FROM t") == "x"
    assert await conn.fetchval("SELECT a FROM t WHERE id = 9") is None
    assert await conn.query_raw("SELECT id, a FROM t") == (["id", "a"], [[1, "x"], [2, None]])
    rows = await conn.fetch("SELECT * FROM t")
    assert type(rows) is list
    assert type(rows[0]) is dict
    assert type((await conn.fetchall("SELECT 1"))[0]) is list


async def test_raw_types(conn) -> None:
    """Tag 9 stays int, tag 10 stays str, tag 11 is bool whatever the number; NULL is None."""
    await conn.execute("CREATE TABLE k (w DATETIME, d DATE, f BOOLEAN)")
    stamp = "2001-02-03 04:05:06.000007"
    await conn.execute("INSERT INTO k VALUES (?, ?, ?)", [stamp, "2001-02-03", True])
    await conn.execute("INSERT INTO k VALUES (?, ?, ?)", [5, 0, 7])
    await conn.execute("INSERT INTO k VALUES (NULL, NULL, NULL)")
    expected = [[stamp, "2001-02-03", True], [5, 0, True], [None, None, None]]
    columns, first, types, rows = await conn.query_raw_typed("SELECT * FROM k")
    assert rows == expected == await conn.fetchall("SELECT * FROM k")
    assert [type(value) for value in rows[1]] == [int, int, bool]
    assert columns == ["w", "d", "f"]
    assert first == [10, 10, 11]
    assert types == [[10, 10, 11], [9, 9, 11], [5, 5, 5]]


async def test_values_keep_type_and_size(conn) -> None:
    values = [2**63 - 1, -(2**63), b"\0\xff", None, 1.5, b"", "", "žluťoučký"]
    row = (await conn.fetchall("SELECT ?, ?, ?, ?, ?, ?, ?, ?", values))[0]
    assert row == values
    assert [type(value) for value in row] == [type(value) for value in values]


async def test_execute_takes_several_statements(conn) -> None:
    script = "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2); UPDATE t SET a = 5"
    assert (await conn.execute(script))[1] == 2
    with pytest.raises(dqliteclient.OperationalError):
        await conn.execute("INSERT INTO t VALUES (9); nonsense")
    assert await conn.fetchall("SELECT a FROM t") == [[5], [5], [9]]
    assert await conn.execute(" -- nothing") == (0, 0)


async def test_transaction_commits_and_rolls_back(conn) -> None:
    await conn.execute("CREATE TABLE t (a)")
    async with conn.transaction():
        assert conn.in_transaction
        await conn.execute("INSERT INTO t VALUES (1)")
    assert not conn.in_transaction
    with contextlib.suppress(KeyError):
        async with conn.transaction():
            await conn.execute("INSERT INTO t VALUES (2)")
            raise KeyError
    assert await conn.fetchall("SELECT a FROM t") == [[1]]


async def test_transactions_do_not_nest(conn) -> None:
    text = "Nested transactions are not supported; use SAVEPOINT"
    async with conn.transaction():
        with pytest.raises(dqliteclient.InterfaceError, match=text):
            await conn.transaction().__aenter__()
        await conn.execute("SAVEPOINT s")
        await conn.execute("RELEASE s")
    await conn.execute("BEGIN")
    with pytest.raises(dqliteclient.InterfaceError, match=text):
        await conn.transaction().__aenter__()
    await conn.execute("ROLLBACK")


async def test_tasks_outside_the_block_wait(conn) -> None:
    await conn.execute("CREATE TABLE t (a)")
    asked = asyncio.Event()

    async def count() -> int:
        await asked.wait()
        return await conn.fetchval("SELECT count(*) FROM t")

    outside = asyncio.ensure_future(count())
    async with conn.transaction():
        await conn.execute("INSERT INTO t VALUES (1)")
        asked.set()
        await asyncio.sleep(0)
        await conn.execute("INSERT INTO t VALUES (2)")
    assert await outside == 2


async def test_concurrent_operations_are_refused(conn) -> None:
    calls = [conn.fetchval("SELECT 1") for _ in range(3)]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert done[0] == 1
    for error in done[1:]:
        assert isinstance(error, dqliteclient.InterfaceError)
        assert "another operation is in progress" in str(error)
    assert await conn.fetchval("SELECT 2") == 2


async def test_server_errors_are_both(conn, trio) -> None:
    await conn.execute("CREATE TABLE t (a UNIQUE)")
    await conn.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(dqliteclient.OperationalError) as info:
        await conn.execute("INSERT INTO t VALUES (1)")
    assert isinstance(info.value, dqlite.IntegrityError)
    assert (info.value.code, info.value.raw_message) == (2067, "UNIQUE constraint failed: t.a")
    assert str(info.value).endswith(tuple(f" to {address}" for address in trio.addresses))
    with pytest.raises(dqliteclient.OperationalError, match="no such table: missing to 127"):
        await conn.fetch("SELECT * FROM missing")
    with pytest.raises(dqliteclient.OperationalError) as info:
        await conn.execute("COMMIT")
    assert is_no_transaction_error(info.value)
    assert not isinstance(info.value, dqliteclient.DqliteConnectionError)
    assert conn.is_connected


@pytest.mark.parametrize("params", ["x", b"x", {"a": 1}, {1}, iter([1]), 5])
async def test_params_must_be_a_sequence(conn, params) -> None:
    with pytest.raises(dqliteclient.DataError, match="params must be"):
        await conn.execute("SELECT ?", params)


@pytest.mark.parametrize("value", ["a\0b", 2**63, "\ud800", object(), {}])
async def test_values_that_cannot_be_sent(conn, value) -> None:
    with pytest.raises(dqliteclient.DataError, match="wire encode failed"):
        await conn.execute("SELECT ?", [value])
    assert await conn.fetchval("SELECT 1") == 1


async def test_more_rows_than_allowed(trio) -> None:
    conn = await connect(trio.addresses[0], max_total_rows=2)
    assert len(await conn.fetch("SELECT 1 UNION SELECT 2")) == 2
    with pytest.raises(dqliteclient.ProtocolError, match="max_total_rows") as info:
        await conn.fetch("SELECT 1 UNION SELECT 2 UNION SELECT 3")
    assert isinstance(info.value, dqlite.DataError)
    with pytest.raises(dqliteclient.DqliteConnectionError, match="Not connected"):
        await conn.fetch("SELECT 1")
    await conn.close()


async def test_a_result_beyond_the_limit_is_not_read_on(trio) -> None:
    conn = await connect(trio.addresses[0], max_total_rows=5000)
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n{}) SELECT i FROM n"
    assert len(await conn.fetchall(count.format(" LIMIT 5000"))) == 5000
    with pytest.raises(dqliteclient.ProtocolError, match="max_total_rows"):
        await conn.fetchall(count.format(""))  # an endless one
    await conn.close()


async def test_life_cycle(trio) -> None:
    conn = DqliteConnection(trio.addresses[1])
    assert (conn.address, conn.closed, conn.is_connected) == (trio.addresses[1], False, False)
    with pytest.raises(dqliteclient.DqliteConnectionError, match="Not connected"):
        await conn.fetch("SELECT 1")
    await conn.connect()
    await conn.connect()
    assert conn.is_connected
    await conn.close()
    await conn.close()
    assert conn.closed
    for call in (conn.connect(), conn.fetch("SELECT 1")):
        with pytest.raises(dqliteclient.InterfaceError, match=r"Connection is closed \(id="):
            await call


async def test_unreachable(addresses) -> None:
    address = addresses(1)[0]
    with pytest.raises(dqliteclient.DqliteConnectionError) as info:
        await connect(address, timeout=2)
    assert f"Failed to connect to {address}" in str(info.value)


async def test_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(dqliteclient.DqliteConnectionError, match="timed out"):
            await connect(address, timeout=0.2)


async def test_cancelled_call_leaves_the_connection_usable(conn) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    bounded = f"{endless} LIMIT 2000"
    for delay in (0, 0.001, 0.01):
        task = asyncio.ensure_future(conn.fetchall(bounded))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        assert await conn.fetchval("SELECT 1") == 1


async def test_wrong_loop(trio) -> None:
    conn = await connect(trio.addresses[0])
    with pytest.raises(dqliteclient.InterfaceError, match="is bound to a different event loop"):
        await asyncio.to_thread(lambda: asyncio.run(conn.fetch("SELECT 1")))
    await conn.close()


async def test_fork(trio) -> None:
    conn = await connect(trio.addresses[0])
    pool = await dqliteclient.create_pool(trio.addresses)
    cluster = dqliteclient.ClusterClient.from_addresses(trio.addresses)
    calls = [lambda: conn.fetch("SELECT 1"), lambda: pool.fetch("SELECT 1"), cluster.find_leader]
    pid = os.fork()
    if pid == 0:
        os._exit(sum(not refused_after_fork(call) for call in calls))
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert await conn.fetchval("SELECT 1") == 1
    await pool.close()
    await conn.close()


def refused_after_fork(call) -> bool:
    """Whether the call says what to do; it must say so before it waits for anything."""
    try:
        call().send(None)
    except dqliteclient.InterfaceError as error:
        return "used after fork; reconstruct it in the child process (created in pid" in str(error)
    except BaseException:
        return False
    return False


async def test_forgotten_connection_warns(trio) -> None:
    connections = [await connect(trio.addresses[0])]
    with pytest.warns(ResourceWarning, match="garbage-collected"):
        connections.clear()


async def test_a_lost_session_is_lost_until_connect(own_trio) -> None:
    conn = await connect(own_trio.addresses[0], timeout=5)
    await conn.execute("CREATE TABLE t (a)")
    leader = own_trio.leader()
    await asyncio.to_thread(leader.stop)
    with pytest.raises(dqliteclient.DqliteError):
        await conn.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(dqliteclient.DqliteConnectionError, match="Not connected"):
        await conn.execute("INSERT INTO t VALUES (1)")
    alive = next(node.address for node in own_trio.nodes if node is not leader)
    await conn.close()
    async with DqliteConnection(alive) as again:
        assert await again.fetchval("SELECT count(*) FROM t") in {0, 1}


NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {}) SELECT i FROM n"


@pytest.mark.parametrize("method", ["fetch", "fetchall", "query_raw", "query_raw_typed"])
async def test_rows_beyond_the_limit_end_the_session(trio, method) -> None:
    conn = await connect(trio.addresses[0], max_total_rows=20_000)
    assert await getattr(conn, method)(NUMBERS.format(20_000))
    with pytest.raises(ProtocolError, match="max_total_rows=20000") as caught:
        await getattr(conn, method)(NUMBERS.format(20_001))
    assert isinstance(caught.value, dqlite.DataError)
    assert not conn.is_connected
    await conn.close()


async def test_an_endless_result_is_not_read_to_its_end(trio) -> None:
    endless = NUMBERS.replace("LIMIT {}", "")
    conn = await connect(trio.addresses[0], max_total_rows=10_000)
    with pytest.raises(ProtocolError, match="max_total_rows"):
        await conn.fetchall(endless)
    await conn.close()
    conn = await connect(trio.addresses[0], max_continuation_frames=3)
    with pytest.raises(ProtocolError, match="max_continuation_frames=3"):
        await conn.fetch(endless)
    assert not conn.is_connected
    await conn.connect()
    assert await conn.fetchval("SELECT 1") == 1
    await conn.close()


async def test_a_message_beyond_the_limit_ends_the_session(trio) -> None:
    conn = await connect(trio.addresses[0], max_message_size=50_000)
    assert await conn.fetchval("SELECT length(zeroblob(40000))") == 40_000
    assert len(await conn.fetchval("SELECT zeroblob(40000)")) == 40_000
    with pytest.raises(ProtocolError, match=r"max_message_size=50000"):
        await conn.fetchval("SELECT zeroblob(60000)")
    assert not conn.is_connected
    await conn.close()
    async with ConnectionPool(trio.addresses, max_message_size=50_000) as pool:
        with pytest.raises(ProtocolError, match=r"max_message_size=50000"):
            await pool.fetchval("SELECT zeroblob(60000)")
        assert await pool.fetchval("SELECT 1") == 1
