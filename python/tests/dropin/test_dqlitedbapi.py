"""The published API of dqlite-dbapi 0.8.0 on a live node: names, signatures, behaviour."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import os
import pickle
import threading
from typing import Any

import pytest

import dqlite
import dqlitedbapi
import dqlitedbapi.aio
from dqlite import dbapi
from dqlitedbapi import types
from dqlitedbapi.exceptions import raise_translated

NAMES = """__version__ apilevel threadsafety paramstyle sqlite_version sqlite_version_info
LEGACY_TRANSACTION_CONTROL PARSE_DECLTYPES PARSE_COLNAMES connect SESSION_MODES
validate_session_mode DialFunc Warning Error InterfaceError DatabaseError DataError OperationalError
AmbiguousCommitError IntegrityError InternalError ProgrammingError NotSupportedError
AdapterLookupError Date Time Timestamp DateFromTicks TimeFromTicks TimestampFromTicks Binary STRING
BINARY NUMBER DATETIME ROWID UNKNOWN Row DescriptionTuple PrepareProtocol register_adapter
unregister_adapter register_converter complete_statement enable_callback_tracebacks
CLUSTER_POLICY_REJECTION_PREFIX FAILED_TO_CONNECT_PREFIX MAX_CONTINUATION_FRAMES_UPPER_BOUND"""

OPTIONS = (
    "database='default', timeout=10.0, max_total_rows=10000000, max_continuation_frames=100000, "
    "max_message_size=None, trust_server_heartbeat=False, close_timeout=0.5, dial_timeout=None, "
    "attempt_timeout=None, dial_func=None, busy_timeout=5.0"
)


@pytest.fixture
def conn(server: dqlite.Node, database: str) -> Any:
    connection = dqlitedbapi.connect(server.address, database=database)
    connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)")
    yield connection
    connection.close()


@pytest.fixture
async def aconn(server: dqlite.Node, database: str) -> Any:
    connection = await dqlitedbapi.aio.aconnect(server.address, database=database)
    await connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)")
    yield connection
    await connection.close()


def test_every_name_is_there() -> None:
    both = set(NAMES.split())
    assert both | {"Connection", "Cursor"} == set(dqlitedbapi.__all__)
    assert both | {"AsyncConnection", "AsyncCursor", "aconnect"} == set(dqlitedbapi.aio.__all__)
    for module in (dqlitedbapi, dqlitedbapi.aio):
        assert all(hasattr(module, name) for name in module.__all__)
        assert module.__dqlite_face__ is True
        assert module.__version__ == f"0.8.0+dqlite.{dqlite.__version__}"
        assert (module.apilevel, module.threadsafety, module.paramstyle) == ("2.0", 2, "qmark")
        assert module.sqlite_version_info == (3, 35, 0)


@pytest.mark.parametrize(
    ("function", "recorded"),
    [
        (
            dqlitedbapi.connect,
            f"(address, *, {OPTIONS}, check_same_thread=True, session_mode=None, **stdlib_kwargs)",
        ),
        (
            dqlitedbapi.Connection.__init__,
            f"(self, address, *, {OPTIONS}, check_same_thread=True, session_mode=None)",
        ),
        (
            dqlitedbapi.aio.connect,
            f"(address, *, {OPTIONS}, session_mode=None, **stdlib_kwargs)",
        ),
        (dqlitedbapi.aio.aconnect, "(address, **kwargs)"),
        (
            dqlitedbapi.aio.AsyncConnection.__init__,
            f"(self, address, *, {OPTIONS}, session_mode=None)",
        ),
        (dqlitedbapi.Connection.cursor, "(self, **unsupported)"),
        (dqlitedbapi.Connection.execute, "(self, operation, parameters=None, /)"),
        (dqlitedbapi.Connection.executemany, "(self, operation, seq_of_parameters, /)"),
        (dqlitedbapi.Connection.set_session_mode, "(self, mode)"),
        (dqlitedbapi.Cursor.execute, "(self, operation, parameters=None, /)"),
        (dqlitedbapi.Cursor.fetchmany, "(self, size=None)"),
        (dqlitedbapi.Cursor.setinputsizes, "(self, sizes, /)"),
        (dqlitedbapi.Cursor.setoutputsize, "(self, size, column=None, /)"),
        (dqlitedbapi.Cursor.callproc, "(self, procname, parameters=None, /)"),
    ],
)
def test_signatures(function: Any, recorded: str) -> None:
    signature = inspect.signature(function)
    plain = [
        parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()
    ]
    assert str(signature.replace(parameters=plain, return_annotation=signature.empty)) == recorded


def test_exceptions_are_ours_and_attributes_of_connections(conn: Any) -> None:
    for name in ("Error", "InterfaceError", "DataError", "AmbiguousCommitError", "Warning"):
        ours = getattr(dqlite, name)
        assert getattr(dqlitedbapi, name) is getattr(conn, name) is ours


def test_the_registry_is_that_of_dbapi() -> None:
    class Celsius:
        def __init__(self, degrees: int) -> None:
            self.degrees = degrees

    dqlitedbapi.register_adapter(Celsius, lambda given: given.degrees)
    try:
        assert dbapi.adapt(Celsius(5)) == types.adapt_bind_param(Celsius(5)) == 5
        assert Celsius in types._ADAPTERS  # noqa: SLF001 - its tests look there
    finally:
        dqlitedbapi.unregister_adapter(Celsius)
    with pytest.raises(dqlitedbapi.AdapterLookupError):
        dqlitedbapi.unregister_adapter(Celsius)
    for wrong in ((Celsius, 5), (5, str)):
        with pytest.raises(dqlitedbapi.ProgrammingError):
            dqlitedbapi.register_adapter(*wrong)


def test_nothing_is_dialled_before_the_first_use(addresses: Any) -> None:
    connection = dqlitedbapi.connect(addresses(1)[0], dial_timeout=0.3)
    cursor = connection.cursor()
    assert not connection.closed
    assert "unused" in repr(connection)
    with pytest.raises(dqlitedbapi.OperationalError, match=r"^Failed to connect: "):
        cursor.execute("SELECT 1")
    connection.close()
    assert connection.closed
    assert not connection.invalidated


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": 5},
        {"address": "nowhere"},
        {"database": ""},
        {"database": " x"},
        {"timeout": 0},
        {"timeout": "soon"},
        {"close_timeout": 0.001},
        {"busy_timeout": -1},
        {"busy_timeout": float("nan")},
        {"max_total_rows": 0},
        {"max_message_size": True},
        {"check_same_thread": 1},
        {"session_mode": "odd"},
        {"session_mode": 5},
        {"isolation_level": "odd"},
    ],
)
def test_bad_arguments_are_programming_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(dqlitedbapi.ProgrammingError):
        dqlitedbapi.connect(**{"address": "127.0.0.1:9001", **wrong})


@pytest.mark.parametrize("wrong", [{"detect_types": 1}, {"factory": None}, {"autocommit": False}])
def test_what_is_not_supported_says_so(wrong: dict[str, Any]) -> None:
    with pytest.raises(dqlitedbapi.NotSupportedError):
        dqlitedbapi.connect("127.0.0.1:9001", **wrong)


def test_stdlib_keywords_that_change_nothing(server: dqlite.Node) -> None:
    with dqlitedbapi.connect(server.address, isolation_level="immediate", autocommit=-1) as conn:
        assert (conn.isolation_level, conn.autocommit) == ("IMMEDIATE", -1)
        conn.autocommit = True
        for name, value in (("autocommit", False), ("text_factory", bytes)):
            with pytest.raises(dqlitedbapi.NotSupportedError):
                setattr(conn, name, value)
        for name, value in (("isolation_level", "odd"), ("row_factory", 5)):
            with pytest.raises(dqlitedbapi.ProgrammingError):
                setattr(conn, name, value)
    conn.close()


def test_statements_count_and_describe(conn: Any) -> None:
    cursor = conn.execute("INSERT INTO t(a) VALUES (?)", ["x"])
    assert (cursor.rowcount, cursor.lastrowid, cursor.description) == (1, 1, None)
    cursor.executemany("INSERT INTO t(a) VALUES (?)", [["y"], ["z"]])
    assert (cursor.rowcount, cursor.lastrowid, cursor.completed_iterations) == (2, 1, 2)
    cursor.execute("SELECT id, a, NULL FROM t ORDER BY id")
    assert cursor.rowcount == 3
    assert [column[:2] for column in cursor.description] == [
        ("id", 1),
        ("a", 3),
        ("NULL", dqlitedbapi.UNKNOWN),
    ]
    assert cursor.description[0][1] == dqlitedbapi.NUMBER == "integer"
    assert cursor.fetchone() == (1, "x", None)
    assert cursor.rownumber == 1
    assert cursor.fetchmany(1) == [(2, "y", None)]
    assert list(cursor) == [(3, "z", None)]
    assert cursor.fetchone() is None
    assert conn.execute("PRAGMA user_version").rowcount == -1
    assert conn.execute("CREATE TABLE u(a)").rowcount == -1
    assert conn.total_changes == 3
    cursor.execute("INSERT INTO t(a) VALUES ('r') RETURNING a")
    assert (cursor.rowcount, cursor.fetchall()) == (1, [("r",)])


def test_each_execution_stands_by_itself_unless_begin_was_said(conn: Any) -> None:
    cursor = conn.cursor()
    with pytest.raises(dqlitedbapi.IntegrityError):
        cursor.executemany("INSERT INTO t(a) VALUES (?)", [["x"], ["y"], ["x"], ["z"]])
    assert (cursor.rowcount, cursor.completed_iterations) == (-1, 2)
    assert conn.execute("SELECT a FROM t").fetchall() == [("x",), ("y",)]
    with pytest.raises(dqlitedbapi.IntegrityError), conn.transaction():
        cursor.executemany("INSERT INTO t(a) VALUES (?)", [["z"], ["x"]])
    assert conn.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_begin_commit_and_with(conn: Any) -> None:
    conn.commit()
    conn.rollback()
    with conn:
        conn.execute("BEGIN")
        conn.execute("INSERT INTO t(a) VALUES (1)")
        assert conn.in_transaction
    assert not conn.in_transaction
    with pytest.raises(KeyError), conn:
        conn.execute("BEGIN TRANSACTION")
        conn.execute("INSERT INTO t(a) VALUES (2)")
        raise KeyError
    assert conn.execute("SELECT a FROM t").fetchall() == [(1,)]
    with conn.transaction():
        for forbidden in (conn.commit, conn.rollback):
            with pytest.raises(dqlitedbapi.InterfaceError, match="context manager"):
                forbidden()
        with pytest.raises(dqlitedbapi.InterfaceError, match="Nested"), conn.transaction():
            pass
    assert not conn.closed


def test_begin_is_rewritten_by_the_session_mode(conn: Any) -> None:
    seen: list[str] = []
    conn.set_trace_callback(seen.append)
    for mode in ("immediate", "deferred", "exclusive"):
        conn.set_session_mode(mode)
        conn.execute("begin")
        conn.rollback()
    assert [text for text in seen if text != "ROLLBACK"] == [
        "BEGIN IMMEDIATE",
        "begin",
        "BEGIN EXCLUSIVE",
    ]
    assert (conn.session_mode, conn.default_session_mode) == ("exclusive", "immediate")
    with pytest.raises(dqlitedbapi.ProgrammingError, match="odd"):
        conn.set_session_mode("odd")


def test_a_read_only_session_is_refused_writes_by_the_server(
    server: dqlite.Node, conn: Any, database: str
) -> None:
    reader = dqlitedbapi.connect(server.address, database=database, session_mode="read_only")
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
    with pytest.raises(dqlitedbapi.OperationalError):
        reader.execute("INSERT INTO t(a) VALUES (1)")
    reader.set_session_mode("immediate")
    reader.execute("INSERT INTO t(a) VALUES (1)")
    reader.execute("BEGIN")
    with pytest.raises(dqlitedbapi.InterfaceError):
        reader.set_session_mode("read_only")
    reader.close()


def test_the_mode_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DQLITE_SESSION_MODE", "Deferred")
    assert dqlitedbapi.connect("127.0.0.1:9001").session_mode == "deferred"
    monkeypatch.setenv("DQLITE_SESSION_MODE", "odd")
    with pytest.raises(dqlitedbapi.ProgrammingError):
        dqlitedbapi.connect("127.0.0.1:9001")


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("", None),
        (" -- nothing", None),
        ("SELECT 1; SELECT 2", None),
        ("SELECT '\0'", None),
        (b"SELECT 1", None),
        ("SELECT ?", None),
        ("SELECT ?", ()),
        ("SELECT ?", (1, 2)),
        ("SELECT :a", [1]),
        ("SELECT ?", {"a": 1}),
        ("SELECT ?", {1}),
        ("SELECT ?", "x"),
        ("SELECT ?", iter([1])),
        ("SELECT ?", [object()]),
    ],
)
def test_wrong_calls_are_programming_errors(conn: Any, sql: Any, params: Any) -> None:
    with pytest.raises(dqlitedbapi.ProgrammingError):
        conn.execute(sql, params)
    assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("sql", "sets"),
    [
        ("INSERT INTO t(a) VALUES (?)", None),
        ("INSERT INTO t(a) VALUES (?)", "xy"),
        ("INSERT INTO t(a) VALUES (?)", [[1, 2]]),
        ("SELECT ?", [[1]]),
        ("BEGIN", [[]]),
    ],
)
def test_wrong_batches_are_programming_errors(conn: Any, sql: str, sets: Any) -> None:
    with pytest.raises(dqlitedbapi.ProgrammingError):
        conn.executemany(sql, sets)


def test_moments_come_back_as_the_wire_has_them(conn: Any) -> None:
    conn.execute("CREATE TABLE k(d DATE, t DATETIME, b BOOLEAN)")
    zone = dt.timezone(dt.timedelta(hours=-3, minutes=-30))
    moment = dt.datetime(2001, 2, 3, 4, 5, 6, 7, zone)
    conn.execute("INSERT INTO k VALUES (?, ?, ?)", [moment.date(), moment, 7])
    conn.execute("INSERT INTO k VALUES (?, ?, ?)", [dt.time(1, 2), 5, False])
    first, second = conn.execute("SELECT d, t, b FROM k").fetchall()
    assert first == (dt.datetime(2001, 2, 3), moment, True)
    assert second == (
        dt.time(1, 2),
        dt.datetime(1970, 1, 1, 0, 0, 5, tzinfo=dt.timezone.utc),
        False,
    )
    for unreadable in ("soon", -1):
        conn.execute("INSERT INTO k(t) VALUES (?)", [unreadable])
        with pytest.raises(dqlitedbapi.DataError):
            conn.execute("SELECT t FROM k WHERE t = ?", [unreadable])


def test_the_busy_timeout_is_ours(server: dqlite.Node, conn: Any, database: str) -> None:
    assert conn.execute("PRAGMA busy_timeout").fetchone() == (5000,)
    conn.execute("PRAGMA busy_timeout = 250")
    assert conn.busy_timeout == 0.25
    other = dqlitedbapi.connect(server.address, database=database, busy_timeout=0)
    other.execute("BEGIN")
    other.execute("INSERT INTO t(a) VALUES (1)")
    other.rollback()
    other.close()


def test_another_thread_is_refused_unless_allowed(server: dqlite.Node, conn: Any) -> None:
    shared = dqlitedbapi.connect(server.address, check_same_thread=False)
    found: list[Any] = []

    def use() -> None:
        found.append(shared.execute("SELECT 1").fetchone())
        try:
            conn.execute("SELECT 1")
        except dqlitedbapi.ProgrammingError as error:
            found.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(30)
    assert found[0] == (1,)
    assert "created in a thread can only be used in that same thread" in found[1]
    shared.close()


def test_a_fork_is_refused(conn: Any) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            conn.execute("SELECT 1")
        except dqlitedbapi.InterfaceError as error:
            os._exit(0 if "fork" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert conn.execute("SELECT 1").fetchone() == (1,)


def test_closed_objects_say_so(conn: Any) -> None:
    cursor = conn.execute("INSERT INTO t(a) VALUES (1)")
    cursor.close()
    assert (cursor.rowcount, cursor.lastrowid, cursor.closed) == (1, 1, True)
    with pytest.raises(dqlitedbapi.InterfaceError, match="Cursor is closed"):
        cursor.fetchone()
    late = conn.cursor()
    conn.close()
    conn.close()
    for call in (conn.cursor, conn.commit, conn.rollback, late.fetchall):
        with pytest.raises(dqlitedbapi.InterfaceError, match="closed"):
            call()
    for thing in (conn, late):
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(thing)


def test_a_result_above_the_limit_ends_the_session(server: dqlite.Node) -> None:
    conn = dqlitedbapi.connect(server.address, max_total_rows=10)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 11)"
    with pytest.raises(dqlitedbapi.OperationalError, match="max_total_rows"):
        conn.execute(f"{numbers} SELECT i FROM n")
    assert conn.invalidated
    with pytest.raises(dqlitedbapi.InterfaceError, match="invalidated"):
        conn.cursor()
    conn.close()


def test_rows_are_made_by_the_factory(conn: Any) -> None:
    conn.row_factory = dqlitedbapi.Row
    cursor = conn.execute("SELECT 1 AS One, 2 AS two")
    row = cursor.fetchone()
    assert (row["one"], row[1], row.keys()) == (1, 2, ["One", "two"])
    cursor.row_factory = None
    assert cursor.execute("SELECT 1").fetchone() == (1,)
    cursor.row_factory = lambda: None
    with pytest.raises(dqlitedbapi.DataError):
        cursor.execute("SELECT 1").fetchone()


def test_what_works_here_and_did_not_there(conn: Any) -> None:
    conn.executescript("CREATE TABLE s(v); INSERT INTO s VALUES (';');")
    assert "INSERT INTO" in "\n".join(conn.iterdump())
    assert conn.serialize().startswith(b"SQLite format 3")
    assert dqlitedbapi.complete_statement("SELECT 1;")


@pytest.mark.parametrize("name", ["tpc_begin", "xid", "create_function", "blobopen", "getlimit"])
def test_refusals_name_the_method(conn: Any, name: str) -> None:
    with pytest.raises(dqlitedbapi.NotSupportedError, match=name):
        getattr(conn, name)()


async def test_asyncio_has_the_same(aconn: Any) -> None:
    cursor = await aconn.execute("INSERT INTO t(a) VALUES (?)", ["x"])
    assert (cursor.rowcount, cursor.lastrowid) == (1, 1)
    await cursor.executemany("INSERT INTO t(a) VALUES (?)", [["y"], ["z"]])
    await cursor.execute("SELECT a FROM t ORDER BY id")
    assert await cursor.fetchone() == ("x",)
    assert [row async for row in cursor] == [("y",), ("z",)]
    async with aconn.transaction():
        await aconn.execute("DELETE FROM t")
        with pytest.raises(dqlitedbapi.InterfaceError):
            await aconn.commit()
    assert (await (await aconn.execute("SELECT count(*) FROM t")).fetchall()) == [(0,)]
    await aconn.executescript("INSERT INTO t(a) VALUES (1); INSERT INTO t(a) VALUES (2)")
    assert aconn.total_changes == 8
    await cursor.aclose()
    with pytest.raises(dqlitedbapi.InterfaceError, match="Cursor is closed"):
        await cursor.fetchone()


async def test_tasks_share_a_connection_but_no_cursor(aconn: Any) -> None:
    async def add(number: int) -> None:
        await aconn.execute("INSERT INTO t(a) VALUES (?)", [number])

    await asyncio.gather(*map(add, range(20)))
    cursor = aconn.cursor()
    both = [cursor.execute("SELECT count(*) FROM t") for _ in range(2)]
    done = await asyncio.gather(*both, return_exceptions=True)
    assert done[0] is cursor
    assert isinstance(done[1], dqlitedbapi.InterfaceError)
    assert await cursor.fetchall() == [(20,)]


async def test_a_batch_is_not_interleaved(aconn: Any) -> None:
    batch = aconn.executemany("INSERT INTO t(a) VALUES (?)", [[i] for i in range(50)])
    single = aconn.execute("INSERT INTO t(a) VALUES ('last')")
    await asyncio.gather(batch, single)
    rows = await (await aconn.execute("SELECT a FROM t ORDER BY id")).fetchall()
    assert rows[-1] == ("last",)


async def test_a_cancelled_task_leaves_the_connection_usable(aconn: Any) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(aconn.execute(endless), 0.1)
    assert await (await aconn.execute("SELECT 1")).fetchone() == (1,)


def test_another_loop_is_refused(server: dqlite.Node) -> None:
    connection = dqlitedbapi.aio.connect(server.address)

    async def use() -> None:
        await connection.execute("SELECT 1")

    asyncio.run(use())
    with pytest.raises(dqlitedbapi.InterfaceError, match="different event loop"):
        asyncio.run(use())
    connection.force_close_transport()
    assert connection.closed


async def test_aconnect_dials_at_once(addresses: Any) -> None:
    with pytest.raises(dqlitedbapi.OperationalError, match=r"^Failed to connect: "):
        await dqlitedbapi.aio.aconnect(addresses(1)[0], dial_timeout=0.3)


def test_a_lost_session_stays_lost(tmp_path: Any, addresses: Any) -> None:
    with dqlite.Node(addresses(1)[0], tmp_path / "n") as node:
        node.wait_ready(30)
        conn = dqlitedbapi.connect(node.address)
        conn.execute("SELECT 1")
        node.stop()
        with pytest.raises(dqlitedbapi.OperationalError):
            conn.execute("SELECT 1")
        assert conn.closed
        assert conn.invalidated
        with pytest.raises(dqlitedbapi.InterfaceError, match="invalidated"):
            conn.execute("SELECT 1")
        conn.close()
        assert not conn.invalidated


def test_composed_classes() -> None:
    refused = dqlite.ClusterPolicyError("h1:1")
    with pytest.raises(dqlitedbapi.InterfaceError, match=r"^Cluster policy rejection; ") as raised:
        raise_translated(refused)
    assert isinstance(raised.value, dqlite.ClusterPolicyError)
    with pytest.raises(dqlitedbapi.OperationalError) as broken:
        raise_translated(dqlite.ProtocolError("x"))
    assert isinstance(broken.value, dqlite.ProtocolError)
    assert isinstance(pickle.loads(pickle.dumps(broken.value)), dqlite.ProtocolError)
