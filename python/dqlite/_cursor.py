"""What sync and asyncio cursors have in common: the result of one statement, read row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from operator import length_hint
from typing import Any, TypeAlias

from dqlite import _native, exceptions

Description: TypeAlias = tuple[tuple[str, int | None, None, None, None, None, None], ...]


class Gathered:
    """What the runs of one statement with many parameter sets answered."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.columns: list[str] | None = None
        self.tags: list[list[int]] = []
        self.rows: list[Any] = []
        self.rowcount = 0
        self.lastrowid: int | None = None

    @classmethod
    def described(cls, stream: _native.Stream) -> Gathered:
        """Return what is known of a result whose rows still come."""
        made = cls()
        made.columns, made.tags, made.rowcount = stream.columns, stream.tags, -1
        return made

    def add(self, result: _native.Result) -> None:
        """Add the answer of one run."""
        self.columns = result.columns
        self.tags = self.tags or result.tags
        self.rows.extend(result.rows)
        self.rowcount += max(result.rowcount, 0)


class Place:
    """Where a reader stands among the rows that are here."""

    __slots__ = ("rows",)

    def __init__(self, rows: Iterable[Any] = ()) -> None:
        """Stand before the first."""
        self.rows = iter(rows)

    def left(self) -> int:
        """Return how many rows are left."""
        return length_hint(self.rows)


class Rows:
    """A result and the place up to which it was read."""

    arraysize = 1
    """How many rows `fetchmany` gives if it is not told."""

    def __init__(self) -> None:
        """Start without a result."""
        self._closed = False
        self._result: _native.Result | Gathered | None = None
        self._place = Place()
        self._rows: Iterator[Any] = self._place.rows
        self._lastrowid: int | None = None
        self._changed = -1

    @property
    def description(self) -> Description | None:
        """One 7-tuple ``(name, wire type of the first row's cell, None...)`` per column, or None.

        The type is None where the cell is NULL or there is no row.
        """
        result = self._result
        if result is None or result.columns is None:
            return None
        first = result.tags[0] if result.tags else [None] * len(result.columns)
        pairs = zip(result.columns, first, strict=True)
        return tuple((name, tag, None, None, None, None, None) for name, tag in pairs)

    @property
    def rowcount(self) -> int:
        """Rows changed, or given by RETURNING; -1 where there is no such number."""
        return self._changed if self._result is None else self._result.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The row id of the last INSERT or REPLACE of this cursor, or None."""
        return self._lastrowid

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def setinputsizes(self, sizes: Any, /) -> None:
        """Do nothing: PEP 249 asks for the method."""

    def setoutputsize(self, size: Any, column: Any = None, /) -> None:
        """Do nothing: PEP 249 asks for the method."""

    def callproc(self, name: str, *_args: Any) -> Any:
        """Raise NotSupportedError: SQLite has no stored procedures."""
        text = f"callproc({name!r}): SQLite has no stored procedures"
        raise exceptions.NotSupportedError(text)

    def nextset(self) -> Any:
        """Raise NotSupportedError: a statement has one result."""
        text = "nextset: a statement has one result"
        raise exceptions.NotSupportedError(text)

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Raise NotSupportedError: rows come in order."""
        text = f"scroll({value}, {mode!r}): rows come in order"
        raise exceptions.NotSupportedError(text)

    def _take(self, result: _native.Result | Gathered | None) -> None:
        self._result = result
        self._changed = -1
        self._place = Place(() if result is None else result.rows)
        self._rows = self._place.rows
        if result is not None and result.lastrowid is not None:
            self._lastrowid = result.lastrowid

    def _check(self) -> None:
        if self._closed:
            text = "cursor is closed"
            raise exceptions.InterfaceError(text)

    def _one(self) -> Any:
        self._check()
        return next(self._rows, None)

    def _many(self, size: int | None) -> list[Any]:
        self._check()
        wanted = self.arraysize if size is None else size
        if wanted < 0:
            text = f"fetchmany() takes a number of rows, got {wanted}"
            raise exceptions.ProgrammingError(text)
        return list(islice(self._rows, wanted))

    def _all(self) -> list[Any]:
        self._check()
        return list(self._rows)

    def _close(self) -> None:
        self._closed = True
        changed = self.rowcount
        self._take(None)
        self._changed = changed  # which SQLAlchemy asks for afterwards
