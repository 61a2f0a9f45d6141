"""What sync and asyncio cursors have in common: a result, held whole, and a place in it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import Any, Final, NoReturn, TypeAlias

from dqlite import _native
from dqlite.exceptions import DataError, InterfaceError, NotSupportedError, ProgrammingError
from dqlitedbapi._adapt import converted
from dqlitedbapi._common import checked_factory
from dqlitedbapi._sql import CHANGING
from dqlitedbapi.types import UNKNOWN, DBAPIType, DescriptionTuple, RowFactory

Description: TypeAlias = tuple[DescriptionTuple, ...] | None

_NULL: Final = 5


class Outcome:
    """What one statement, or one after the other, answered."""

    __slots__ = ("description", "lastrowid", "rowcount", "rows")

    def __init__(self) -> None:
        """Start with nothing."""
        self.description: Description = None
        self.rows: list[tuple[Any, ...]] = []
        self.rowcount = -1
        self.lastrowid: int | None = None

    @classmethod
    def of(cls, verb: str, result: _native.Result | None) -> Outcome:
        """Read the answer of a statement; DataError if a cell is no moment that Python has."""
        made = cls()
        if result is None:
            return made
        made.lastrowid = result.lastrowid
        if not result.columns:
            made.rowcount = result.rowcount if verb in CHANGING else -1
            return made
        tags = result.tags
        made.rows = [converted(row, given) for row, given in zip(result.rows, tags, strict=True)]
        made.description = described(result.columns, tags)
        made.rowcount = -1 if verb == "pragma" else len(made.rows)
        return made

    @classmethod
    def of_busy_timeout(cls, milliseconds: int) -> Outcome:
        """Answer ``PRAGMA busy_timeout``."""
        made = cls()
        made.description = (("busy_timeout", 1, None, None, None, None, None),)
        made.rows = [(milliseconds,)]
        return made

    def add(self, other: Outcome) -> None:
        """Add the answer of the next execution with another set of parameters."""
        self.description = self.description or other.description
        self.rows += other.rows
        self.rowcount = max(self.rowcount, 0) + max(other.rowcount, 0)


def described(columns: Sequence[str], tags: Sequence[Sequence[int]]) -> Description:
    """Name the columns; their type code is that of the first cell that is not NULL."""
    return tuple(
        (name, _code(place, tags), None, None, None, None, None)
        for place, name in enumerate(columns)
    )


def _code(place: int, tags: Sequence[Sequence[int]]) -> int | DBAPIType:
    return next((row[place] for row in tags if row[place] != _NULL), UNKNOWN)


class Rows:
    """A result and the place up to which it was read."""

    __slots__ = (
        "__weakref__",
        "_arraysize",
        "_closed",
        "_completed",
        "_executing",
        "_index",
        "_lastrowid",
        "_outcome",
        "_row_factory",
        "messages",
    )

    def __init__(self, row_factory: RowFactory | None) -> None:
        """Start without a result."""
        self._outcome = Outcome()
        self._index = 0
        self._lastrowid: int | None = None
        self._arraysize = 1
        self._closed = False
        self._completed = 0
        self._executing = False
        self._row_factory = row_factory
        self.messages: list[tuple[type[Exception], Exception]] = []

    @property
    def description(self) -> Description:
        """One 7-tuple per column: name and type code; None without a result."""
        return None if self._closed else self._outcome.description

    @property
    def rowcount(self) -> int:
        """Rows changed, or rows of the result; -1 for PRAGMA and DDL."""
        return self._outcome.rowcount

    @property
    def lastrowid(self) -> int | None:
        """The row id of the last INSERT or REPLACE of this cursor, or None."""
        return self._lastrowid

    @property
    def rownumber(self) -> int | None:
        """The number of the next row, from 0; None without a result."""
        return None if self.description is None else self._index

    @property
    def arraysize(self) -> int:
        """How many rows `fetchmany` gives if it is not told."""
        return self._arraysize

    @arraysize.setter
    def arraysize(self, value: int) -> None:
        self._check_caller()
        self._arraysize = _count(value, "arraysize must be")

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def row_factory(self) -> RowFactory | None:
        """What it makes of a row; None for tuples."""
        return self._row_factory

    @row_factory.setter
    def row_factory(self, value: RowFactory | None) -> None:
        self._check_caller()
        self._row_factory = checked_factory(value)

    @property
    def completed_iterations(self) -> int:
        """How many sets of parameters the last `executemany` has executed."""
        return self._completed

    def let_go(self) -> None:
        """Close it, whoever asks. For connections."""
        self._closed = True
        self._outcome.rows = []

    def _check_caller(self) -> None:
        """Raise if the caller may not touch this."""

    def _check(self) -> None:
        self._check_caller()
        if self._closed:
            text = f"Cursor is closed (id={id(self)})"
            raise InterfaceError(text)

    @contextlib.contextmanager
    def _alone(self) -> Generator[None, None, None]:
        """Forget the result of the last statement, and let nobody else execute meanwhile."""
        if self._executing:
            text = (
                f"cursor is already executing in another task (id={id(self)}); "
                "use one cursor per task"
            )
            raise InterfaceError(text)
        self._executing = True
        self._take(Outcome())
        self._completed = 0
        try:
            yield
        finally:
            self._executing = False

    def _take(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._index = 0
        if outcome.lastrowid is not None:
            self._lastrowid = outcome.lastrowid

    def _one(self) -> Any:
        self._check()
        rows = self._outcome.rows
        if self._index >= len(rows):
            return None
        row: Any = rows[self._index]
        if self._row_factory is not None:
            try:
                row = self._row_factory(self, row)
            except TypeError as error:
                text = f"row_factory call failed: {error}"
                raise DataError(text) from error
        self._index += 1
        return row

    def _many(self, size: int | None) -> list[Any]:
        self._check()
        wanted = self._arraysize if size is None else _count(size, "fetchmany size must be")
        rows: list[Any] = []
        while len(rows) < wanted and self._index < len(self._outcome.rows):
            rows.append(self._one())
        return rows

    def setinputsizes(self, sizes: Sequence[Any] | None, /) -> None:
        """Do nothing: PEP 249 asks for the method."""
        self._check_caller()
        given = type(sizes)
        unfit = issubclass(given, (str, bytes, bytearray, memoryview))
        if sizes is not None and (unfit or not issubclass(given, Sequence)):
            text = f"setinputsizes expects a Sequence of size hints, got {given.__name__}"
            raise ProgrammingError(text)

    def setoutputsize(self, size: int | None, column: int | None = None, /) -> None:
        """Do nothing: PEP 249 asks for the method."""
        self._check_caller()
        for given in (size, column):
            if given is not None and (isinstance(given, bool) or not _is_int(given)):
                text = (
                    f"setoutputsize expects an int for size and column, got {type(given).__name__}"
                )
                raise ProgrammingError(text)

    def callproc(self, procname: str, parameters: Sequence[Any] | None = None, /) -> NoReturn:
        """Raise NotSupportedError: SQLite has no stored procedures."""
        given = "" if parameters is None else ", ..."
        self._refuse(f"callproc({procname!r}{given}): SQLite has no stored procedures")

    def nextset(self) -> NoReturn:
        """Raise NotSupportedError: a statement has one result."""
        self._refuse("nextset(): there are no multiple result sets")

    def scroll(self, value: int, mode: str = "relative", /) -> NoReturn:
        """Raise NotSupportedError: rows come in order."""
        self._refuse(f"scroll({value}, {mode!r}): cursors are not scrollable")

    def _refuse(self, text: str) -> NoReturn:
        self._check()
        raise NotSupportedError(text)

    def __repr__(self) -> str:
        """Say whether it is open and what the last statement counted."""
        state = "closed" if self._closed else "open"
        return f"<{type(self).__name__} rowcount={self.rowcount} {state} at 0x{id(self):x}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: rows can be pickled, the way to them cannot."""
        text = (
            f"cannot pickle {type(self).__name__!r}: cursors reference a live connection; "
            "fetch the rows and pickle those instead"
        )
        raise TypeError(text)


def _is_int(value: object) -> bool:
    return isinstance(value, int)


def _count(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        text = f"{what} a non-negative int, got {value!r}"
        raise ProgrammingError(text)
    return value
