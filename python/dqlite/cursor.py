"""`Cursor`: the rows of an executed statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dqlite import _native, exceptions
from dqlite._cursor import Gathered, Rows
from dqlite._options import Timeout
from dqlite._parameters import Params
from dqlite.rows import RowFactory, Shape, shape_of, tuple_row

if TYPE_CHECKING:
    from dqlite.connection import Connection


class Cursor(Rows):
    """The answer to one statement, read row by row::

    cursor = conn.execute("SELECT id, name FROM users")
    for row in cursor:
        print(row["name"])

    Attributes and methods are those of PEP 249; without a result, the fetching ones give None or an
    empty list, as in stdlib ``sqlite3``.
    """

    def __init__(self, connection: Connection) -> None:
        """Made by `Connection.cursor` and `Connection.execute`."""
        super().__init__()
        self._connection = connection
        self.row_factory: RowFactory | None = connection.row_factory
        """What it makes of a row: the connection's at first; see `dqlite.rows`."""

    @property
    def connection(self) -> Connection:
        """The connection it was made by."""
        return self._connection

    def execute(self, sql: str, params: Params = (), /, *, timeout: Timeout = ...) -> Cursor:
        """Run one statement, forget the rows of the one before, and return this cursor."""
        self._check()
        self._take(None)
        shape = self._shape()
        self._show(self._connection.run(sql, params, shape or "tuple", timeout), shape)
        return self

    def executemany(self, sql: str, sets: Iterable[Params], /, *, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.executemany`; `rowcount` is the sum."""
        self._check()
        self._take(None)
        shape = self._shape()
        self._show(self._connection.run_each(sql, sets, shape or "tuple", timeout), shape)
        return self

    def executescript(self, script: str, /, *, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.executescript`."""
        self._check()
        self._take(None)
        self._connection.executescript(script, timeout=timeout)
        return self

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._one()

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return up to `size` rows (default `arraysize`); an empty list at the end."""
        return self._many(size)

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        return self._all()

    def close(self) -> None:
        """Let go of the rows; idempotent."""
        self._close()

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

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the rows that are left."""
        return self

    def __next__(self) -> Any:
        """Return the next row."""
        self._check()
        return next(self._rows)

    def __enter__(self) -> Cursor:
        """Return the cursor itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close it."""
        self._close()

    def _show(self, result: _native.Result | Gathered | None, shape: Shape | None) -> None:
        self._take(result)
        if shape is None and result is not None:
            self._rows = self._made(result)

    def _shape(self) -> Shape | None:
        """Return the shape of rows that the decoder builds; None if `_made` makes them."""
        return shape_of(self.row_factory)

    def _made(self, result: _native.Result | Gathered) -> Iterator[Any]:
        """Make rows of tuples, one at a time as they are fetched."""
        factory = self.row_factory or tuple_row
        return (factory(self, row) for row in result.rows)
