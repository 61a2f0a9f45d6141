"""Data frames and their friends: what reads our Arrow, and what comes to us through other doors."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import closing

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

import dqlite
import dqlite.dbapi
import dqlite.sqlalchemy

BIG = 2**63 - 1
NOW = dt.datetime(2026, 11, 21, 12, 30, 15, 250_000)
ROWS = [
    (BIG, 1.5, "é", b"\0\xff", True, NOW.date(), NOW),
    (None, None, None, None, None, None, None),
    (-BIG - 1, 2, "", b"", False, dt.date(1970, 1, 1), NOW),
]


@pytest.fixture
def filled(conn: dqlite.Connection) -> dqlite.Connection:
    conn.execute(
        "CREATE TABLE k (i INTEGER, f REAL, s TEXT, b BLOB, t BOOLEAN, d DATE, n TIMESTAMP)"
    )
    conn.executemany("INSERT INTO k VALUES (?, ?, ?, ?, ?, ?, ?)", ROWS)
    return conn


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


def test_polars_and_pyarrow_read_a_table(url: str) -> None:
    with dqlite.connect(url) as c:
        c.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)")
        c.executemany("INSERT INTO t(a, b) VALUES (?, ?)", [(i, f"r{i}") for i in range(10)])
        tab = c.execute("SELECT a, b FROM t ORDER BY a").fetch_arrow()
        assert pl.DataFrame(tab)["a"].sum() == 45
        assert pa.table(tab).num_rows == 10


def test_each_reader_sees_the_same_values(filled: dqlite.Connection) -> None:
    table = filled.execute("SELECT * FROM k").fetch_arrow()
    assert pl.DataFrame(table).rows() == ROWS
    assert [tuple(row.values()) for row in pa.table(table).to_pylist()] == ROWS
    assert duckdb.from_arrow(table).fetchall() == ROWS
    frame = pd.DataFrame.from_arrow(table)
    assert list(frame.columns) == ["i", "f", "s", "b", "t", "d", "n"]
    assert frame["f"].fillna(0).tolist() == [1.5, 0, 2]
    assert frame["s"].isna().tolist() == [False, True, False]


def test_each_reader_takes_a_stream(filled: dqlite.Connection) -> None:
    def stream() -> dqlite.arrow.ArrowStream:
        return filled.execute("SELECT i, s FROM k").fetch_arrow_stream()

    pairs = [(row[0], row[2]) for row in ROWS]
    assert pl.DataFrame(stream()).rows() == pairs
    assert pa.table(stream()).num_rows == 3
    assert duckdb.from_arrow(stream()).fetchall() == pairs
    assert len(pd.DataFrame.from_arrow(stream())) == 3
    assert pl.DataFrame(filled.execute("SELECT i, s FROM k")).rows() == pairs


def test_duckdb_aggregates_a_long_stream_in_its_own_threads(conn: dqlite.Connection) -> None:
    counted = (
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 299999) "
        "SELECT i, i % 7 AS week FROM n"
    )
    stream = conn.execute(counted).fetch_arrow_stream(batch_rows=10_000)
    rows = duckdb.from_arrow(stream).aggregate("week, sum(i)", "week").order("week").fetchall()
    assert rows == [(week, sum(range(week, 300_000, 7))) for week in range(7)]
    assert conn.fetchval("SELECT 1") == 1


def test_readers_take_empty_results(filled: dqlite.Connection) -> None:
    table = filled.execute("SELECT i, s FROM k WHERE 0").fetch_arrow(
        types={"i": "int64", "s": "utf8"}
    )
    assert pl.DataFrame(table).schema == {"i": pl.Int64, "s": pl.String}
    assert pa.table(table).to_pydict() == {"i": [], "s": []}
    assert duckdb.from_arrow(table).fetchall() == []
    assert pd.DataFrame.from_arrow(table).shape == (0, 2)


@pytest.mark.filterwarnings("ignore:pandas only supports SQLAlchemy:UserWarning")
def test_pandas_reads_through_the_db_api(filled: dqlite.Connection, url: str) -> None:
    with closing(dqlite.dbapi.connect(url)) as door:
        frame = pd.read_sql("SELECT f, s FROM k WHERE f > ?", door, params=(1,))
        assert frame.to_dict("list") == {"f": [1.5, 2.0], "s": ["é", ""]}
        sizes = [len(part) for part in pd.read_sql("SELECT i FROM k", door, chunksize=2)]
        assert sizes == [2, 1]


def test_pandas_reads_and_writes_through_sqlalchemy(engine: sa.Engine) -> None:
    frame = pd.DataFrame(
        {
            "id": [1, 2, 3],
            "price": [1.5, None, 2.5],
            "name": ["a", None, "ü"],
            "at": pd.to_datetime(["2026-01-02 03:04:05", None, "1999-12-31 00:00:00"]),
            "on": [True, False, True],
        }
    )
    assert frame.to_sql("goods", engine, index=False) == 3
    frame.to_sql("goods", engine, index=False, if_exists="append", method="multi")
    read = pd.read_sql("SELECT * FROM goods WHERE id = 3", engine)
    assert read["name"].tolist() == ["ü", "ü"]
    whole = pd.read_sql_table("goods", engine)
    assert len(whole) == 6
    assert whole["at"].tolist()[0] == pd.Timestamp("2026-01-02 03:04:05")
    assert whole["on"].tolist()[:3] == [True, False, True]
    with pytest.raises(ValueError, match="already exists"):
        frame.to_sql("goods", engine, index=False)


def test_polars_reads_through_every_door(
    filled: dqlite.Connection, url: str, engine: sa.Engine
) -> None:
    query = "SELECT i, s FROM k ORDER BY i IS NULL, i"
    expected = [(-BIG - 1, ""), (BIG, "é"), (None, None)]
    assert pl.read_database(query, filled).rows() == expected
    with closing(dqlite.dbapi.connect(url)) as door:
        assert pl.read_database(query, door).rows() == expected
    with engine.connect() as connection:
        assert pl.read_database(query, connection).rows() == expected


def test_arrow_comes_through_the_driver_of_an_engine(
    filled: dqlite.Connection, engine: sa.Engine
) -> None:
    with engine.connect() as connection:
        cursor = connection.connection.dbapi_connection.cursor()
        table = cursor.execute("SELECT i, s FROM k WHERE i > ?", (0,)).fetch_arrow()
        assert pl.DataFrame(table).rows() == [(BIG, "é")]


async def test_frames_come_through_an_engine_of_asyncio(
    filled: dqlite.Connection, url: str
) -> None:
    engine = create_async_engine(dqlite.sqlalchemy.url(url, aio=True))
    query = "SELECT s FROM k WHERE i > 0"
    async with engine.begin() as connection:
        frame = await connection.run_sync(lambda sync: pd.read_sql(sa.text(query), sync))
        assert frame["s"].tolist() == ["é"]
        await connection.run_sync(lambda sync: frame.to_sql("copy", sync, index=False))
        assert (await connection.execute(sa.text("SELECT s FROM copy"))).all() == [("é",)]
        driver = (await connection.get_raw_connection()).driver_connection
        cursor = await driver.native.execute(query)
        assert pa.table(await cursor.fetch_arrow()).to_pydict() == {"s": ["é"]}
    await engine.dispose()


def test_polars_writes_through_sqlalchemy(engine: sa.Engine, conn: dqlite.Connection) -> None:
    frame = pl.DataFrame({"id": [1, 2], "name": ["a", None]})
    frame.write_database("goods", engine, if_table_exists="replace")
    assert [tuple(row) for row in conn.fetch("SELECT * FROM goods")] == [(1, "a"), (2, None)]
