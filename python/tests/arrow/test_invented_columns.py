"""Whatever a table holds, Arrow says what rows say, and goes back into a table as it came."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dqlite

EXACT = 2**53
MOMENTS = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1))
ZONES = st.integers(-23 * 60, 23 * 60).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
COLUMNS: list[tuple[str, st.SearchStrategy[Any]]] = [
    ("", st.integers(-(2**63), 2**63 - 1)),
    ("", st.floats(allow_nan=False)),
    ("", st.integers(-EXACT, EXACT) | st.floats(allow_nan=False)),
    ("", st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
    ("", st.binary()),
    ("", st.nothing()),
    ("BOOLEAN", st.booleans()),
    ("BOOLEAN", st.integers(-3, 3)),
    ("DATE", st.dates()),
    ("DATETIME", MOMENTS),
    ("DATETIME", MOMENTS | st.dates()),
    ("TIMESTAMP", st.builds(lambda at, zone: at.replace(tzinfo=zone), MOMENTS, ZONES)),
    ("TIMESTAMP", st.integers(-(10**10), 10**10)),
]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Declared types, and rows of cells of these types."""
    columns = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=6))
    cells = [st.none() | values for _, values in columns]
    return [kind for kind, _ in columns], draw(st.lists(st.tuples(*cells), max_size=40))


def comparable(value: Any) -> Any:
    """Days among times are midnights in Arrow."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.datetime.combine(value, dt.time())
    return value


def cells(table: pa.Table) -> list[list[Any]]:
    table.validate(full=True)
    columns = [column.to_pylist() for column in table.columns]
    return [[comparable(value) for value in row] for row in zip(*columns, strict=True)]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tables(), st.integers(1, 50), st.integers(0, 5))
def test_arrow_says_what_rows_say(
    conn: dqlite.Connection,
    table: tuple[list[str], list[tuple[Any, ...]]],
    batch_rows: int,
    before: int,
) -> None:
    kinds, rows = table
    for name in ("k", "copy"):
        conn.execute(f"DROP TABLE IF EXISTS {name}")
        declared = ", ".join(f"c{at} {kind}" for at, kind in enumerate(kinds))
        conn.execute(f"CREATE TABLE {name} ({declared})")
    conn.executemany(f"INSERT INTO k VALUES ({', '.join('?' * len(kinds))})", rows)
    query = "SELECT * FROM k ORDER BY rowid"
    expected = [[comparable(value) for value in row] for row in conn.execute(query)]

    cursor = conn.execute(query)
    cursor.fetchmany(before)
    whole = cursor.fetch_arrow(batch_rows=batch_rows)
    assert cells(pa.table(whole)) == expected[before:]

    stream = conn.execute(query).fetch_arrow_stream(batch_rows=max(batch_rows, 40))
    assert conn.bulk_load("copy", stream) == len(rows)
    copied = conn.execute("SELECT * FROM copy ORDER BY rowid").fetch_arrow()
    assert cells(pa.table(copied)) == expected
