"""What PEP 249 asks of a driver, point by point, and where we follow stdlib ``sqlite3`` instead."""

from __future__ import annotations

import datetime as dt
import inspect
import time
from collections.abc import Iterator
from typing import Any

import pytest

import dqlite
import dqlite.dbapi as driver

FRUITS = ["apple", "banana", "cherry", "grape", "lemon", "melon"]


@pytest.fixture
def conn(url: str) -> Iterator[driver.Connection]:
    connection = driver.connect(url)
    yield connection
    connection.close()


@pytest.fixture
def cur(conn: driver.Connection) -> driver.Cursor:
    cursor = conn.cursor()
    cursor.execute("create table fruit(name varchar(20))")
    return cursor


@pytest.fixture
def fruits(cur: driver.Cursor) -> driver.Cursor:
    cur.executemany("insert into fruit values (?)", [(name,) for name in FRUITS])
    return cur


# The module


def test_the_globals_say_what_the_module_is() -> None:
    assert driver.apilevel == "2.0"
    assert driver.threadsafety in range(4)
    assert driver.paramstyle in {"qmark", "numeric", "named", "format", "pyformat"}


def test_the_package_itself_is_such_a_module() -> None:
    names = ["apilevel", "threadsafety", "paramstyle", "connect", "Warning", "Error"]
    names += ["Binary", "Date", "Time", "Timestamp", "DateFromTicks", "TimeFromTicks"]
    names += ["TimestampFromTicks", "STRING", "BINARY", "NUMBER", "DATETIME", "ROWID"]
    for name in names:
        assert name in dqlite.__all__
        if name != "connect":  # whose transactions are explicit
            assert getattr(dqlite, name) == getattr(driver, name)


def test_the_exceptions_form_the_tree_of_the_pep() -> None:
    assert issubclass(driver.Warning, Exception)
    assert issubclass(driver.Error, Exception)
    assert not issubclass(driver.Warning, driver.Error)
    assert issubclass(driver.InterfaceError, driver.Error)
    assert issubclass(driver.DatabaseError, driver.Error)
    for name in (
        "DataError",
        "OperationalError",
        "IntegrityError",
        "InternalError",
        "ProgrammingError",
        "NotSupportedError",
    ):
        assert issubclass(getattr(driver, name), driver.DatabaseError), name


def test_the_exceptions_are_attributes_of_the_connection(conn: driver.Connection) -> None:
    for name in (
        "Warning",
        "Error",
        "InterfaceError",
        "DatabaseError",
        "DataError",
        "OperationalError",
        "IntegrityError",
        "InternalError",
        "ProgrammingError",
        "NotSupportedError",
    ):
        assert getattr(conn, name) is getattr(driver, name), name


def test_the_constructors_make_what_can_be_bound(cur: driver.Cursor) -> None:
    ticks = time.mktime((2002, 12, 25, 13, 45, 30, 0, 0, -1))
    assert driver.Date(2002, 12, 25) == driver.DateFromTicks(ticks) == dt.date(2002, 12, 25)
    assert driver.Time(13, 45, 30) == driver.TimeFromTicks(ticks) == dt.time(13, 45, 30)
    moment = driver.Timestamp(2002, 12, 25, 13, 45, 30)
    assert moment == driver.TimestampFromTicks(ticks)
    cur.execute("create table made(d date, t time, w timestamp, b blob)")
    row = (driver.Date(2002, 12, 25), "13:45:30", moment, b"some\0thing")
    cur.execute(
        "insert into made values (?, ?, ?, ?)",
        (row[0], driver.Time(13, 45, 30), moment, driver.Binary(b"some\0thing")),
    )
    assert cur.execute("select * from made").fetchone() == row
    assert cur.execute("select ?", (driver.Binary(b""),)).fetchone() == (b"",)


def test_the_type_objects_equal_the_type_codes_of_columns(cur: driver.Cursor) -> None:
    cur.execute("create table kinds(n, r, s, b, w datetime, f boolean)")
    cur.execute("insert into kinds values (1, 1.5, 'x', x'00', '2001-02-03', 1)")
    cur.execute("select * from kinds")
    codes = [column[1] for column in cur.description or ()]
    expected = [
        driver.NUMBER,
        driver.NUMBER,
        driver.STRING,
        driver.BINARY,
        driver.DATETIME,
        driver.NUMBER,
    ]
    assert codes == expected
    assert codes[0] == driver.ROWID
    assert codes[2] != driver.NUMBER


# The connection


def test_commit_and_rollback_without_a_transaction_do_nothing(conn: driver.Connection) -> None:
    conn.commit()
    conn.rollback()
    conn.commit()


def test_commit_keeps_and_rollback_forgets(conn: driver.Connection, url: str) -> None:
    conn.execute("create table fruit(name)")
    conn.execute("insert into fruit values ('kept')")
    conn.commit()
    conn.execute("insert into fruit values ('forgotten')")
    conn.rollback()
    other = driver.connect(url)
    assert other.execute("select name from fruit").fetchall() == [("kept",)]
    other.close()


def test_closing_without_a_commit_rolls_back(url: str) -> None:
    first = driver.connect(url)
    first.execute("create table fruit(name)")
    first.execute("insert into fruit values ('forgotten')")
    first.close()
    second = driver.connect(url)
    assert second.execute("select name from fruit").fetchall() == []
    second.close()


def test_two_cursors_are_of_one_transaction(conn: driver.Connection) -> None:
    first, second = conn.cursor(), conn.cursor()
    first.execute("create table fruit(name)")
    first.execute("insert into fruit values ('melon')")
    assert second.execute("select name from fruit").fetchall() == [("melon",)]
    assert first.connection is second.connection is conn


def test_a_closed_connection_refuses_everything(conn: driver.Connection) -> None:
    cursor = conn.cursor()
    conn.close()
    conn.close()
    for use in (
        conn.commit,
        conn.rollback,
        conn.cursor,
        lambda: conn.execute("select 1"),
        lambda: cursor.execute("select 1"),
        lambda: cursor.executemany("insert into t values (?)", [(1,)]),
    ):
        with pytest.raises(driver.Error):
            use()


# The cursor


def test_the_description_has_seven_fields_or_is_none(cur: driver.Cursor) -> None:
    assert cur.description is None
    cur.execute("insert into fruit values ('melon')")
    assert cur.description is None
    cur.execute("select name from fruit")
    assert cur.description is not None
    assert len(cur.description) == 1
    assert len(cur.description[0]) == 7
    assert cur.description[0][0].lower() == "name"
    assert cur.description[0][1] == driver.STRING


def test_rowcount_is_minus_one_or_the_number_of_rows(cur: driver.Cursor) -> None:
    assert cur.rowcount == -1
    cur.execute("insert into fruit values ('melon')")
    assert cur.rowcount == 1
    cur.execute("select name from fruit")
    assert cur.rowcount in {-1, 1}
    cur.execute("delete from fruit where name = 'none'")
    assert cur.rowcount == 0


def test_execute_takes_a_sequence_or_a_mapping(cur: driver.Cursor) -> None:
    nasty = 'it\'s \\ a "fruit"; drop table fruit --'
    cur.execute("insert into fruit values (?)", [nasty])
    cur.execute("insert into fruit values (:name)", {"name": nasty})
    assert cur.execute("select name from fruit").fetchall() == [(nasty,), (nasty,)]


def test_executemany_runs_once_for_each_set(cur: driver.Cursor) -> None:
    cur.executemany("insert into fruit values (?)", [("a",), ("b",)])
    assert cur.rowcount == 2
    cur.executemany("insert into fruit values (:n)", ({"n": name} for name in "cd"))
    cur.execute("select name from fruit order by name")
    assert cur.fetchall() == [("a",), ("b",), ("c",), ("d",)]
    cur.executemany("insert into fruit values (?)", [])
    assert cur.rowcount == 0


def test_executemany_refuses_what_only_gives_rows(cur: driver.Cursor) -> None:
    with pytest.raises(driver.ProgrammingError):
        cur.executemany("select ?", [(1,)])


def test_fetchone_gives_rows_and_then_none(fruits: driver.Cursor) -> None:
    fruits.execute("select name from fruit order by name")
    assert [fruits.fetchone() for _ in range(7)] == [*((name,) for name in FRUITS), None]
    assert fruits.fetchone() is None


def test_fetchmany_gives_arraysize_rows_unless_told(fruits: driver.Cursor) -> None:
    select = "select name from fruit order by name"
    assert fruits.arraysize == 1
    assert len(fruits.execute(select).fetchmany()) == 1
    fruits.arraysize = 4
    assert [len(fruits.fetchmany()) for _ in range(3)] == [4, 1, 0]
    fruits.execute(select)
    assert [row[0] for row in fruits.fetchmany(10)] == FRUITS
    assert fruits.fetchmany(10) == []
    assert fruits.fetchmany(0) == []


def test_fetchall_gives_what_is_left(fruits: driver.Cursor) -> None:
    fruits.execute("select name from fruit order by name")
    one, two = fruits.fetchone(), fruits.fetchmany(2)
    assert [one, *two, *fruits.fetchall()] == [(name,) for name in FRUITS]
    assert fruits.fetchall() == []
    assert fruits.execute("select name from fruit where 0").fetchall() == []


def test_a_cursor_is_its_own_iterator(fruits: driver.Cursor) -> None:
    fruits.execute("select name from fruit order by name")
    assert iter(fruits) is fruits
    assert [name for (name,) in fruits] == FRUITS
    with pytest.raises(StopIteration):
        next(fruits)


def test_null_is_none(cur: driver.Cursor) -> None:
    cur.execute("insert into fruit values (?)", (None,))
    assert cur.execute("select name from fruit").fetchall() == [(None,)]


def test_sizes_are_accepted_and_ignored(cur: driver.Cursor) -> None:
    cur.setinputsizes((25,))
    cur.setoutputsize(1000)
    cur.setoutputsize(2000, 0)
    assert cur.execute("select ?", ("a" * 3000,)).fetchone() == ("a" * 3000,)


def test_the_last_row_id_is_that_of_the_last_insert(cur: driver.Cursor) -> None:
    assert cur.lastrowid is None
    cur.execute("insert into fruit(rowid, name) values (7, 'melon')")
    assert cur.lastrowid == 7
    cur.execute("update fruit set name = 'other'")
    assert cur.lastrowid == 7


def test_a_closed_cursor_refuses_everything(cur: driver.Cursor) -> None:
    cur.close()
    cur.close()
    for use in (
        lambda: cur.execute("select 1"),
        lambda: cur.executemany("insert into fruit values (?)", []),
        cur.fetchone,
        cur.fetchall,
        cur.fetchmany,
        lambda: next(cur),
    ):
        with pytest.raises(driver.Error):
            use()


# Where we deviate, as stdlib does unless it says otherwise


@pytest.mark.parametrize("sql", [None, "create table other(x)", "insert into fruit values (1)"])
def test_fetching_without_a_result_gives_nothing(cur: driver.Cursor, sql: str | None) -> None:
    """PEP 249 asks for an error."""
    if sql is not None:
        cur.execute(sql)
    assert cur.fetchone() is None
    assert cur.fetchmany(3) == []
    assert cur.fetchall() == []


def test_misuse_of_what_is_closed_is_an_interface_error(conn: driver.Connection) -> None:
    """Stdlib raises ProgrammingError; one class stands for all misuse here."""
    cursor = conn.cursor()
    cursor.close()
    with pytest.raises(driver.InterfaceError, match="cursor is closed"):
        cursor.execute("select 1")
    conn.close()
    with pytest.raises(driver.InterfaceError, match="closed"):
        conn.execute("select 1")


@pytest.mark.parametrize(
    ("method", "arguments"), [("callproc", ("lower", ("A",))), ("nextset", ()), ("scroll", (1,))]
)
def test_optional_methods_that_cannot_be_say_so(
    cur: driver.Cursor, method: str, arguments: tuple[Any, ...]
) -> None:
    """Stdlib does not have them at all."""
    with pytest.raises(driver.NotSupportedError, match=method):
        getattr(cur, method)(*arguments)


def test_ddl_begins_no_transaction_by_default(conn: driver.Connection) -> None:
    """PEP 249 opens one with the first statement; ``autocommit=False`` does."""
    conn.execute("create table fruit(name)")
    assert not conn.in_transaction
    conn.autocommit = False
    conn.execute("select * from fruit")
    assert conn.in_transaction


def test_with_counts_the_rows_of_a_write(cur: driver.Cursor) -> None:
    """Stdlib says -1."""
    cur.execute("with n(x) as (values ('a'), ('b')) insert into fruit select x from n")
    assert cur.rowcount == 2


def test_parameters_of_methods_are_by_position_as_in_stdlib() -> None:
    for method in (driver.Cursor.execute, driver.Cursor.executemany):
        kinds = [p.kind for p in inspect.signature(method).parameters.values()]
        assert kinds[:3] == [inspect.Parameter.POSITIONAL_ONLY] * 3


def test_one_tree_of_exceptions_serves_every_door() -> None:
    assert driver.Error is dqlite.Error
    assert driver.IntegrityError is dqlite.IntegrityError
