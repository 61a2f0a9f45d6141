"""PEP 249's type objects and constructors, and how values are bound."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, TypeAlias, final

from dqlite.dbapi._adapt import PrepareProtocol, adapters
from dqlite.exceptions import DataError
from dqlitedbapi._adapt import (
    adapt_bind_param,
    datetime_from_iso8601,
    datetime_from_unixtime,
    format_utc_offset,
    iso8601_from_datetime,
    iso8601_from_time,
    register_adapter,
    unregister_adapter,
)

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "UNKNOWN",
    "Binary",
    "Date",
    "DateFromTicks",
    "DescriptionTuple",
    "PrepareProtocol",
    "RowFactory",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "adapt_bind_param",
    "datetime_from_iso8601",
    "datetime_from_unixtime",
    "format_utc_offset",
    "iso8601_from_datetime",
    "iso8601_from_time",
    "register_adapter",
    "unregister_adapter",
]

_ADAPTERS: Final = adapters
"""The registry of `dqlite.dbapi`: there is one per process."""

Binary = memoryview
RowFactory: TypeAlias = Callable[..., Any]
"""Called with the cursor and the tuple of values; its result is the row."""


@final
class DBAPIType:
    """Equal to the type codes and to the names of SQL types that it stands for."""

    def __init__(self, *values: str | int, name: str) -> None:
        """Stand for these."""
        self.values: frozenset[str | int] = frozenset(values)
        self.name = name

    def __eq__(self, other: object) -> bool:
        """Compare with a type code, a name in any case, or another type object."""
        if isinstance(other, DBAPIType):
            return self.values == other.values
        if isinstance(other, str):
            return other.upper() in self.values
        if isinstance(other, int) and not isinstance(other, bool):
            return int(other) in self.values
        return NotImplemented

    def __hash__(self) -> int:
        """Hash the name, so that type objects can be keys."""
        return hash((type(self).__name__, self.name))

    def __repr__(self) -> str:
        """Give the name."""
        return self.name


DescriptionTuple: TypeAlias = tuple[str, int | DBAPIType, None, None, None, None, None]
"""Of a column, its name and its type code."""

STRING: Final = DBAPIType("TEXT", "VARCHAR", "CHAR", "CLOB", 3, name="STRING")
BINARY: Final = DBAPIType("BLOB", "BINARY", "VARBINARY", 4, name="BINARY")
NUMBER: Final = DBAPIType(
    *("INTEGER", "INT", "SMALLINT", "BIGINT", "REAL", "FLOAT", "DOUBLE", "NUMERIC"),
    *(1, 2, 11),
    name="NUMBER",
)
DATETIME: Final = DBAPIType("DATE", "TIME", "TIMESTAMP", "DATETIME", 9, 10, name="DATETIME")
ROWID: Final = DBAPIType("ROWID", "INTEGER PRIMARY KEY", 1, name="ROWID")
UNKNOWN: Final = DBAPIType(name="UNKNOWN")
"""The type code of a column without a value in any row."""


def Date(year: int, month: int, day: int) -> dt.date:  # noqa: N802 - PEP 249 demands the name
    """Return a date; DataError if there is no such day."""
    return _made("Date", dt.date, (year, month, day))


def Time(  # noqa: N802 - PEP 249 demands the name
    hour: int, minute: int, second: int, microsecond: int = 0, tzinfo: dt.tzinfo | None = None
) -> dt.time:
    """Return a time of day; DataError if there is no such time."""
    return _made("Time", dt.time, (hour, minute, second, microsecond, tzinfo))


def Timestamp(  # noqa: N802, PLR0917 - PEP 249 demands the name and the order
    year: int,
    month: int,
    day: int,
    hour: int,
    minute: int,
    second: int,
    microsecond: int = 0,
    tzinfo: dt.tzinfo | None = None,
) -> dt.datetime:
    """Return a moment; DataError if there is no such moment."""
    moment = (year, month, day, hour, minute, second, microsecond, tzinfo)
    return _made("Timestamp", dt.datetime, moment)


def DateFromTicks(ticks: float) -> dt.date:  # noqa: N802 - PEP 249 demands the name
    """Return the local date, `ticks` seconds after 1970."""
    return TimestampFromTicks(ticks).date()


def TimeFromTicks(ticks: float) -> dt.time:  # noqa: N802 - PEP 249 demands the name
    """Return the local time of day, `ticks` seconds after 1970."""
    return TimestampFromTicks(ticks).time()


def TimestampFromTicks(ticks: float) -> dt.datetime:  # noqa: N802 - PEP 249 demands the name
    """Return the local date and time, `ticks` seconds after 1970."""
    given: Any = ticks
    if isinstance(given, bool) or not isinstance(given, (int, float, Decimal)):
        text = f"Invalid timestamp ticks: {given!r} ({type(given).__name__})"
        raise DataError(text)
    try:
        seconds = float(given)
        if math.isfinite(seconds):
            return dt.datetime.fromtimestamp(seconds)  # noqa: DTZ006 - PEP 249 means local time
    except (OverflowError, OSError, ValueError) as error:
        text = f"Invalid timestamp ticks {ticks}: {error}"
        raise DataError(text) from error
    text = f"Invalid timestamp ticks: {seconds}"
    raise DataError(text)


def _made(name: str, kind: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return kind(*arguments)
    except (TypeError, ValueError, OverflowError) as error:
        text = f"{name}{arguments!r} invalid: {error}"
        raise DataError(text) from error
