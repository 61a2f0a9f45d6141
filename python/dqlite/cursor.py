"""`Cursor`: the rows of an executed statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dqlite import _native, arrow
from dqlite._cursor import Gathered, Place, Rows
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
        self._source: tuple[_native.Stream, _native.Connection] | None = None
        self.row_factory: RowFactory | None = connection.row_factory
        """What it makes of a row: the connection's at first; see `dqlite.rows`."""

    @property
    def connection(self) -> Connection:
        """The connection it was made by."""
        return self._connection

    def with_row_factory(self, row_factory: RowFactory | None) -> Cursor:
        """Set what is made of rows from the next statement on, and return this cursor."""
        self.row_factory = row_factory
        return self

    def execute(self, sql: str, params: Params = (), /, *, timeout: Timeout = ...) -> Cursor:
        """Run one statement, forget the rows of the one before, and return this cursor."""
        self._check()
        self._leave()
        shape = self._shape()
        answer, session = self._connection.run(sql, params, shape or "tuple", timeout)
        if isinstance(answer, _native.Stream) and session is not None:
            self._take(Gathered.described(answer))
            self._source = answer, session
            self._rows = _reading(self._connection, answer, session, self._place)
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

    def fetch_arrow(
        self, *, batch_rows: int = arrow.BATCH_ROWS, types: arrow.ColumnTypes | None = None
    ) -> arrow.ArrowTable:
        """Return the rows that are left as a table of Arrow::

        table = conn.execute("SELECT id, total FROM orders").fetch_arrow()
        frame = polars.DataFrame(table)  # or pyarrow.table(table), duckdb.from_arrow(table)

        No Python object is made of a cell. All rows decide the types of the columns, see
        `dqlite.arrow`; `types` decides for some, ``{"total": "float64"}``. A statement that gives
        no rows gives a table without columns.
        """
        self._check()
        left, source = self._place.left(), self._source
        if source is None:
            table = arrow.whole(self._result, left, batch_rows, types)
            self._empty()
            return table
        stream, session = source
        stream.to_arrow(left, batch_rows, arrow.pairs(types), True)
        self._empty()
        while (table := stream.take_arrow()) is None:
            self._connection.read_on(session, stream)
        return table

    def fetch_arrow_stream(
        self, *, batch_rows: int = arrow.BATCH_ROWS, types: arrow.ColumnTypes | None = None
    ) -> arrow.ArrowStream:
        """Return the rows that are left as a stream of Arrow, which is read as it comes::

        stream = conn.execute("SELECT * FROM log").fetch_arrow_stream()
        for batch in pyarrow.RecordBatchReader.from_stream(stream): ...

        The first batch decides the types of the columns unless `types` does. Memory is that of a
        batch, which ends after `batch_rows` or 64 MiB of text. Nothing is left in the cursor.
        """
        self._check()
        source = self._source
        if source is None:
            return arrow.ArrowStream.of(self.fetch_arrow(batch_rows=batch_rows, types=types))
        stream, session = source
        stream.to_arrow(self._place.left(), batch_rows, arrow.pairs(types), False)
        self._empty()
        self._source = None
        read_on = self._connection.reader(session, stream)
        return arrow.ArrowStream.reading(stream, session, read_on)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return `fetch_arrow_stream` as a PyCapsule: ``polars.DataFrame(cursor)``."""
        return self.fetch_arrow_stream().__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        """Let go of the rows; the rest of a result that still comes is dropped. Idempotent."""
        source, self._source = self._source, None
        self._close()
        if source is not None:
            arrow.leave(*source)

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

    def _empty(self) -> None:
        """Forget the rows that are here."""
        self._place.rows = self._rows = iter(())

    def _leave(self) -> None:
        """Forget the result; the rest of it is dropped."""
        self._take(None)
        source, self._source = self._source, None
        if source is not None:
            arrow.leave(*source)

    def __del__(self) -> None:
        """Drop the rest of a result that still comes."""
        source = getattr(self, "_source", None)
        if source is not None:
            arrow.leave(*source)


def _reading(
    connection: Connection, stream: _native.Stream, session: _native.Connection, place: Place
) -> Iterator[Any]:
    """Give rows as they come."""
    while True:
        rows = stream.take()
        place.rows = iter(rows)
        yield from place.rows
        if not rows:
            if stream.done:
                return
            connection.read_on(session, stream)
