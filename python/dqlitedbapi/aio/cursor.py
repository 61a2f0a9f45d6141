"""The asyncio cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dqlitedbapi._common import too_many_returned
from dqlitedbapi._rows import Outcome, Rows
from dqlitedbapi._sql import bound, busy_timeout_pragma, check_many, rewrite_begin, verb_of

if TYPE_CHECKING:
    from dqlitedbapi.aio.connection import AsyncConnection

__all__ = ["AsyncCursor"]


class AsyncCursor(Rows):
    """PEP 249's cursor with awaitable methods; `close` is none of them."""

    __slots__ = ("_connection",)

    def __init__(self, connection: AsyncConnection) -> None:
        """Made by `AsyncConnection.cursor`."""
        super().__init__(connection.row_factory)
        self._connection = connection

    @property
    def connection(self) -> AsyncConnection:
        """The connection it was made by."""
        return self._connection

    async def execute(
        self, operation: str, parameters: Sequence[Any] | None = None, /
    ) -> AsyncCursor:
        """Run one statement and return this cursor."""
        self._check()
        verb = verb_of(operation)
        connection = self._connection
        with self._alone():
            asked, milliseconds = busy_timeout_pragma(operation)
            if asked:
                if milliseconds is not None:
                    connection.busy_timeout = milliseconds / 1000
                self._take(Outcome.of_busy_timeout(round(connection.busy_timeout * 1000)))
                return self
            sql = rewrite_begin(operation, connection.session_mode)
            self._take(await connection.run(verb, sql, bound(sql, parameters)))
        return self

    async def executemany(
        self, operation: str, seq_of_parameters: Iterable[Sequence[Any]], /
    ) -> AsyncCursor:
        """Run a statement once for each set of parameters; `rowcount` is the sum.

        Each execution stands by itself unless BEGIN was said. Rows of RETURNING accumulate.
        """
        self._check()
        verb = verb_of(operation)
        check_many(verb, seq_of_parameters)
        with self._alone():
            async with self._connection.alone():
                self._take(await self._each(verb, operation, seq_of_parameters))
        return self

    async def _each(self, verb: str, sql: str, sets: Iterable[Sequence[Any]]) -> Outcome:
        limit = self._connection.max_total_rows
        total = Outcome()
        total.rowcount = 0
        for parameters in sets:
            self._check()
            total.add(await self._connection.run(verb, sql, bound(sql, parameters)))
            if limit is not None and len(total.rows) > limit:
                raise too_many_returned(limit, len(total.rows))
            self._completed += 1
        return total

    async def executescript(self, sql_script: str, /) -> AsyncCursor:
        """Run the statements of a script one after the other; their rows are dropped."""
        self._check()
        with self._alone():
            await self._connection.run_script(sql_script)
        return self

    async def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._one()

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return up to `size` rows (default `arraysize`)."""
        return self._many(size)

    async def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        return self._many(len(self._outcome.rows))

    def close(self) -> None:
        """Let go of the rows; `rowcount` and `lastrowid` stay. Idempotent."""
        self.let_go()

    async def aclose(self) -> None:
        """Do what `close` does."""
        self.let_go()

    def __aiter__(self) -> AsyncCursor:
        """Iterate over the rows that are left."""
        return self

    async def __anext__(self) -> Any:
        """Return the next row."""
        self._check()
        if self._index >= len(self._outcome.rows):
            raise StopAsyncIteration
        return self._one()

    async def __aenter__(self) -> AsyncCursor:
        """Return the cursor itself."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close it."""
        self.let_go()
