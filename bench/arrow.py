"""Bulk loads against other inserts, and Arrow against rows, on one live node.

Repetitions interleave; what counts are ratios of medians from one run. Needs a built package with
an executable, an engine (DQLITE_ENGINE) and pyarrow.

    python bench/arrow.py [--repetitions 5] [--rows 100000] [--json FILE] [--check]
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
import time
from pathlib import Path
from socket import create_server
from statistics import median

import pyarrow as pa

import dqlite

ONE_BY_ONE_SHARE = 100
"""One in so many rows is inserted one by one, which takes long enough."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="fail below the floors")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dqlite-bench-") as directory:
        with create_server(("127.0.0.1", 0)) as probe:
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        with dqlite.Node(address, directory) as node:
            node.wait_ready(30)
            with dqlite.connect(f"dqlite://{address}/bench") as conn:
                rates = measure(conn, given.rows, given.repetitions)
    return report(rates, given)


def measure(conn: dqlite.Connection, rows: int, repetitions: int) -> dict[str, list[float]]:
    data = [(i, f"name {i}", i * 0.5, None, i % 7) for i in range(rows)]
    columns = ["a", "b", "c", "d", "e"]
    table = pa.table({name: [row[at] for row in data] for at, name in enumerate(columns)})
    local = sqlite3.connect(":memory:")
    marks = ", ".join("?" * len(columns))
    for database in (conn, local):
        database.execute(f"CREATE TABLE k ({', '.join(columns)})")
    insert = f"INSERT INTO k VALUES ({marks})"

    def one_by_one() -> int:
        few = data[: rows // ONE_BY_ONE_SHARE]
        for row in few:
            conn.execute(insert, row)
        return len(few)

    def many() -> int:
        return conn.executemany(insert, data).rowcount

    loads = {
        "insert one by one": one_by_one,
        "executemany": many,
        "bulk_load rows": lambda: conn.bulk_load("k", data),
        "bulk_load Arrow": lambda: conn.bulk_load("k", table),
    }
    local.executemany(insert, data)
    query = f"SELECT * FROM k LIMIT {rows}"
    reads = {
        "fetchall": lambda: len(conn.execute(query).fetchall()),
        "fetchall, then Arrow": lambda: to_arrow(conn.execute(query).fetchall(), columns),
        "fetch_arrow": lambda: conn.execute(query).fetch_arrow().num_rows,
        "sqlite3 fetchall": lambda: len(local.execute(query).fetchall()),
        "sqlite3, then Arrow": lambda: to_arrow(local.execute(query).fetchall(), columns),
    }
    rates: dict[str, list[float]] = {}
    for turn in range(repetitions + 1):
        for name, work in loads.items():
            conn.execute("DELETE FROM k")
            rate(rates, name, work, warm=turn > 0)
        for name, work in reads.items():
            rate(rates, name, work, warm=turn > 0)
    return rates


def to_arrow(rows: list, columns: list[str]) -> int:
    cells = zip(*rows, strict=True)
    return pa.table(dict(zip(columns, map(pa.array, cells), strict=True))).num_rows


def rate(rates: dict[str, list[float]], name: str, work, *, warm: bool) -> None:
    start = time.perf_counter()
    rows = work()
    taken = time.perf_counter() - start
    if warm:
        rates.setdefault(name, []).append(rows / taken)


def report(rates: dict[str, list[float]], given: argparse.Namespace) -> int:
    medians = {name: median(values) for name, values in rates.items()}
    for name, values in rates.items():
        low, high = min(values), max(values)
        print(f"{name:22} {medians[name]:12,.0f} rows/s  ({low:,.0f} to {high:,.0f})")
    print()
    failed = 0
    for over, under, floor in (
        ("bulk_load Arrow", "insert one by one", 20.0),
        ("bulk_load rows", "insert one by one", 20.0),
        ("bulk_load Arrow", "executemany", 1.0),
        ("fetch_arrow", "fetchall", 1.0),
        ("fetch_arrow", "fetchall, then Arrow", 1.0),
        ("fetch_arrow", "sqlite3 fetchall", None),
        ("fetch_arrow", "sqlite3, then Arrow", None),
    ):
        ratio = medians[over] / medians[under]
        kept = "" if floor is None else f"floor {floor:g}"
        failed += floor is not None and ratio < floor
        print(f"{over} / {under}: {ratio:.2f} {kept}")
    print("load average", *(f"{load:.1f}" for load in os.getloadavg()))
    if given.json:
        given.json.write_text(json.dumps(rates))
    return 1 if given.check and failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
