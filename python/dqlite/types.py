"""Adapters, converters, and PEP 249's type objects and constructors, for all doors alike::

    dqlite.types.register_adapter(Point, lambda point: f"{point.x};{point.y}")

The registries are those of `dqlite.dbapi`.
"""

from __future__ import annotations

from dqlite.dbapi import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Date,
    DateFromTicks,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
    register_adapter,
    register_converter,
    unregister_adapter,
)

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Date",
    "DateFromTicks",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "register_adapter",
    "register_converter",
    "unregister_adapter",
]
