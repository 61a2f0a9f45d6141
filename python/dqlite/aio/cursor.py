"""`Cursor`: the rows of a statement, and `Execution`: a statement on its way to one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Generator, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from dqlite import _native, arrow, exceptions
from dqlite._cursor import Gathered, Rows
from dqlite._options import Timeout
from dqlite.aio import _loop
from dqlite.rows import RowFactory, shape_of

if TYPE_CHECKING:
    from dqlite.aio.connection import Connection

_END: Final = object()


class Cursor(Rows):
    """The answer to one statement.

    `rowcount`, `lastrowid` and `description` are there at once; rows are awaited::

        cursor = await conn.execute("SELECT id, name FROM users")
        async for row in cursor:
            print(row["name"])

    A result that does not fit one message is read while it is used: the server waits for a slow
    reader. Another statement on the same connection has the rest set aside first, up to 64 MiB.
    Errors in the middle are raised by the call that meets them.
    """

    def __init__(self, connection: Connection | None, factory: RowFactory | None = None) -> None:
        """Made by `Connection.execute` and `Connection.cursor`; tuples go through `factory`."""
        super().__init__()
        self._connection = connection
        self._factory = factory
        self._session: _native.Connection | None = None
        self._stream: _native.Stream | None = None
        self._source: tuple[_native.Stream, _native.Connection] | None = None
        self._pending: tuple[str, tuple[Any, ...]] | None = None
        self._prefetch: int | None = None
        self._chosen: tuple[_native.Projection, RowFactory | None] | None = None
        self.projection: _native.Projection | None = None
        """What it asks for; None for what its connection does. For `Connection`."""

    @property
    def connection(self) -> Connection | None:
        """The connection it was made by; None for a result that a pool gave out."""
        return self._connection

    def with_row_factory(self, row_factory: RowFactory | None) -> Cursor:
        """Set what is made of rows from the next statement on, and return this cursor::

        cursor = conn.cursor("SELECT name FROM users").with_row_factory(dqlite.rows.scalar_row)
        """
        shape = shape_of(row_factory)
        projection = self._connected().stream_of(shape or "tuple")
        self._chosen = projection, None if shape else row_factory
        return self

    async def execute(self, sql: str, *args: Any, timeout: Timeout = ...) -> Cursor:
        """Run one statement, forget the rows of the one before, and return this cursor."""
        self._check()
        self._leave()
        self._pending = None
        connection = self._connected()
        if self._chosen is not None:
            self.projection, self._factory = self._chosen
        await connection.run_into(self, sql, args, timeout)
        return self

    async def executemany(self, sql: str, sets: Iterable[Any], *, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.executemany`; `rowcount` is the sum."""
        self._check()
        self._leave()
        connection = self._connected()
        self._take(None)
        self._changed = await connection.executemany(sql, sets, timeout=timeout)
        return self

    async def executescript(self, script: str, /, *, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.executescript`."""
        self._check()
        self._leave()
        connection = self._connected()
        self._take(None)
        self._pending = None
        await connection.executescript(script, timeout=timeout)
        return self

    async def fetchone(self) -> Any:
        """Return the next row, or None."""
        row = await self._next()
        return None if row is _END else row

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return up to `size` rows (default `arraysize`); an empty list at the end."""
        rows: list[Any] = []
        wanted = self.arraysize if size is None else size
        while len(rows) < wanted and (row := await self._next()) is not _END:
            rows.append(row)
        return rows

    async def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        await self._start()
        rows = self._all()
        while await self._more():
            rows += self._rows
        return rows

    async def fetch_arrow(
        self, *, batch_rows: int = arrow.BATCH_ROWS, types: arrow.ColumnTypes | None = None
    ) -> arrow.ArrowTable:
        """Return the rows that are left as a table of Arrow, as `dqlite.Cursor.fetch_arrow`::

        cursor = await conn.execute("SELECT id, total FROM orders")
        frame = polars.DataFrame(await cursor.fetch_arrow())
        """
        source = await self._to_arrow(batch_rows, types, whole=True)
        if isinstance(source, arrow.ArrowTable):
            return source
        table = await _batch(*source)
        if table is None:
            text = "the rest of this result went to Arrow"
            raise exceptions.InterfaceError(text)
        return table

    async def fetch_arrow_stream(
        self, *, batch_rows: int = arrow.BATCH_ROWS, types: arrow.ColumnTypes | None = None
    ) -> AsyncIterator[arrow.ArrowTable]:
        """Give the rows that are left as tables of one batch each, as they come::

        async for table in cursor.fetch_arrow_stream():
            print(table.num_rows)

        The first batch decides the types of the columns unless `types` does.
        """
        source = await self._to_arrow(batch_rows, types, whole=False)
        if isinstance(source, arrow.ArrowTable):
            yield source
            return
        while (table := await _batch(*source)) is not None:
            yield table

    async def _to_arrow(
        self, batch_rows: int, types: arrow.ColumnTypes | None, *, whole: bool
    ) -> arrow.ArrowTable | tuple[_native.Stream, _native.Connection]:
        """Have what is left gathered as Arrow: the stream it comes from, or all of it."""
        self._check()
        await self._start()
        left, source = self._place.left(), self._source
        made: arrow.ArrowTable | tuple[_native.Stream, _native.Connection]
        if source is None:
            made = arrow.whole(self._result, left, batch_rows, types)
        else:
            made = source
            source[0].to_arrow(left, batch_rows, arrow.pairs(types), whole)
        self._place.rows = self._rows = iter(())
        return made

    async def close(self) -> None:
        """Let go of the rows; the rest of a result that still comes is dropped. Idempotent."""
        self._leave()
        self._close()

    def receive(
        self, answer: _native.Result | _native.Stream | None, session: _native.Connection | None
    ) -> None:
        """Take the answer to a statement. For `Connection`."""
        if isinstance(answer, _native.Stream):
            self._stream, self._session = answer, session
            if self._prefetch is not None:
                answer.prefetch(self._prefetch)
            self._take(Gathered.described(answer))
            self._source = None if session is None else (answer, session)
        else:
            self._take(answer)
            self._rows = self._through(self._rows)

    def defer(self, sql: str, args: tuple[Any, ...], prefetch: int | None) -> Cursor:
        """Run a statement when the first row is asked for. For `Connection.cursor`."""
        self._pending, self._prefetch = (sql, args), prefetch
        return self

    def _connected(self) -> Connection:
        if self._connection is None:
            text = "this cursor has no connection"
            raise exceptions.InterfaceError(text)
        return self._connection

    async def _start(self) -> None:
        if self._pending is not None:
            sql, args = self._pending
            await self.execute(sql, *args)

    async def _next(self) -> Any:
        self._check()
        await self._start()
        for row in self._rows:
            return row
        return next(self._rows) if await self._more() else _END

    async def _more(self) -> bool:
        """Bring further rows; False at the end."""
        stream, session = self._stream, self._session
        while stream is not None and session is not None:
            rows = stream.take()
            if rows:
                self._place.rows = iter(rows)
                self._rows = self._through(self._place.rows)
                return True
            if stream.done:
                self._stream = None
                return False
            waiting = session.more(stream)
            if waiting is not None:
                await waiting
        return False

    def _through(self, rows: Iterator[Any]) -> Iterator[Any]:
        factory = self._factory
        return rows if factory is None else (factory(self, row) for row in rows)

    def _leave(self) -> None:
        self._source = None
        stream, self._stream = self._stream, None
        if stream is not None and not stream.done and self._session is not None:
            self._session.leave(stream)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the rows that are here."""
        return self._rows

    def __aiter__(self) -> Cursor:
        """Iterate over the rows that are left."""
        return self

    async def __anext__(self) -> Any:
        """Return the next row."""
        row = await self._next()
        if row is _END:
            raise StopAsyncIteration
        return row

    async def __aenter__(self) -> Cursor:
        """Return the cursor itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    def __del__(self) -> None:
        """Drop the rest of a result that still comes, on the thread of the loop."""
        stream, session = getattr(self, "_stream", None), getattr(self, "_session", None)
        connection = getattr(self, "_connection", None)
        if stream is None or session is None or connection is None or session.closed:
            return
        loop = connection.loop
        if loop is None or loop.is_closed():
            return
        if _loop.is_inside(loop):
            session.leave(stream)
        else:
            loop.call_soon_threadsafe(session.leave, stream)


def gathered(answer: _native.Result | None, factory: RowFactory | None) -> Cursor:
    """Return a cursor over a complete result."""
    cursor = Cursor(None, factory)
    cursor.receive(answer, None)
    return cursor


async def _batch(stream: _native.Stream, session: _native.Connection) -> arrow.ArrowTable | None:
    """Wait for the next batch, or the whole; None at the end."""
    while True:
        done = stream.done
        table = stream.take_arrow()
        if table is not None or done:
            return table
        waiting = session.more(stream)
        if waiting is not None:
            await waiting


class Execution:
    """A statement that is sent when this is awaited or entered.

    ``cursor = await conn.execute(...)`` or ``async with conn.execute(...) as cursor``.
    """

    __slots__ = ("_cursor", "_work")

    def __init__(self, work: Coroutine[Any, Any, Cursor]) -> None:
        """Made by `Connection.execute`."""
        self._work = work
        self._cursor: Cursor | None = None

    def __await__(self) -> Generator[Any, Any, Cursor]:
        """Send it and return the cursor."""
        return self._work.__await__()

    async def __aenter__(self) -> Cursor:
        """Send it and return the cursor."""
        self._cursor = await self._work
        return self._cursor

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close the cursor."""
        if self._cursor is not None:
            await self._cursor.close()
