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
        self._leave()
        shape = self._shape()
        answer, session = self._connection.run(sql, params, shape or "tuple", timeout)
        if isinstance(answer, _native.Stream) and session is not None:
            self._take(Gathered.described(answer))
            self._rows = self._reading(answer, session)
        elif not isinstance(answer, _native.Stream):
            self._take(answer)
        if shape is None:
            self._rows = self._made(self._rows)
        return self

    def executemany(self, sql: str, sets: Iterable[Params], /, *, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.executemany`; `rowcount` is the sum."""
        self._check()
        self._leave()
        shape = self._shape()
        self._take(self._connection.run_each(sql, sets, shape or "tuple", timeout))
        if shape is None:
            self._rows = self._made(self._rows)
        return self

    def executescript(self, script: str, /, *, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.executescript`."""
        self._check()
        self._leave()
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
        """Let go of the rows; the rest of a result that still comes is dropped. Idempotent."""
        self._leave()
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
        self.close()

    def _shape(self) -> Shape | None:
        """Return the shape of rows that the decoder builds; None if `_made` makes them."""
        return shape_of(self.row_factory)

    def _made(self, rows: Iterator[Any]) -> Iterator[Any]:
        """Make rows of tuples, one at a time as they are fetched."""
        factory = self.row_factory or tuple_row
        return (factory(self, row) for row in rows)

    def _reading(self, stream: _native.Stream, session: _native.Connection) -> Iterator[Any]:
        """Give rows as they come; the rest is dropped when nobody wants it any more."""
        try:
            while True:
                rows = stream.take()
                yield from rows
                if not rows:
                    if stream.done:
                        return
                    self._connection.read_on(session, stream)
        finally:
            if not (stream.done or session.foreign):
                session.leave(stream)

    def _leave(self) -> None:
        self._take(None)  # the iterator that reads a stream ends with it
