"""Bulk loads: what may be a source, what arrives, what is left behind after an error."""

from __future__ import annotations

import asyncio
import datetime as dt
import resource
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import dqlite
from dqlite import aio, bulk, dbapi


def count(conn: dqlite.Connection) -> int:
    return conn.fetchval("SELECT count(*) FROM k")


def wide(rows: int, bytes_each: int) -> Iterator[tuple[int, bytes]]:
    return ((number, bytes(bytes_each)) for number in range(rows))


@pytest.fixture
def table(conn: dqlite.Connection) -> dqlite.Connection:
    conn.execute("CREATE TABLE k (a INTEGER UNIQUE, b)")
    return conn


@pytest.mark.parametrize("rows", [0, 1, 511, 512, 513, 5000, 100_000])
def test_rows_arrive_in_order_whatever_their_number(table: dqlite.Connection, rows: int) -> None:
    seen: list[int] = []
    source = ((number, f"row {number}") for number in range(rows))
    assert table.bulk_load("k", source, progress=seen.append) == rows
    assert count(table) == rows
    assert seen == sorted(seen)
    assert seen[-1:] == [rows][: rows > 0]
    if rows:
        last = table.fetchrow("SELECT a, b FROM k ORDER BY rowid DESC LIMIT 1")
        assert last == (rows - 1, f"row {rows - 1}")
    assert table.in_transaction is False


def test_columns_are_named_by_the_caller_or_by_dicts(table: dqlite.Connection) -> None:
    table.bulk_load("k", [("x", 1)], columns=["b", "a"])
    table.bulk_load("k", [{"b": "y", "a": 2}, {"a": 3, "b": "z", "more": 0}])
    table.bulk_load("k", table.fetch("SELECT a + 10, b FROM k ORDER BY a"))
    rows = [tuple(row) for row in table.fetch("SELECT a, b FROM k ORDER BY a")]
    assert rows == [(1, "x"), (2, "y"), (3, "z"), (11, "x"), (12, "y"), (13, "z")]


def test_names_are_quoted_whatever_they_are(conn: dqlite.Connection) -> None:
    conn.execute('CREATE TABLE "a""b; --" ("x y" INTEGER)')
    assert conn.bulk_load('a"b; --', [{"x y": 1}]) == 1
    with pytest.raises(dqlite.OperationalError, match="no such table"):
        conn.bulk_load("k (a) VALUES (1); DROP TABLE x; --", [(1,)])


ARROW = pa.table(
    {
        "i8": pa.array([1, None, -128], pa.int8()),
        "u64": pa.array([0, None, 2**63 - 1], pa.uint64()),
        "f": pa.array([0.5, None, -0.25], pa.float32()),
        "t": pa.array([True, None, False]),
        "s": pa.array(["a", None, "ü"]),
        "ls": pa.array(["a", None, ""], pa.large_string()),
        "sv": pa.array(["a", None, "x" * 50], pa.string_view()),
        "b": pa.array([b"\0", None, b""]),
        "bv": pa.array([b"\0", None, b"x" * 50], pa.binary_view()),
        "fb": pa.array([b"ab", None, b"cd"], pa.binary(2)),
        "d": pa.array([dt.date(2026, 1, 2), None, dt.date(1, 1, 1)]),
        "ts": pa.array([dt.datetime(2026, 1, 2, 3, 4, 5, 60), None, dt.datetime(1969, 12, 31)]),
        "tz": pa.array([0, None, -1_500], pa.timestamp("ms", "Europe/Berlin")),
        "ns": pa.array([1, None, 1_000], pa.timestamp("ns")),
        "tm": pa.array([dt.time(1, 2, 3), None, dt.time(23, 59, 59, 5)]),
        "dic": pa.array(["a", None, "a"]).dictionary_encode(),
        "n": pa.nulls(3),
    }
)
STORED = [
    list(row)
    for row in zip(
        (1, None, -128),
        (0, None, 2**63 - 1),
        (0.5, None, -0.25),
        (1, None, 0),
        ("a", None, "ü"),
        ("a", None, ""),
        ("a", None, "x" * 50),
        (b"\0", None, b""),
        (b"\0", None, b"x" * 50),
        (b"ab", None, b"cd"),
        ("2026-01-02", None, "0001-01-01"),
        ("2026-01-02 03:04:05.000060", None, "1969-12-31 00:00:00"),
        ("1970-01-01 00:00:00+00:00", None, "1969-12-31 23:59:58.500000+00:00"),
        ("1970-01-01 00:00:00.000000001", None, "1970-01-01 00:00:00.000001"),
        ("01:02:03", None, "23:59:59.000005"),
        ("a", None, "a"),
        (None, None, None),
        strict=True,
    )
]


def test_arrow_of_every_type_is_stored_as_python_values_are(conn: dqlite.Connection) -> None:
    conn.execute(f"CREATE TABLE k ({', '.join(ARROW.column_names)})")
    assert conn.bulk_load("k", ARROW) == 3
    assert [list(row) for row in conn.fetch("SELECT * FROM k")] == STORED
    conn.execute("DELETE FROM k")
    assert conn.bulk_load("k", ARROW.slice(1).to_reader(max_chunksize=1)) == 2
    assert [list(row) for row in conn.fetch("SELECT * FROM k")] == STORED[1:]


def test_frames_of_all_makers_are_sources(table: dqlite.Connection) -> None:
    frame = pl.DataFrame({"b": ["x", None], "a": [1, 2]})
    assert table.bulk_load("k", frame) == 2
    assert table.bulk_load("k", pd.DataFrame({"a": [3, 4], "b": [0.5, None]})) == 2
    copied = table.execute("SELECT a + 10 AS a, b FROM k WHERE a < 3")
    assert table.bulk_load("k", copied.fetch_arrow()) == 2
    assert table.bulk_load("k", frame.clear()) == 0
    rows = [tuple(row) for row in table.fetch("SELECT a, b FROM k ORDER BY a")]
    assert rows == [(1, "x"), (2, None), (3, 0.5), (4, None), (11, "x"), (12, None)]


def test_a_result_is_loaded_while_it_comes(table: dqlite.Connection, url: str) -> None:
    table.bulk_load("k", ((number, None) for number in range(50_000)))
    table.execute("CREATE TABLE copy (a, b)")
    with dqlite.connect(url) as reader:
        stream = reader.execute("SELECT * FROM k").fetch_arrow_stream(batch_rows=1000)
        assert table.bulk_load("copy", stream) == 50_000
    assert table.fetchval("SELECT sum(a) FROM copy") == sum(range(50_000))


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ([(1, 2), (3,)], dqlite.ProgrammingError, "row 1: 1 values, the first row has 2"),
        ([{"a": 1}, {"b": 2}], dqlite.ProgrammingError, "row 1: there is no value for"),
        ([(1, 2), "ab"], dqlite.ProgrammingError, "row 1: a row is a sequence .* not str"),
        ([(1, 2), (3, object())], dqlite.ProgrammingError, "row 1, column 1: type 'object'"),
        ([(1, 2), (2**63, 2)], dqlite.DataError, "row 1, column 0: an integer beyond 64"),
        ([(1, 2), (3, "a\0")], dqlite.DataError, "row 1, column 1"),
        (7, dqlite.ProgrammingError, "an iterable or .* __arrow_c_stream__"),
        (pa.table({"a": [[1]]}), dqlite.ProgrammingError, 'column "a": SQLite has nothing like'),
        (pa.table({"a": pa.array([2**63], pa.uint64())}), dqlite.DataError, "beyond what SQLite"),
    ],
)
def test_what_cannot_be_loaded_is_named(
    table: dqlite.Connection, source: Any, error: type[dqlite.Error], words: str
) -> None:
    with pytest.raises(error, match=words):
        table.bulk_load("k", source)
    assert count(table) == 0
    assert table.in_transaction is False


def test_wrong_columns_are_refused_before_anything_is_sent(table: dqlite.Connection) -> None:
    with pytest.raises(dqlite.ProgrammingError, match="1 columns for rows of 2 values"):
        table.bulk_load("k", [(1, 2)], columns=["a"])
    with pytest.raises(dqlite.OperationalError, match="no column named c") as caught:
        table.bulk_load("k", [(1, 2)], columns=["a", "c"])
    assert caught.value.rows_loaded == 0


def test_an_error_says_how_many_rows_are_surely_in(table: dqlite.Connection) -> None:
    rows = [(number, bytes(4000)) for number in range(5000)]
    rows[4900] = (7, b"")
    with pytest.raises(
        dqlite.IntegrityError, match=r"UNIQUE .* \(\d+ rows are surely in\)"
    ) as caught:
        table.bulk_load("k", rows)
    error = caught.value
    assert error.rows_loaded == count(table)
    assert 2000 < error.rows_loaded < 4900
    assert 4900 - 512 < error.index <= 4900
    with pytest.raises(dqlite.IntegrityError) as caught:
        table.bulk_load("k", rows[error.rows_loaded :], atomic=True)
    assert caught.value.rows_loaded == 0
    assert count(table) == error.rows_loaded


def test_a_load_is_part_of_the_transaction_around_it(table: dqlite.Connection) -> None:
    with pytest.raises(ZeroDivisionError), table.transaction():
        assert table.bulk_load("k", wide(3000, 4000)) == 3000
        raise ZeroDivisionError
    assert count(table) == 0


def test_a_callback_that_raises_ends_the_load(table: dqlite.Connection) -> None:
    def stop(rows: int) -> None:
        if rows > 5000:
            raise KeyError(rows)

    with pytest.raises(KeyError):
        table.bulk_load("k", wide(10_000, 4000), progress=stop)
    assert count(table) in range(1, 5000)
    assert table.in_transaction is False


def test_a_source_that_raises_ends_the_load(table: dqlite.Connection) -> None:
    def source() -> Iterator[tuple[int, None]]:
        yield 1, None
        raise LookupError

    with pytest.raises(LookupError):
        table.bulk_load("k", source())
    assert count(table) == 0


def test_values_of_a_mebibyte_go_one_by_one(table: dqlite.Connection) -> None:
    assert table.bulk_load("k", wide(12, 3 << 20)) == 12
    assert table.fetchval("SELECT sum(length(b)) FROM k") == 12 * (3 << 20)


def test_the_db_api_leaves_the_commit_to_the_caller(url: str, conn: dqlite.Connection) -> None:
    conn.execute("CREATE TABLE k (a, b)")
    door = dbapi.connect(url, autocommit=False)
    assert door.bulk_load("k", wide(3000, 2000)) == 3000
    assert door.in_transaction is True
    door.rollback()
    assert count(conn) == 0
    door.bulk_load("k", [(1, 2)])
    door.commit()
    assert count(conn) == 1
    door.close()


def test_a_million_rows_are_loaded_in_bounded_memory(conn: dqlite.Connection) -> None:
    conn.execute("CREATE TABLE k (a INTEGER PRIMARY KEY, b)")
    conn.bulk_load("k", ((number, "some text") for number in range(-100_000, 0)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = ((number, "some text") for number in range(1_000_000))
    assert conn.bulk_load("k", rows) == 1_000_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert count(conn) == 1_100_000
    assert grown < 40 << 10, f"{grown} KiB"


async def test_asyncio_loads_the_same(url: str, table: dqlite.Connection) -> None:
    async with await aio.connect(url) as conn:
        seen: list[int] = []
        frame = pl.DataFrame({"a": range(100_000), "b": ["text"] * 100_000})
        assert await conn.bulk_load("k", frame, progress=seen.append) == 100_000
        assert seen[-1] == count(table) == 100_000
        with pytest.raises(dqlite.IntegrityError, match="0 rows are surely in") as caught:
            await conn.bulk_load("k", [(-1, 0), (5, 0)])
        assert (caught.value.rows_loaded, count(table)) == (0, 100_000)
        assert not conn.is_in_transaction()


async def test_rows_that_are_waited_for_are_loaded(url: str, table: dqlite.Connection) -> None:
    async def rows(count: int, clash: int = -1) -> AsyncIterator[tuple[int, str]]:
        for number in range(count):
            if number % 1000 == 0:
                await asyncio.sleep(0)
            yield (0 if number == clash else number), "text"

    async with await aio.connect(url) as conn:
        seen: list[int] = []
        assert await conn.bulk_load("k", rows(150_000), progress=seen.append) == 150_000
        assert seen == sorted(set(seen))
        assert seen[-1] == count(table) == 150_000
        await conn.execute("DELETE FROM k")
        with pytest.raises(dqlite.IntegrityError) as caught:
            await conn.bulk_load("k", rows(150_000, clash=100_000))
        assert caught.value.rows_loaded == count(table) >= bulk.LOT_ROWS
        assert caught.value.index is not None
        await conn.execute("DELETE FROM k")
        with pytest.raises(dqlite.IntegrityError, match="0 rows are surely in"):
            await conn.bulk_load("k", rows(150_000, clash=100_000), atomic=True)
        assert count(table) == 0
        assert await conn.bulk_load("k", rows(0)) == 0
        assert not conn.is_in_transaction()
