"""Results as Arrow: which types columns get, what cannot be, how a stream is read and left."""

from __future__ import annotations

import datetime as dt
import gc
import resource
import threading
from typing import Any

import pyarrow as pa
import pytest

import dqlite
from dqlite import aio

UTC = dt.timezone.utc

COUNTED = (
    "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {} - 1) "
    "SELECT i, i * 0.5 AS half, 'row ' || i AS name FROM n"
)


def counted(rows: int) -> str:
    return COUNTED.format(rows)


def columns(conn: dqlite.Connection, sql: str, **options: Any) -> dict[str, tuple[str, list[Any]]]:
    table = pa.table(conn.execute(sql).fetch_arrow(**options))
    table.validate(full=True)
    fields = zip(table.schema.names, table.schema.types, table.columns, strict=True)
    return {name: (str(kind), column.to_pylist()) for name, kind, column in fields}


def column(conn: dqlite.Connection, *values: str, **options: Any) -> tuple[str, list[Any]]:
    """A column of SQL expressions, in their order."""
    rows = ", ".join(f"({number}, {value})" for number, value in enumerate(values))
    sql = f"WITH v(n, x) AS (VALUES {rows}) SELECT x FROM v ORDER BY n"
    return columns(conn, sql, **options)["x"]


def test_columns_have_the_types_of_their_cells(conn: dqlite.Connection) -> None:
    assert column(conn, "1", "NULL", "-9223372036854775808", "9223372036854775807") == (
        "int64",
        [1, None, -(2**63), 2**63 - 1],
    )
    assert column(conn, "NULL", "1.5", "2", "9e999") == ("double", [None, 1.5, 2.0, float("inf")])
    assert column(conn, "1", "2", "1.5") == ("double", [1.0, 2.0, 1.5])
    assert column(conn, "'é'", "NULL", "''") == ("large_string", ["é", None, ""])
    assert column(conn, "NULL", "x''", "x'00ff'") == ("large_binary", [None, b"", b"\0\xff"])
    assert column(conn, "NULL", "NULL") == ("null", [None, None])


def test_declared_types_are_read_as_rows_read_them(conn: dqlite.Connection) -> None:
    conn.execute("CREATE TABLE k (b BOOLEAN, d DATE, t DATETIME, z TIMESTAMP, u DATETIME)")
    now = dt.datetime(2026, 11, 21, 12, 30, 15, 250_000)
    east = now.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))
    sets = [
        (True, now.date(), now, east, 1_700_000_000),
        (None, None, None, None, None),
        (False, dt.date(1, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59), east, -1),
    ]
    conn.executemany("INSERT INTO k VALUES (?, ?, ?, ?, ?)", sets)
    found = columns(conn, "SELECT * FROM k")
    assert found == {
        "b": ("bool", [True, None, False]),
        "d": ("date32[day]", [now.date(), None, dt.date(1, 1, 1)]),
        "t": ("timestamp[us]", [now, None, dt.datetime(1969, 12, 31, 23, 59, 59)]),
        "z": ("timestamp[us, tz=UTC]", [east, None, east]),
        "u": (
            "timestamp[s, tz=UTC]",
            [
                dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
                None,
                dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
            ],
        ),
    }
    rows = [list(row) for row in conn.fetch("SELECT * FROM k")]
    assert [
        list(row) for row in zip(*(values for _, values in found.values()), strict=True)
    ] == rows


def test_time_columns_that_are_not_of_one_kind_are_text(conn: dqlite.Connection) -> None:
    conn.execute("CREATE TABLE k (n INTEGER, t DATETIME)")

    def stored(*texts: str | int | None) -> tuple[str, list[Any]]:
        conn.execute("DELETE FROM k")
        conn.executemany("INSERT INTO k VALUES (?, ?)", list(enumerate(texts)))
        return columns(conn, "SELECT t FROM k ORDER BY n")["t"]

    assert stored("2026-01-02", "2026-01-02 03:04:05") == (
        "timestamp[us]",
        [dt.datetime(2026, 1, 2), dt.datetime(2026, 1, 2, 3, 4, 5)],
    )
    assert stored("2026-01-02", "soon") == ("large_string", ["2026-01-02", "soon"])
    assert stored("12:30", None) == ("large_string", ["12:30", None])
    texts = ["2026-01-02 03:04:05", "2026-01-02 03:04:05+01:00"]
    assert stored(*texts) == ("large_string", texts)
    assert stored("", "2026-01-02") == ("date32[day]", [None, dt.date(2026, 1, 2)])
    with pytest.raises(dqlite.DataError, match="row 1: a time as text where a time in seconds"):
        stored(60, "1970-01-01T00:00:01Z")


def test_a_boolean_column_with_other_integers_is_one_of_integers(conn: dqlite.Connection) -> None:
    conn.execute("CREATE TABLE k (b BOOLEAN)")
    conn.executemany("INSERT INTO k VALUES (?)", [(1,), (2,), (0,)])
    assert columns(conn, "SELECT b FROM k") == {"b": ("int64", [1, 2, 0])}


def test_raw_and_strict_connections_read_their_way(url: str) -> None:
    with dqlite.connect(url, types="raw") as conn:
        conn.execute("CREATE TABLE k (b BOOLEAN, t DATETIME)")
        conn.execute("INSERT INTO k VALUES (1, '2026-01-02')")
        assert columns(conn, "SELECT * FROM k") == {
            "b": ("int64", [1]),
            "t": ("large_string", ["2026-01-02"]),
        }
    with dqlite.connect(url, types="strict") as conn:
        conn.execute("INSERT INTO k VALUES (7, NULL)")
        with pytest.raises(dqlite.DataError, match="a BOOLEAN column holds 7"):
            conn.execute("SELECT b FROM k").fetch_arrow()


@pytest.mark.parametrize(
    ("values", "row", "words"),
    [
        (("1", "'a'"), 1, "text where an integer came before"),
        (("'a'", "NULL", "1.5"), 2, "a float where text came before"),
        (("x'00'", "'a'"), 1, "text where a blob came before"),
        (("0.5", "9007199254740993"), 1, "9007199254740993 has no exact float64"),
        (("9007199254740993", "0.5"), 0, "9007199254740993 has no exact float64"),
    ],
)
def test_what_does_not_go_together_names_column_and_row(
    conn: dqlite.Connection, values: tuple[str, ...], row: int, words: str
) -> None:
    with pytest.raises(dqlite.DataError, match=f'column "x", row {row}: .*{words}') as caught:
        column(conn, *values)
    assert caught.value.index == row
    assert conn.fetchval("SELECT 1") == 1


def test_types_decide_beforehand(conn: dqlite.Connection) -> None:
    assert column(conn, "1", types={"x": "float64"}) == ("double", [1.0])
    assert column(conn, "1", "NULL", "0", types={"x": "bool"}) == ("bool", [True, None, False])
    assert column(conn, "'a'", types={"x": "binary"}) == ("large_binary", [b"a"])
    assert column(conn, "'é'", "x'00'", types={"x": "binary"}) == (
        "large_binary",
        ["é".encode(), b"\0"],
    )
    assert column(conn, "'2026-01-02'", types={"x": "date32"})[1] == [dt.date(2026, 1, 2)]
    assert column(conn, "'2026-01-02 03:04:05Z'", types={"x": "timestamp"}) == (
        "timestamp[us, tz=UTC]",
        [dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)],
    )
    assert column(conn, "60", types={"x": "timestamp"})[0] == "timestamp[us, tz=UTC]"
    for word, kind in {
        "utf8": "large_string",
        "int64": "int64",
        "timestamp": "timestamp[us]",
    }.items():
        assert column(conn, "NULL", types={"x": word}) == (kind, [None])
    with pytest.raises(dqlite.DataError, match="row 0: text does not fit int64"):
        column(conn, "'a'", types={"x": "int64"})
    with pytest.raises(dqlite.DataError, match="row 1: 2 does not fit bool"):
        column(conn, "1", "2", types={"x": "bool"})


def test_wrong_options_are_refused_and_lose_nothing(conn: dqlite.Connection) -> None:
    for sql in ("SELECT 1 AS a", counted(10_000)):
        cursor = conn.execute(sql)
        name = cursor.description[0][0]
        with pytest.raises(dqlite.ProgrammingError, match=r'must be int64, .* got "money"'):
            cursor.fetch_arrow(types={name: "money"})
        with pytest.raises(dqlite.ProgrammingError, match='names column "b", which'):
            cursor.fetch_arrow(types={"b": "int64"})
        with pytest.raises(dqlite.ProgrammingError, match="batch_rows must be at least 1"):
            cursor.fetch_arrow_stream(batch_rows=0)
        assert cursor.fetch_arrow().num_rows in {1, 10_000}


def test_empty_results_keep_their_columns(conn: dqlite.Connection) -> None:
    table = conn.execute("SELECT 1 AS a, 'b' AS b WHERE 0").fetch_arrow(types={"b": "utf8"})
    assert (table.num_rows, len(table), table.column_names) == (0, 0, ["a", "b"])
    assert table.schema.types == ["Null", "LargeUtf8"]
    assert pa.schema(table.schema).names == pa.schema(table).names == ["a", "b"]
    assert pa.table(table).num_rows == 0
    nothing = conn.execute("CREATE TABLE k (a)").fetch_arrow()
    assert (nothing.num_columns, pa.table(nothing).num_rows) == (0, 0)
    with pytest.raises(dqlite.InterfaceError, match="no result"):
        conn.cursor().fetch_arrow()


def test_columns_of_one_name_stay_apart(conn: dqlite.Connection) -> None:
    table = pa.table(conn.execute("SELECT 1 AS a, 'x' AS a").fetch_arrow())
    assert [column.to_pylist() for column in table.columns] == [[1], ["x"]]


def test_a_long_result_comes_in_batches(conn: dqlite.Connection) -> None:
    table = conn.execute(counted(100_000)).fetch_arrow(batch_rows=30_000)
    read = pa.table(table)
    assert [batch.num_rows for batch in read.to_batches()] == [30_000] * 3 + [10_000]
    assert read["i"].to_pylist() == list(range(100_000))
    assert read["name"][99_999].as_py() == "row 99999"
    assert pa.table(table).equals(read)
    assert "100000 rows, i: Int64" in repr(table)
    assert table.nbytes > 100_000 * 16


def test_rows_that_were_fetched_before_are_not_in_it(conn: dqlite.Connection) -> None:
    for total in (10, 50_000):
        cursor = conn.execute(counted(total))
        assert cursor.fetchone()["i"] == 0
        assert [row["i"] for row in cursor.fetchmany(5)] == [1, 2, 3, 4, 5]
        assert pa.table(cursor.fetch_arrow())["i"].to_pylist() == list(range(6, total))
        assert cursor.fetchall() == []


def test_rows_that_were_set_aside_are_in_it(conn: dqlite.Connection) -> None:
    cursor = conn.execute(counted(50_000))
    cursor.fetchmany(3000)
    assert conn.fetchval("SELECT 7") == 7
    assert pa.table(cursor.fetch_arrow())["i"].to_pylist() == list(range(3000, 50_000))


def test_all_rows_decide_the_types_of_a_table(conn: dqlite.Connection) -> None:
    sql = "SELECT CASE WHEN i > 49998 THEN i + 0.5 WHEN i > 9 THEN i END AS x"
    rows = f"{sql} FROM ({counted(50_000)})"
    kind, values = columns(conn, rows, batch_rows=10)["x"]
    assert kind == "double"
    assert values[:11] == [None] * 10 + [10.0]
    assert values[-1] == 49_999.5
    with pytest.raises(dqlite.DataError, match='column "x", row 40000: text does not fit int64'):
        conn.execute(f"SELECT iif(i < 40000, i, 'x') AS x FROM ({counted(50_000)})").fetch_arrow(
            batch_rows=1000
        )


def test_the_first_batch_decides_the_types_of_a_stream(conn: dqlite.Connection) -> None:
    rows = f"SELECT iif(i < 40000, i, i + 0.5) AS x FROM ({counted(50_000)})"
    stream = conn.execute(rows).fetch_arrow_stream(batch_rows=10_000)
    assert stream.schema.types == ["Int64"]
    reader = pa.RecordBatchReader.from_stream(stream)
    for first in range(0, 40_000, 10_000):
        assert reader.read_next_batch()["x"][0].as_py() == first
    with pytest.raises(Exception, match='DataError: column "x", row 40000: a float does not fit'):
        reader.read_next_batch()
    assert conn.fetchval("SELECT 1") == 1
    decided = conn.execute(rows).fetch_arrow_stream(batch_rows=10_000, types={"x": "float64"})
    assert pa.table(decided)["x"][-1].as_py() == 49_999.5


def test_a_cursor_is_a_stream_itself(conn: dqlite.Connection) -> None:
    assert pa.table(conn.execute("SELECT 1 AS a"))["a"].to_pylist() == [1]
    assert pa.table(conn.execute(counted(20_000))).num_rows == 20_000


def test_a_stream_is_read_once(conn: dqlite.Connection) -> None:
    for sql in ("SELECT 1 AS a", counted(20_000)):
        stream = conn.execute(sql).fetch_arrow_stream()
        pa.table(stream)
        with pytest.raises(dqlite.InterfaceError, match="read or closed before"):
            pa.table(stream)


def test_a_stream_that_is_left_frees_its_connection(conn: dqlite.Connection) -> None:
    for leave in ("close", "collect", "never"):
        with conn.execute(counted(1_000_000)).fetch_arrow_stream(batch_rows=1000) as stream:
            if leave == "collect":
                reader = pa.RecordBatchReader.from_stream(stream)
                assert reader.read_next_batch().num_rows == 1000
                del reader
                gc.collect()
            elif leave == "close":
                assert stream.schema.names == ["i", "half", "name"]
                stream.close()
        assert conn.fetchval("SELECT 1", timeout=20) == 1
    del stream
    conn.execute(counted(1_000_000)).close()
    assert conn.fetchval("SELECT 1", timeout=20) == 1


def test_a_stream_reads_on_beside_other_statements(conn: dqlite.Connection) -> None:
    stream = conn.execute(counted(50_000)).fetch_arrow_stream(batch_rows=1000)
    reader = pa.RecordBatchReader.from_stream(stream)
    seen = []
    for batch in reader:
        seen += batch["i"].to_pylist()
        assert conn.fetchval("SELECT ?", len(seen)) == len(seen)
    assert seen == list(range(50_000))


def test_a_stream_made_in_a_block_is_read_by_other_threads(conn: dqlite.Connection) -> None:
    found = []
    with conn.transaction("deferred"):
        stream = conn.execute(counted(50_000)).fetch_arrow_stream(batch_rows=1000)
        thread = threading.Thread(target=lambda: found.append(pa.table(stream).num_rows))
        thread.start()
        thread.join(30)
    assert found == [50_000]


def test_an_error_of_the_server_comes_behind_the_rows_before_it(conn: dqlite.Connection) -> None:
    failing = f"SELECT iif(i < 40000, i, json('{{')) AS x FROM ({counted(50_000)})"
    with pytest.raises(dqlite.OperationalError, match="malformed JSON"):
        conn.execute(failing).fetch_arrow()
    stream = conn.execute(failing).fetch_arrow_stream(batch_rows=10_000)
    reader = pa.RecordBatchReader.from_stream(stream)
    with pytest.raises(Exception, match="OperationalError: malformed JSON"):
        for batch in reader:
            assert batch.num_rows == 10_000
    assert conn.fetchval("SELECT 1") == 1


def test_the_limit_of_rows_holds_for_arrow_too(url: str) -> None:
    with dqlite.connect(url, max_rows=30_000) as conn:
        assert conn.execute(counted(30_000)).fetch_arrow().num_rows == 30_000
        cursor = conn.execute(counted(50_000))
        with pytest.raises(dqlite.DataError, match="30000"):
            cursor.fetch_arrow()
        assert conn.fetchval("SELECT 1") == 1


def test_a_closed_cursor_gives_nothing(conn: dqlite.Connection) -> None:
    cursor = conn.execute("SELECT 1 AS a")
    cursor.close()
    with pytest.raises(dqlite.InterfaceError, match="cursor is closed"):
        cursor.fetch_arrow()


def test_returning_gives_arrow(conn: dqlite.Connection) -> None:
    conn.execute("CREATE TABLE k (a)")
    rows = conn.execute("INSERT INTO k VALUES (1), (2) RETURNING a * 10 AS ten").fetch_arrow()
    assert pa.table(rows)["ten"].to_pylist() == [10, 20]


def test_a_million_rows_stream_in_bounded_memory(conn: dqlite.Connection) -> None:
    def stream(rows: int) -> int:
        stream = conn.execute(counted(rows)).fetch_arrow_stream(batch_rows=10_000)
        reader = pa.RecordBatchReader.from_stream(stream)
        return sum(batch.num_rows for batch in reader)

    stream(100_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert stream(1_000_000) == 1_000_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 40 << 10, f"{grown} KiB for a stream of some 40 MiB"


async def test_asyncio_gathers_the_same(url: str) -> None:
    async with await aio.connect(url) as conn:
        table = await (await conn.execute("SELECT 1 AS a")).fetch_arrow()
        assert pa.table(table).to_pydict() == {"a": [1]}
        cursor = await conn.execute(counted(50_000))
        assert (await cursor.fetchone())["i"] == 0
        assert pa.table(await cursor.fetch_arrow())["i"].to_pylist() == list(range(1, 50_000))
        assert await cursor.fetchall() == []
        with pytest.raises(dqlite.DataError, match='column "x", row 40000'):
            sql = f"SELECT iif(i < 40000, i, 'x') AS x FROM ({counted(50_000)})"
            await (await conn.execute(sql)).fetch_arrow()
        assert await conn.fetchval("SELECT 1") == 1


async def test_asyncio_streams_batch_by_batch(url: str) -> None:
    async with await aio.connect(url) as conn:
        cursor = await conn.execute(counted(50_000))
        sizes = [table.num_rows async for table in cursor.fetch_arrow_stream(batch_rows=20_000)]
        assert sizes == [20_000, 20_000, 10_000]
        async with conn.execute(counted(1_000_000)) as cursor:
            async for table in cursor.fetch_arrow_stream(batch_rows=1000):
                assert table.num_rows == 1000
                break
        assert await conn.fetchval("SELECT 1", timeout=20) == 1
        tables = [table async for table in conn.cursor("SELECT 2 AS a").fetch_arrow_stream()]
        assert pa.table(tables[0]).to_pydict() == {"a": [2]}
