"""What is wrong, from every side: a typed error of the right class, and nothing else happens."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

import dqlite
import dqlite.aio
import dqlite.aio.dbapi
import dqlite.dbapi
import dqlite.sqlalchemy

ATTACKS = [
    "'; DROP TABLE t; --",
    "x'); DROP TABLE t; --",
    "1 OR 1=1",
    '" OR ""="',
    "?1; DELETE FROM t",
    ":name",
    "/* */ UNION SELECT * FROM sqlite_master",
    "\\'; DROP TABLE t",
    "%' OR '1'='1",
    "\r\nDROP TABLE t;",
    "ÿ' ; DROP TABLE t -- žluť \U0001f40e",
]

HALF = "\ud800"
ODD_OFFSET = dt.timezone(dt.timedelta(microseconds=5))

Programming, Data, Operational = dqlite.ProgrammingError, dqlite.DataError, dqlite.OperationalError

STATEMENTS = [
    ("select 1; select 2", Programming),
    ("begin; commit", Programming),
    ("insert into t(a) values (1); drop table t", Programming),
    ("select 'a\0b'", Programming),
    ("\0", Programming),
    (f"select '{HALF}'", Programming),
    (f"{HALF} select 1", Programming),
    ("select ?99999", Programming),
    ("select 'a", Operational),
    ('select "a', Operational),
    ("select [a", Operational),
    ("select `a", Operational),
    ("select /* a", Operational),
    ("select (1", Operational),
    ("selec 1", Operational),
    ("select * from nowhere", Operational),
    ("insert into t values (1, 2, 3) returning", Operational),
    ("create table sqlite_mine(a)", Operational),
    ("insert into t(a, b) values (1)", Operational),
]

PARAMETERS = [
    ("select ?", (), Programming),
    ("select ?", (1, 2), Programming),
    ("select 1", (1,), Programming),
    ("select ?3", (1, 2), Programming),
    ("select :a", {}, Programming),
    ("select :a", {"b": 1}, Programming),
    ("select :a", {5: 1}, Programming),
    ("select :a", (1,), Programming),
    ("select ?", {"a": 1}, Programming),
    ("select ?", "x", Programming),
    ("select ?", b"x", Programming),
    ("select ?", {1}, Programming),
    ("select ?", iter([1]), Programming),
    ("select ?", 5, Programming),
    ("select ?", None, Programming),
]

VALUES = [
    (2**63, Data),
    (-(2**63) - 1, Data),
    (10**30, Data),
    ("a\0b", Data),
    (HALF, Data),
    (f"x{HALF}y", Data),
    (dt.datetime(2001, 1, 1, tzinfo=ODD_OFFSET), Data),
    (object(), Programming),
    ([1], Programming),
    ({"a": 1}, Programming),
    (decimal.Decimal(1), Programming),
    (uuid.UUID(int=1), Programming),
    (1j, Programming),
    (dt.timedelta(1), Programming),
    (range(3), Programming),
]

TARGETS = [
    "",
    ":memory:",
    "app.db",
    "http://h/x",
    "dqlite://",
    "dqlite://h:0/x",
    "dqlite://h:99999/x",
    "dqlite://h:port/x",
    "dqlite://user:secret@h/x",
    "dqlite://h/x?colour=1",
    "dqlite://h/x?timeout=soon",
    "dqlite://h/x?timeout=-1",
    "dqlite://h/:memory:",
    "dqlite://h/%00",
    "dqlite://h/" + "x" * 600,
    "dqlite://[::1/x",
    "\0",
    HALF,
    5,
    [],
    [5],
    ["h:1", ""],
    ["h:1", HALF],
]

OPTIONS = [
    {"connect_timeout": 0},
    {"connect_timeout": -1},
    {"connect_timeout": math.nan},
    {"connect_timeout": math.inf},
    {"types": "guess"},
    {"autocommit": 5},
    {"isolation_level": "READ COMMITTED"},
    {"isolation_level": 5},
    {"tls": 5},
]


@pytest.fixture(params=["native", "dbapi", "manual"])
def c(request: pytest.FixtureRequest, url: str) -> Iterator[Any]:
    connect = {
        "native": dqlite.connect,
        "dbapi": dqlite.dbapi.connect,
        "manual": lambda target: dqlite.dbapi.connect(target, autocommit=False),
    }[request.param]
    connection: Any = connect(url)
    connection.execute("create table t(id integer primary key, a, b)")
    connection.execute("insert into t(a) values ('here')")
    connection.commit()
    yield connection
    connection.rollback()
    assert connection.execute("select a from t where id = 1").fetchone()[0] == "here"
    connection.close()


@pytest.mark.parametrize("attack", ATTACKS)
def test_values_are_never_sql(c: Any, attack: str) -> None:
    c.execute("insert into t(a, b) values (?, ?)", (attack, attack.encode()))
    c.execute("insert into t(a) values (:v)", {"v": attack})
    c.execute("insert into t(a) values (?2)", ("other", attack))
    c.executemany("insert into t(a) values (?)", [(attack,), (attack,)])
    returned = c.execute("insert into t(a) values (?) returning a", (attack,)).fetchone()[0]
    assert returned == attack
    assert c.execute("select count(*) from t where a = ?", (attack,)).fetchone()[0] == 6
    assert c.fetchval("select count(*) from t where a in (?, ?)", attack, "x") == 6
    assert c.fetchval("select a from t where a = $it", {"it": attack}) == attack
    assert c.execute("select count(*) from t").fetchone()[0] == 7


@pytest.mark.parametrize("attack", ATTACKS)
async def test_values_are_never_sql_with_asyncio(url: str, attack: str) -> None:
    async with dqlite.aio.connect(url) as c:
        await c.execute("create table t(a)")
        await c.execute("insert into t values (?)", attack)
        await c.executemany("insert into t values (?)", [(attack,), {"1": attack}][:1])
        assert await c.fetch("select a from t where a = :v", {"v": attack}) == [(attack,)] * 2
    d = await dqlite.aio.dbapi.connect(url)
    cursor = d.cursor()
    await cursor.execute("select count(*) from t where a = ?", (attack,))
    assert await cursor.fetchone() == (2,)
    await d.close()


@pytest.mark.parametrize("attack", ATTACKS)
def test_names_and_values_are_never_sql_in_sqlalchemy(url: str, attack: str) -> None:
    engine = sa.create_engine(dqlite.sqlalchemy.url(url))
    table = sa.Table(
        attack, sa.MetaData(), sa.Column(attack, sa.String), sa.Column("n", sa.Integer)
    )
    with engine.begin() as c:
        c.exec_driver_sql("create table t(a)")
        table.create(c)
        c.execute(table.insert().values({attack: attack}))
        found = c.execute(sa.select(table.c[attack]).where(table.c[attack].like(attack)))
        assert found.scalars().all() in ([attack], [])  # backslash and percent mean something
        assert c.execute(sa.select(table.c[attack].label(attack))).scalars().all() == [attack]
        assert c.exec_driver_sql("select count(*) from t").scalar_one() == 0
    inspector = sa.inspect(engine)
    assert set(inspector.get_table_names()) == {"t", attack}
    assert [column["name"] for column in inspector.get_columns(attack)] == [attack, "n"]
    engine.dispose()


@pytest.mark.parametrize(("sql", "error"), STATEMENTS)
def test_wrong_statements(c: Any, sql: str, error: type[Exception]) -> None:
    for call in (c.execute, c.cursor().execute, c.fetch):
        with pytest.raises(error) as raised:
            call(sql)
        assert type(raised.value) is error
        assert raised.value.outcome in {None, "not_sent", "refused"}


@pytest.mark.parametrize("sql", ["", " \n", ";", ";;", "-- nothing", "/* nothing"])
def test_nothing_is_no_error(c: Any, sql: str) -> None:
    cursor = c.execute(sql)
    assert (cursor.fetchall(), cursor.description, cursor.rowcount) == ([], None, -1)


@pytest.mark.parametrize(("sql", "params", "error"), PARAMETERS)
def test_wrong_parameters(c: Any, sql: str, params: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        c.execute(sql, params)
    many = sql.replace("select", "insert into t(a) select")
    with pytest.raises(error):
        c.executemany(many, [params])


@pytest.mark.parametrize(("value", "error"), VALUES)
def test_values_that_cannot_be_bound(c: Any, value: Any, error: type[Exception]) -> None:
    for sql, params in (("select ?", (value,)), ("select :v", {"v": value})):
        with pytest.raises(error):
            c.execute(sql, params)
    with pytest.raises(error):
        c.executemany("insert into t(a) values (?)", [("fine",), (value,)])
    c.rollback()
    assert c.execute("select count(*) from t").fetchone()[0] == 1


@pytest.mark.parametrize(("value", "error"), VALUES)
async def test_values_that_cannot_be_bound_with_asyncio(
    url: str, value: Any, error: type[Exception]
) -> None:
    async with dqlite.aio.connect(url) as c:
        with pytest.raises(error):
            await c.fetch("select :v", {"v": value})
        assert await c.fetchval("select 1") == 1


@pytest.mark.parametrize(("sql", "error"), STATEMENTS)
async def test_wrong_statements_with_asyncio(url: str, sql: str, error: type[Exception]) -> None:
    async with dqlite.aio.connect(url) as c:
        await c.execute("create table t(id integer primary key, a, b)")
        with pytest.raises(error):
            await c.fetch(sql)
        assert await c.fetchval("select 1") == 1
    d = await dqlite.aio.dbapi.connect(url)
    with pytest.raises(error):
        await d.cursor().execute(sql)
    await d.close()


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (math.nan, None),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (dt.datetime(2001, 1, 1), "2001-01-01 00:00:00"),
        (dt.datetime(2001, 1, 1, tzinfo=dt.timezone.utc), "2001-01-01 00:00:00+00:00"),
        (dt.time(1, 2, 3, 4), "01:02:03.000004"),
        (True, 1),
    ],
)
def test_values_at_the_edge_are_stored_as_documented(c: Any, value: Any, stored: Any) -> None:
    c.execute("insert into t(a) values (?)", (value,))
    assert c.execute("select a from t where id = 2").fetchone()[0] == stored


def test_not_a_number_is_refused_by_strict_types(url: str) -> None:
    with dqlite.connect(url, types="strict") as c, pytest.raises(dqlite.DataError):
        c.fetchval("select ?", math.nan)


@pytest.mark.parametrize(("sql", "params", "error"), PARAMETERS)
async def test_wrong_parameters_with_asyncio(
    url: str, sql: str, params: Any, error: type[Exception]
) -> None:
    d = await dqlite.aio.dbapi.connect(url)
    cursor = d.cursor()
    await cursor.execute("create table t(a)")
    with pytest.raises(error):
        await cursor.execute(sql, params)
    with pytest.raises(error):
        await cursor.executemany(sql.replace("select", "insert into t(a) select"), [params])
    await d.rollback()
    assert (await (await cursor.execute("select 1")).fetchall()) == [(1,)]
    await d.close()


BATCHES = [
    ("select ?", [(1,)], Programming),
    ("", [], Programming),
    ("create table x(a)", [()], Programming),
    ("insert into t(a) values (?); drop table t", [(1,)], Programming),
    (f"insert into t(a) values (?, '{HALF}')", [(1,)], Programming),
    ("insert into t(a) values (?)", "ab", Programming),
    ("insert into t(a) values (?)", [1], Programming),
    ("insert into t(a) values (?)", [(1,), (1, 2)], Programming),
    ("insert into t(a) values (?)", None, TypeError),
    ("insert into t(id) values (?)", [(7,), (7,)], dqlite.IntegrityError),
]


@pytest.mark.parametrize(("sql", "sets", "error"), BATCHES)
def test_wrong_batches_change_nothing(c: Any, sql: str, sets: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        c.executemany(sql, sets)
    c.rollback()
    assert c.execute("select count(*) from t").fetchone()[0] == 1


@pytest.mark.parametrize(("sql", "sets", "error"), BATCHES)
async def test_wrong_batches_change_nothing_with_asyncio(
    url: str, sql: str, sets: Any, error: type[Exception]
) -> None:
    table = "create table t(id integer primary key, a)"
    async with dqlite.aio.connect(url) as c:
        await c.execute(table)
        with pytest.raises(error):
            await c.executemany(sql, sets)
        assert await c.fetchval("select count(*) from t") == 0
    d = await dqlite.aio.dbapi.connect(url)
    with pytest.raises(error):
        await d.cursor().executemany(sql, sets)
    await d.rollback()
    await d.close()


SCRIPTS = [
    ("select 'a", Operational),
    ("create table q(a); selec", Operational),
    ("create trigger g after insert on t begin select 1;", Operational),
    ("select 1;\0", Programming),
    (f"select '{HALF}'", Programming),
    ("select ?", Programming),
    (None, Programming),
    (b"select 1", Programming),
]


@pytest.mark.parametrize(("script", "error"), SCRIPTS)
def test_wrong_scripts(c: Any, script: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        c.executescript(script)


@pytest.mark.parametrize(("script", "error"), SCRIPTS)
async def test_wrong_scripts_with_asyncio(url: str, script: Any, error: type[Exception]) -> None:
    async with dqlite.aio.connect(url) as c:
        with pytest.raises(error):
            await c.executescript(script)
        assert await c.fetchval("select 1") == 1
    d = await dqlite.aio.dbapi.connect(url)
    with pytest.raises(error):
        await d.cursor().executescript(script)
    await d.close()


@pytest.mark.parametrize("autocommit", [True, False, -1])
async def test_a_script_of_asyncio_says_where_it_failed(url: str, autocommit: Any) -> None:
    async with dqlite.aio.connect(url) as c:
        await c.executescript("create table t(a); -- ;\ninsert into t values (';');")
        d = await dqlite.aio.dbapi.connect(url, autocommit=autocommit)
        with pytest.raises(Operational) as raised:
            await d.cursor().executescript("insert into t values (1);\n\nselect * from nowhere")
        assert (raised.value.index, raised.value.line) == (1, 3)
        assert d.in_transaction == (autocommit is False)
        await d.rollback()
        await d.close()
        assert await c.fetchval("select count(*) from t") == (1 if autocommit is False else 2)


@pytest.mark.parametrize("wrong", [None, b"select 1", 5, ["select 1"]])
def test_sql_of_another_type_is_a_type_error_as_in_sqlite3(c: Any, wrong: Any) -> None:
    with pytest.raises(TypeError):
        c.execute(wrong)


@pytest.mark.parametrize("target", TARGETS)
async def test_wrong_targets(target: Any) -> None:
    for connect in (dqlite.connect, dqlite.dbapi.connect):
        with pytest.raises(dqlite.ProgrammingError):
            connect(target)
    with pytest.raises(dqlite.ProgrammingError):
        await dqlite.aio.connect(target)
    with pytest.raises(dqlite.ProgrammingError):
        await dqlite.aio.dbapi.connect(target)


@pytest.mark.parametrize("options", OPTIONS)
async def test_wrong_options(options: Any) -> None:
    for connect in (dqlite.connect, dqlite.dbapi.connect):
        with pytest.raises(dqlite.ProgrammingError):
            connect("127.0.0.1:1", **options)
    with pytest.raises(dqlite.ProgrammingError):
        await dqlite.aio.dbapi.connect("127.0.0.1:1", **options)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
async def test_wrong_waits_for_the_lock(seconds: float) -> None:
    with pytest.raises(dqlite.ProgrammingError, match="busy_timeout"):
        dqlite.connect("127.0.0.1:1", busy_timeout=seconds)
    with pytest.raises(dqlite.ProgrammingError, match="busy_timeout"):
        dqlite.dbapi.connect("127.0.0.1:1", timeout=seconds)


@pytest.mark.parametrize("name", ["colour", "password", "user"])
def test_unknown_options_are_named(name: str) -> None:
    for connect in (dqlite.connect, dqlite.dbapi.connect):
        with pytest.raises(TypeError, match=name):
            connect("127.0.0.1:1", **{name: 1})
    with pytest.raises(dqlite.ProgrammingError, match=name):
        dqlite.connect(f"dqlite://127.0.0.1:1/x?{name}=1")
    with pytest.raises(sa.exc.ArgumentError, match=name):
        sa.create_engine(f"dqlite://127.0.0.1:1/x?{name}=1").connect()


async def test_dead_hosts_are_named(addresses: Any) -> None:
    dead = addresses(2)
    for connect in (dqlite.connect, dqlite.dbapi.connect):
        with pytest.raises(dqlite.NoLeaderError) as raised:
            connect(dead, connect_timeout=0.3)
        assert isinstance(raised.value, dqlite.OperationalError)
        assert {attempt[0] for attempt in raised.value.attempts} == set(dead)
        assert raised.value.outcome == "not_sent"
    with pytest.raises(dqlite.NoLeaderError):
        await dqlite.aio.connect(dead, connect_timeout=0.3)
    with pytest.raises(dqlite.NoLeaderError):
        await dqlite.aio.dbapi.connect(dead, connect_timeout=0.3)


def test_wrong_numbers_of_rows_and_factories(c: Any) -> None:
    cursor = c.execute("select 1")
    with pytest.raises(dqlite.ProgrammingError):
        cursor.fetchmany(-1)
    c.row_factory = 5
    with pytest.raises(dqlite.ProgrammingError, match="row_factory"):
        c.execute("select 1")
    c.row_factory = None
