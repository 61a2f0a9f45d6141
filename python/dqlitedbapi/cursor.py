"""The synchronous cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dqlitedbapi._common import too_many_returned
from dqlitedbapi._rows import Outcome, Rows
from dqlitedbapi._sql import bound, busy_timeout_pragma, check_many, rewrite_begin, verb_of

if TYPE_CHECKING:
    from dqlitedbapi.connection import Connection

__all__ = ["Cursor"]


class Cursor(Rows):
    """PEP 249's cursor; a result is held whole as soon as `execute` returns."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        """Made by `Connection.cursor`."""
        super().__init__(connection.row_factory)
        self._connection = connection

    @property
    def connection(self) -> Connection:
        """The connection it was made by."""
        return self._connection

    def execute(self, operation: str, parameters: Sequence[Any] | None = None, /) -> Cursor:
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
            self._take(connection.run(verb, sql, bound(sql, parameters)))
        return self

    def executemany(self, operation: str, seq_of_parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Run a statement once for each set of parameters; `rowcount` is the sum.

        Each execution stands by itself unless BEGIN was said. Rows of RETURNING accumulate.
        """
        self._check()
        verb = verb_of(operation)
        check_many(verb, seq_of_parameters)
        with self._alone(), self._connection.alone():
            limit = self._connection.max_total_rows
            total = Outcome()
            total.rowcount = 0
            for parameters in seq_of_parameters:
                self._check()
                total.add(self._connection.run(verb, operation, bound(operation, parameters)))
                if limit is not None and len(total.rows) > limit:
                    raise too_many_returned(limit, len(total.rows))
                self._completed += 1
            self._take(total)
        return self

    def executescript(self, sql_script: str, /) -> Cursor:
        """Run the statements of a script one after the other; their rows are dropped."""
        self._check()
        with self._alone():
            self._connection.run_script(sql_script)
        return self

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._one()

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return up to `size` rows (default `arraysize`)."""
        return self._many(size)

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        return self._many(len(self._outcome.rows))

    def close(self) -> None:
        """Let go of the rows; `rowcount` and `lastrowid` stay. Idempotent."""
        self._check_caller()
        self.let_go()

    def _check_caller(self) -> None:
        self._connection.check_thread()

    def __iter__(self) -> Cursor:
        """Iterate over the rows that are left."""
        return self

    def __next__(self) -> Any:
        """Return the next row."""
        self._check()
        if self._index >= len(self._outcome.rows):
            raise StopIteration
        return self._one()

    def __enter__(self) -> Cursor:
        """Return the cursor itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
