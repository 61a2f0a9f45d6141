"""What people who come from sqlite3 and psycopg type first; it runs as it stands.

Those that are stdlib's behaviour run against stdlib's ``sqlite3``, too.
"""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import dqlite
import dqlite.aio
import dqlite.aio.dbapi
import dqlite.dbapi
import dqlite.rows
import dqlite.types

TABLE = "create table t(id integer primary key, a, b)"


class Door:
    """One of the two modules, and how to connect with it."""

    def __init__(self, module: Any, target: str) -> None:
        self.module = module
        self.target = target
        self.opened: list[Any] = []

    def connect(self, **options: Any) -> Any:
        connection = self.module.connect(self.target, **options)
        self.opened.append(connection)
        return connection


@pytest.fixture(params=["dqlite", "sqlite3"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    if request.param == "dqlite":
        door = Door(dqlite.dbapi, request.getfixturevalue("url"))
    else:
        door = Door(sqlite3, str(tmp_path / "local.db"))
    connection = door.connect()
    connection.execute(TABLE)
    connection.commit()
    connection.close()
    yield door
    for connection in door.opened:
        connection.close()


@pytest.fixture
def c(door: Door) -> Any:
    return door.connect()


@pytest.fixture
def ours(url: str) -> Iterator[dqlite.dbapi.Connection]:
    connection = dqlite.dbapi.connect(url)
    connection.execute(TABLE)
    yield connection
    connection.close()


def test_with_commits_or_rolls_back_and_does_not_close(c: Any) -> None:
    with c:
        c.execute("insert into t(a) values ('x')")
    with pytest.raises(KeyError), c:
        c.execute("insert into t(a) values ('y')")
        raise KeyError
    assert c.execute("select count(*) from t").fetchone() == (1,)
    assert not c.in_transaction


def test_an_insert_without_a_cursor_tells_its_row_id(c: Any) -> None:
    assert c.execute("insert into t(a) values (?)", ("x",)).lastrowid == 1


def test_named_parameters_in_three_sigils_are_used_repeatedly(c: Any) -> None:
    assert c.execute("select :v, @v, $v, :v", {"v": 7}).fetchone() == (7, 7, 7, 7)


# Python 3.12.1 and before take numbers for names.
@pytest.mark.filterwarnings("ignore:Binding:DeprecationWarning")
def test_numbered_parameters(c: Any) -> None:
    sql = "select ?2, ?1"
    assert c.execute(sql, ("a", "b")).fetchone() == ("b", "a")


def test_the_row_factory_gives_names_indexes_and_keys(c: Any, door: Door) -> None:
    c.row_factory = door.module.Row
    row = c.execute("select 1 as One").fetchone()
    assert row["one"] == row[0] == 1
    assert row.keys() == ["One"]


def test_executemany_over_a_generator_is_one_transaction(c: Any, door: Door) -> None:
    sets = ((i,) for i in range(1000))
    assert c.executemany("insert into t(a) values (?)", sets).rowcount == 1000
    assert c.in_transaction
    c.commit()
    other = door.connect()
    assert other.execute("select count(*), sum(a) from t").fetchone() == (1000, 499500)


def test_a_script_has_comments_trigger_bodies_and_semicolons_in_strings(c: Any) -> None:
    c.executescript(
        """-- x;
        create table s(v);
        create trigger g after insert on s begin insert into t(a) values ('p;q'); end;
        insert into s values (1);"""
    )
    assert c.execute("select a from t").fetchall() == [("p;q",)]


def test_a_duplicate_key_is_an_integrity_error_with_sqlites_name(c: Any, door: Door) -> None:
    c.execute("insert into t(id) values (1)")
    with pytest.raises(door.module.IntegrityError) as raised:
        c.execute("insert into t(id) values (1)")
    if hasattr(raised.value, "sqlite_errorname"):
        assert raised.value.sqlite_errorname == "SQLITE_CONSTRAINT_PRIMARYKEY"
        assert raised.value.sqlite_errorcode == 1555
    c.rollback()
    if isinstance(raised.value, dqlite.IntegrityError):
        assert raised.value.constraint == "primary_key"
        assert raised.value.outcome == "refused"
        assert not raised.value.retryable


def test_rollback_really_rolls_back(c: Any) -> None:
    with c:
        c.execute("insert into t(a) values (1)")
    c.execute("delete from t")
    c.rollback()
    assert c.execute("select count(*) from t").fetchone()[0] == 1


def test_the_autocommit_attribute_works_on_every_python(ours: Any, url: str) -> None:
    stands_by_itself(lambda **options: dqlite.dbapi.connect(url, **options))


if hasattr(sqlite3, "LEGACY_TRANSACTION_CONTROL"):

    def test_the_autocommit_attribute_is_that_of_sqlite3(tmp_path: Path) -> None:
        sqlite3.connect(tmp_path / "x.db").execute(TABLE).connection.close()
        stands_by_itself(lambda **options: sqlite3.connect(tmp_path / "x.db", **options))


def stands_by_itself(connect: Callable[..., Any]) -> None:
    a, c = connect(autocommit=True), connect()
    a.execute("insert into t(a) values (5)")
    assert not a.in_transaction
    assert c.execute("select a from t").fetchone() == (5,)
    a.close()
    c.close()


def test_iteration_is_lazy_and_can_be_abandoned(c: Any) -> None:
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n limit 3000000)"
    started = time.monotonic()
    cursor = c.execute(f"{numbers} select i from n")
    assert next(cursor)[0] == 1
    first = time.monotonic() - started
    cursor.close()
    assert c.execute("select 1").fetchone() == (1,)
    everything = time.monotonic() - started
    assert first < 5
    assert everything < 10


def test_a_statement_may_run_while_rows_of_another_are_read(c: Any) -> None:
    with c:
        c.executemany("insert into t(a) values (?)", ((i,) for i in range(5000)))
    seen = 0
    for (number,) in c.execute("select id from t order by id"):
        seen += 1
        if number % 1000 == 0:
            c.execute("update t set b = 'x' where id = ?", (number,))
    c.commit()
    assert seen == 5000
    assert c.execute("select count(*) from t where b = 'x'").fetchone() == (5,)


def test_values_keep_type_and_size(c: Any) -> None:
    values = (2**63 - 1, -(2**63), b"\0\xff", None, 1.5, b"", "", "žluťoučký")
    got = tuple(c.execute("select ?,?,?,?,?,?,?,?", values).fetchone())
    assert got == values
    assert [type(x) for x in got] == [type(x) for x in values]


def test_the_description_is_there_before_fetching(c: Any) -> None:
    cursor = c.execute("select 1 as x, 2 as y")
    assert [d[0] for d in cursor.description] == ["x", "y"]


def test_dates_and_booleans_come_back_as_declared_and_null_as_none(ours: Any) -> None:
    now = dt.datetime(2001, 2, 3, 4, 5, 6, 7)
    ours.execute("create table k(w datetime, d date, f boolean)")
    rows = [(now, now.date(), True), (None, None, None), ("soon", 5, 7)]
    with ours:
        ours.executemany("insert into k values (?,?,?)", rows)
    five = dt.datetime(1970, 1, 1, 0, 0, 5, tzinfo=dt.timezone.utc)
    expected = [*rows[:2], ("soon", five, 7)]
    assert ours.execute("select * from k").fetchall() == expected


def test_backup_goes_into_a_connection_and_into_a_file(ours: Any, tmp_path: Path) -> None:
    with ours:
        ours.execute("insert into t(a) values ('x')")
    seen: list[int] = []
    out = sqlite3.connect(":memory:")
    ours.backup(out, pages=1, progress=lambda _status, left, _total: seen.append(left))
    ours.backup(tmp_path / "copy.db")
    file = sqlite3.connect(tmp_path / "copy.db")
    for copy in (out, file):
        assert copy.execute("select a from t").fetchall() == [("x",)]
        copy.close()
    assert seen[-1] == 0
    assert [entry.name for entry in tmp_path.iterdir() if "copy" in entry.name] == ["copy.db"]


def test_the_dump_as_sql_equals_stdlibs(c: Any) -> None:
    with c:
        c.execute("insert into t(a, b) values ('it''s', x'00ff')")
    memory = sqlite3.connect(":memory:")
    memory.executescript("\n".join(c.iterdump()))
    assert list(c.iterdump()) == list(memory.iterdump())
    memory.close()


def test_serialize_gives_a_file_that_sqlite3_opens(ours: Any, tmp_path: Path) -> None:
    with ours:
        ours.execute("insert into t(a) values (7)")
    (tmp_path / "file.db").write_bytes(ours.serialize())
    file = sqlite3.connect(tmp_path / "file.db")
    assert file.execute("select a from t").fetchall() == [(7,)]
    file.close()


@pytest.mark.parametrize(
    "method",
    [
        "create_function",
        "create_aggregate",
        "create_window_function",
        "create_collation",
        "set_authorizer",
        "set_progress_handler",
        "enable_load_extension",
        "load_extension",
        "blobopen",
        "deserialize",
        "setlimit",
        "getlimit",
        "setconfig",
        "getconfig",
        "tpc_begin",
    ],
)
def test_what_cannot_work_says_so_by_name(ours: Any, method: str) -> None:
    with pytest.raises(dqlite.NotSupportedError, match=method):
        getattr(ours, method)()


def test_psycopgs_row_factories_and_closing_context(url: str) -> None:
    with dqlite.connect(url, row_factory=dqlite.rows.dict_row) as c, c.transaction():
        assert c.execute("select 1 as n").fetchone() == {"n": 1}
    assert c.closed


def test_an_embedded_node_takes_three_lines_and_leaves_nothing_behind(
    tmp_path: Path, addresses: Any, no_children_left: None
) -> None:
    with dqlite.Node(addresses(1)[0], tmp_path / "n1") as n, n.connect("app") as c:
        c.execute("create table x(a)")
        assert c.fetchval("select count(*) from x") == 0
    assert not n.is_running


def test_threads_share_a_connection_and_a_fork_in_between_is_refused(ours: Any) -> None:
    def ask(i: int) -> Any:
        return ours.execute("select ?", (i,)).fetchone()[0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(200))) == list(range(200))
    pid = os.fork()
    if pid == 0:
        try:
            ask(1)
        except dqlite.InterfaceError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ask(2) == 2


FACTORIES: list[tuple[Callable[..., Any] | None, Any]] = [
    (None, (1, "x")),
    (tuple, (1, "x")),
    (dqlite.rows.list_row, [1, "x"]),
    (dqlite.rows.dict_row, {"n": 1, "s": "x"}),
    (dqlite.rows.scalar_row, 1),
    (dqlite.rows.class_row(dict), {"n": 1, "s": "x"}),
    (dqlite.rows.kwargs_row(dict), {"n": 1, "s": "x"}),
    (dqlite.rows.args_row(lambda n, s: s * n), "x"),
    (dqlite.rows.per_cursor(lambda _cursor: list), [1, "x"]),
    (lambda cursor, row: (len(cursor.description), row), (2, (1, "x"))),
]


@pytest.mark.parametrize(("factory", "expected"), FACTORIES)
def test_a_row_factory_makes_the_rows(ours: Any, factory: Any, expected: Any) -> None:
    ours.row_factory = factory
    assert ours.execute("select 1 as n, 'x' as s").fetchall() == [expected]


def test_named_tuples_have_the_columns_names(ours: Any) -> None:
    ours.row_factory = dqlite.rows.namedtuple_row
    row = ours.execute('select 1 as n, 2 as "count(*)"').fetchone()
    assert row.n == 1
    assert row == (1, 2)


def test_a_factory_that_raises_leaves_the_connection_usable(ours: Any) -> None:
    ours.row_factory = lambda _cursor, _row: 1 / 0
    with pytest.raises(ZeroDivisionError):
        ours.execute("select 1").fetchone()
    ours.row_factory = None
    assert ours.execute("select 2").fetchone() == (2,)


@pytest.mark.parametrize("factory", [bytes, lambda text: text.decode().upper(), str])
def test_the_text_factory_makes_text_and_nothing_else(c: Any, factory: Any) -> None:
    assert c.text_factory is str
    c.text_factory = factory
    row = c.execute("select 'ž', 1, x'61', null, 2.5").fetchone()
    assert row == (factory("ž".encode()) if factory is not str else "ž", 1, b"a", None, 2.5)
    c.execute("insert into t(a) values ('x')")
    many = c.execute("select a from t union all select 5").fetchall()
    assert many == [(factory(b"x") if factory is not str else "x",), (5,)]


def test_a_text_factory_works_beside_a_row_factory(ours: Any) -> None:
    ours.text_factory, ours.row_factory = bytes, dqlite.rows.dict_row
    assert ours.execute("select 'x' as a").fetchone() == {"a": b"x"}
    with pytest.raises(dqlite.ProgrammingError, match="callable"):
        ours.text_factory = "utf-8"


def test_every_name_of_sqlite3_is_there() -> None:
    """Result codes and what belongs to a library of C aside: `sqlite_errorname` tells the code."""
    foreign = {"Blob", "adapters", "collections", "converters", "datetime", "dbapi2", "version"}
    foreign |= {"dump", "time", "version_info", "enable_shared_cache", "OptimizedUnicode"}
    names = {name for name in dir(sqlite3) if not name.startswith(("_", "SQLITE_"))}
    assert names - foreign <= set(dir(dqlite.dbapi))
    for kind in ("Connection", "Cursor", "Row"):
        wanted = {name for name in dir(getattr(sqlite3, kind)) if not name.startswith("_")}
        per_object = {"row_factory"}
        assert wanted - per_object <= set(dir(getattr(dqlite.dbapi, kind))), kind


def test_types_gives_the_registries_of_the_db_api() -> None:
    for name in dqlite.types.__all__:
        assert getattr(dqlite.types, name) is getattr(dqlite.dbapi, name)


def test_the_trace_callback_sees_the_implied_begin(ours: Any) -> None:
    seen: list[str] = []
    ours.set_trace_callback(seen.append)
    with ours:
        ours.execute("insert into t(a) values (1)")
    assert [text.split()[0].upper() for text in seen] == ["BEGIN", "INSERT", "COMMIT"]


def test_an_endless_read_is_ended_by_its_deadline(ours: Any) -> None:
    started = time.monotonic()
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n)"
    with pytest.raises(TimeoutError):
        ours.execute(f"{numbers} select count(*) from n", timeout=0.2)
    assert ours.execute("select 1").fetchone() == (1,)
    assert time.monotonic() - started < 10


CONFLICTS = [
    ("", "insert or rollback into t(id) values (1)"),
    ("create table k(id integer primary key on conflict rollback)", "insert into k values (1)"),
    (
        (
            "create trigger g before insert on t when new.a = 9 "
            "begin select raise(rollback, 'no'); end"
        ),
        "insert into t(a) values (9)",
    ),
    ("", "insert or fail into t(id) values (1)"),
    ("", "insert into t(id) values (1)"),
]


@pytest.mark.parametrize(("schema", "conflict"), CONFLICTS)
def test_a_conflict_that_rolls_back_ends_the_transaction(
    c: Any, door: Door, schema: str, conflict: str
) -> None:
    c.executescript(schema + ";insert into t(id) values (1)")
    if "table k" in schema:
        c.executescript("insert into k values (1)")
    c.execute("insert into t(a) values ('before')")
    with pytest.raises(door.module.IntegrityError):
        c.execute(conflict)
    ended = "rollback" in schema + conflict
    assert c.in_transaction is not ended
    c.execute("insert into t(a) values ('behind')")
    assert c.in_transaction
    c.commit()
    kept = [row[0] for row in c.execute("select a from t where a is not null order by id")]
    assert kept == (["behind"] if ended else ["before", "behind"])


def test_a_block_whose_transaction_was_rolled_back_can_only_roll_back(conn: Any) -> None:
    conn.execute(TABLE)
    conn.execute("insert into t(id) values (1)")
    with pytest.raises(dqlite.OperationalError, match="rolled back"), conn.transaction():
        conn.execute("insert into t(a) values ('before')")
        with pytest.raises(dqlite.IntegrityError):
            conn.execute("insert or rollback into t(id) values (1)")
        conn.execute("insert into t(a) values ('behind')")
    assert not conn.in_transaction
    assert conn.fetchval("select count(*) from t") == 1


async def test_the_same_with_asyncio(url: str) -> None:
    async with dqlite.aio.connect(url) as conn:
        await conn.execute(TABLE)
        await conn.execute("insert into t(id) values (1)")
        with pytest.raises(dqlite.OperationalError, match="rolled back"):
            async with conn.transaction():
                await conn.execute("insert into t(a) values ('before')")
                with pytest.raises(dqlite.IntegrityError):
                    await conn.execute("insert or rollback into t(id) values (1)")
                await conn.execute("insert into t(a) values ('behind')")
        assert not conn.is_in_transaction()
        await conn.execute("begin")
        with pytest.raises(dqlite.IntegrityError):
            await conn.execute("insert or rollback into t(id) values (1)")
        assert not conn.is_in_transaction()
        assert await conn.fetchval("select count(*) from t") == 1


async def test_asyncio_has_the_shortcuts_too(url: str) -> None:
    conn = await dqlite.aio.dbapi.connect(url)
    await conn.executescript("create table s(a, b); insert into s values (1, 'x');")
    await conn.executemany("insert into s values (?, ?)", [(2, "y"), (3, "z")])
    conn.row_factory = dqlite.rows.dict_row
    cursor = await conn.execute("select a, b from s where a > ?", (1,))
    assert await cursor.fetchone() == {"a": 2, "b": "y"}
    assert await cursor.fetchall() == [{"a": 3, "b": "z"}]
    cursor.row_factory = None
    assert [row async for row in await cursor.execute("select 1")] == [(1,)]
    with pytest.raises(conn.OperationalError):
        await conn.execute("select * from nowhere")
    await conn.rollback()
    await conn.close()
