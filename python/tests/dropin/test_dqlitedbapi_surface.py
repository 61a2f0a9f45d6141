"""Every public name of dqlite-dbapi 0.8.0: what it is, what it takes, what its errors are."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import dqlite
import dqlitedbapi
import dqlitedbapi.aio

FUNCTIONS = """
Date(year, month, day)
Time(hour, minute, second, microsecond=0, tzinfo=None)
Timestamp(year, month, day, hour, minute, second, microsecond=0, tzinfo=None)
DateFromTicks(ticks)
TimeFromTicks(ticks)
TimestampFromTicks(ticks)
register_adapter(type_, adapter, /)
unregister_adapter(type_, /)
validate_session_mode(value)
"""

CONNECTION = """
connect(self)
close(self)
force_close_transport(self)
commit(self)
rollback(self)
transaction(self)
set_session_mode(self, mode)
cursor(self, **unsupported)
execute(self, operation, parameters=None, /)
executemany(self, operation, seq_of_parameters, /)
"""

CURSOR = """
execute(self, operation, parameters=None, /)
executemany(self, operation, seq_of_parameters, /)
executescript(self, sql_script, /)
fetchone(self)
fetchmany(self, size=None)
fetchall(self)
close(self)
setinputsizes(self, sizes, /)
setoutputsize(self, size, column=None, /)
callproc(self, procname, parameters=None, /)
nextset(self)
scroll(self, value, mode='relative', /)
"""

AWAITED = {
    *("connect", "close", "aclose", "commit", "rollback", "set_session_mode", "execute"),
    *("executemany", "executescript", "fetchone", "fetchmany", "fetchall"),
}

PROPERTIES = {
    dqlitedbapi.Connection: (
        "address closed default_session_mode in_transaction invalidated session_mode",
        "autocommit busy_timeout isolation_level row_factory text_factory",
    ),
    dqlitedbapi.Cursor: (
        "closed completed_iterations connection description lastrowid rowcount rownumber",
        "arraysize row_factory",
    ),
}

STUBS = """tpc_begin tpc_prepare tpc_commit tpc_rollback tpc_recover xid create_function
create_aggregate create_window_function create_collation set_authorizer set_progress_handler
enable_load_extension load_extension blobopen deserialize getlimit setlimit getconfig setconfig"""

TREE = {
    "Warning": Exception,
    "Error": Exception,
    "InterfaceError": dqlitedbapi.Error,
    "DatabaseError": dqlitedbapi.Error,
    "DataError": dqlitedbapi.DatabaseError,
    "OperationalError": dqlitedbapi.DatabaseError,
    "IntegrityError": dqlitedbapi.DatabaseError,
    "InternalError": dqlitedbapi.DatabaseError,
    "ProgrammingError": dqlitedbapi.DatabaseError,
    "NotSupportedError": dqlitedbapi.DatabaseError,
    "AmbiguousCommitError": dqlitedbapi.OperationalError,
    "AdapterLookupError": dqlitedbapi.ProgrammingError,
}


def lines(recorded: str) -> list[str]:
    return recorded.strip().splitlines()


def signature(function: Any) -> str:
    found = inspect.signature(function)
    plain = [value.replace(annotation=value.empty) for value in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=found.empty))


@pytest.mark.parametrize("module", [dqlitedbapi, dqlitedbapi.aio])
@pytest.mark.parametrize("recorded", lines(FUNCTIONS))
def test_functions_take_what_they_took(module: Any, recorded: str) -> None:
    name = recorded.partition("(")[0]
    assert name + signature(getattr(module, name)) == recorded


@pytest.mark.parametrize(
    ("kind", "recorded"),
    [(dqlitedbapi.Connection, line) for line in lines(CONNECTION)]
    + [(dqlitedbapi.aio.AsyncConnection, line) for line in lines(CONNECTION)]
    + [(dqlitedbapi.aio.AsyncConnection, "aclose(self)")]
    + [(dqlitedbapi.Cursor, line) for line in lines(CURSOR)]
    + [(dqlitedbapi.aio.AsyncCursor, line) for line in lines(CURSOR)]
    + [(dqlitedbapi.aio.AsyncCursor, "aclose(self)")],
)
def test_methods_take_what_they_took(kind: Any, recorded: str) -> None:
    name = recorded.partition("(")[0]
    method = getattr(kind, name)
    assert name + signature(method) == recorded
    # An asyncio cursor is closed without waiting: its rows are here already.
    waits = kind.__name__.startswith("Async") and name in AWAITED
    waits = waits and not (kind is dqlitedbapi.aio.AsyncCursor and name == "close")
    assert inspect.iscoroutinefunction(method) == waits


@pytest.mark.parametrize("kind", PROPERTIES)
def test_properties_can_be_set_where_they_could(kind: Any) -> None:
    read, written = PROPERTIES[kind]
    twin = getattr(dqlitedbapi.aio, f"Async{kind.__name__}")
    for owner in (kind, twin):
        for name in f"{read} {written}".split():
            found = inspect.getattr_static(owner, name)
            assert isinstance(found, property), name
            assert (found.fset is not None) == (name in written.split()), name
    assert isinstance(dqlitedbapi.aio.AsyncConnection.max_total_rows, property)


@pytest.mark.parametrize("name", TREE)
def test_exceptions_stand_where_they_stood(name: str) -> None:
    found = getattr(dqlitedbapi, name)
    assert issubclass(found, TREE[name])
    assert found is getattr(dqlitedbapi.aio, name)
    assert found is getattr(dqlitedbapi.Connection, name, found)
    assert found is getattr(dqlitedbapi.aio.AsyncConnection, name, found)
    if name != "Warning":
        made = found("told", 19, raw_message="raw")
        assert (made.args, made.code, made.raw_message) == (("told",), 19, "raw")


def test_exceptions_made_by_hand_are_those_of_the_package() -> None:
    made: Any = dqlitedbapi.IntegrityError
    error = made("told" * 2000, 2067, raw_message="raw" * 2000)
    assert (len(error.args[0]), len(error.raw_message)) == (4096, 4096)
    assert (error.sqlite_errorcode, error.sqlite_errorname) == (2067, "SQLITE_CONSTRAINT_UNIQUE")
    assert repr(made("told", 5)) == "IntegrityError('told', code=5)"
    assert repr(made("told")) == "IntegrityError('told')"
    assert (made(404).args, made(404).raw_message) == (("404",), "404")


def test_lookups_of_adapters_are_lookup_errors() -> None:
    assert issubclass(dqlitedbapi.AdapterLookupError, LookupError)


@pytest.mark.parametrize("name", STUBS.split())
def test_what_cannot_work_says_so_by_its_name(name: str) -> None:
    sync = dqlitedbapi.connect("localhost:9001")
    task = dqlitedbapi.aio.connect("localhost:9001")
    for connection in (sync, task):
        with pytest.raises(dqlitedbapi.NotSupportedError, match=name):
            getattr(connection, name)()


@pytest.mark.parametrize("name", ["backup", "interrupt", "iterdump", "serialize"])
def test_what_sync_connections_do_and_those_of_a_loop_cannot(name: str) -> None:
    task = dqlitedbapi.aio.connect("localhost:9001")
    with pytest.raises(dqlitedbapi.NotSupportedError, match=name):
        getattr(task, name)()
    assert callable(getattr(dqlitedbapi.Connection, name))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (dqlitedbapi.STRING, 3),
        (dqlitedbapi.BINARY, 4),
        (dqlitedbapi.NUMBER, 1),
        (dqlitedbapi.NUMBER, 2),
        (dqlitedbapi.NUMBER, 11),
        (dqlitedbapi.DATETIME, 9),
        (dqlitedbapi.DATETIME, 10),
        (dqlitedbapi.ROWID, 1),
    ],
)
def test_type_objects_are_the_tags_of_the_wire(left: Any, right: int) -> None:
    assert left == right
    assert left != 5
    assert right != dqlitedbapi.UNKNOWN
    assert dqlitedbapi.Binary is memoryview


@pytest.fixture
async def aconn(server: dqlite.Node, database: str) -> Any:
    connection = await dqlitedbapi.aio.aconnect(server.address, database=database)
    await connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, a UNIQUE)")
    yield connection
    await connection.close()


async def test_asyncio_counts_and_describes(aconn: Any) -> None:
    cursor = await aconn.execute("INSERT INTO t(a) VALUES (?) RETURNING id", [1])
    assert (cursor.rowcount, cursor.description[0][:2]) == (1, ("id", 1))
    assert await cursor.fetchall() == [(1,)]
    cursor = await aconn.execute("SELECT id, a FROM t WHERE 0")
    assert (cursor.rowcount, [column[0] for column in cursor.description]) == (0, ["id", "a"])
    assert cursor.description[0][1] == dqlitedbapi.UNKNOWN
    assert (await aconn.execute("PRAGMA user_version")).rowcount == -1
    assert (await aconn.execute("CREATE TABLE u(a)")).rowcount == -1


async def test_asyncio_ends_transactions_as_sync_does(aconn: Any) -> None:
    await aconn.commit()
    await aconn.rollback()
    async with aconn.transaction():
        await aconn.execute("INSERT INTO t(a) VALUES (1)")
        assert aconn.in_transaction
        with pytest.raises(dqlitedbapi.InterfaceError, match="inside transaction"):
            await aconn.commit()
        with pytest.raises(dqlitedbapi.InterfaceError, match="Nested"):
            async with aconn.transaction():
                pass
    with pytest.raises(KeyError):
        async with aconn:
            await aconn.execute("BEGIN")
            await aconn.execute("INSERT INTO t(a) VALUES (2)")
            raise KeyError
    assert await (await aconn.execute("SELECT a FROM t")).fetchall() == [(1,)]


async def test_a_failed_batch_of_asyncio_says_how_far_it_came(aconn: Any) -> None:
    cursor = await aconn.execute("INSERT INTO t(id) VALUES (42)")
    with pytest.raises(dqlitedbapi.IntegrityError):
        await cursor.executemany("INSERT INTO t(id) VALUES (?)", [(1,), (2,), (1,)])
    assert (cursor.rowcount, cursor.lastrowid, cursor.completed_iterations) == (-1, 42, 2)
    assert cursor.description is None
    assert await cursor.fetchall() == []
    assert (await (await aconn.execute("SELECT count(*) FROM t")).fetchone()) == (3,)


@pytest.mark.parametrize(
    ("sql", "params", "error"),
    [
        ("", None, dqlitedbapi.ProgrammingError),
        ("-- nothing", None, dqlitedbapi.ProgrammingError),
        ("SELECT 1; SELECT 2", None, dqlitedbapi.ProgrammingError),
        ("SELECT ?", None, dqlitedbapi.ProgrammingError),
        ("SELECT ?", [1, 2], dqlitedbapi.ProgrammingError),
        ("SELECT ?", {"a": 1}, dqlitedbapi.ProgrammingError),
        ("SELECT ?", "x", dqlitedbapi.ProgrammingError),
        ("SELECT ?", [object()], dqlitedbapi.ProgrammingError),
        ("SELECT ?", [2**63], dqlitedbapi.DataError),
        ("SELECT ?", ["a\0b"], dqlitedbapi.DataError),
        ("SELECT ?", ["\ud800"], dqlitedbapi.DataError),
        ("SELECT '", None, dqlitedbapi.Error),
        ("SELECT '\0'", None, dqlitedbapi.ProgrammingError),
        ("SELECT nobody FROM nowhere", None, dqlitedbapi.OperationalError),
    ],
)
async def test_asyncio_refuses_the_same(
    aconn: Any, sql: str, params: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await aconn.execute(sql, params)
    assert await (await aconn.execute("SELECT 1")).fetchone() == (1,)


async def test_closed_objects_of_asyncio_say_so(aconn: Any) -> None:
    cursor = aconn.cursor()
    cursor.close()
    for call in (cursor.execute("SELECT 1"), cursor.fetchone(), cursor.fetchall()):
        with pytest.raises(dqlitedbapi.InterfaceError, match="Cursor is closed"):
            await call
    await aconn.close()
    await aconn.close()
    with pytest.raises(dqlitedbapi.InterfaceError, match="closed"):
        await aconn.execute("SELECT 1")
