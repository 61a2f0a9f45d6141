"""Types that read what a column holds, whatever the table declares."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy.dialects.sqlite import base as sqlite


class DateTime(sqlite.DATETIME):
    """Text with six digits of a second; an offset is kept, and is UTC where none was stored."""

    def bind_processor(self, dialect: Any) -> Any:
        """Write ISO text."""
        usual: Any = super().bind_processor(dialect)

        def process(value: Any) -> Any:
            if isinstance(value, dt.datetime) and value.tzinfo is not None:
                return value.isoformat(" ", "microseconds")
            return usual(value)

        return process

    def result_processor(self, dialect: Any, coltype: object) -> Any:
        """Read text, seconds since 1970, dates and datetimes."""
        usual: Any = super().result_processor(dialect, coltype)
        aware = bool(self.timezone)

        def process(value: Any) -> Any:
            if value is None:
                return None
            if isinstance(value, str):
                value = _read(value) or usual(value)
            elif isinstance(value, int):
                value = dt.datetime.fromtimestamp(value, dt.timezone.utc)
                return value if aware else value.replace(tzinfo=None)
            if aware and isinstance(value, dt.datetime) and value.tzinfo is None:
                return value.replace(tzinfo=dt.timezone.utc)
            return value

        return process


class Date(sqlite.DATE):
    """ISO text."""

    def result_processor(self, dialect: Any, coltype: object) -> Any:
        """Read text, seconds since 1970, dates and datetimes."""
        usual: Any = super().result_processor(dialect, coltype)

        def process(value: Any) -> Any:
            if isinstance(value, int):
                return dt.datetime.fromtimestamp(value, dt.timezone.utc).date()
            if isinstance(value, dt.datetime):
                return value.date()
            return value if isinstance(value, dt.date) else usual(value)

        return process


class Time(sqlite.TIME):
    """ISO text."""

    def result_processor(self, dialect: Any, coltype: object) -> Any:
        """Read text and times."""
        usual: Any = super().result_processor(dialect, coltype)

        def process(value: Any) -> Any:
            return value if isinstance(value, dt.time) else usual(value)

        return process


def _read(text: str) -> dt.datetime | None:
    """Read ISO text; None for the other forms that SQLite knows."""
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return None
