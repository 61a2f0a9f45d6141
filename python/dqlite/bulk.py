"""Many rows into a table at once: from an iterable, or from anything that speaks Arrow.

::

    conn.bulk_load("orders", rows, columns=["id", "total"])
    conn.bulk_load("orders", polars_frame, progress=lambda rows: print(rows))

See `dqlite.Connection.bulk_load`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, runtime_checkable

from dqlite import _native, exceptions
from dqlite._options import Timeout
from dqlite._parameters import Params

if TYPE_CHECKING:
    from dqlite import aio
    from dqlite.connection import Connection

TRANSACTION_BYTES: Final = 4 << 20
"""Values of one transaction. A commit is one message between nodes: beyond some ten MiB it takes
longer than the patience of an election."""
LOT_BYTES: Final = 1 << 20
"""Values after which the callback is called, and of one statement at most."""
LOT_ROWS: Final = 65_536
"""Rows after which it is called, too."""
SET_PARAMETERS: Final = 1024
"""Values of one INSERT. Measured: 4 times as fast as 40, and 50 times as 32,765, which SQLite takes
far longer to compile."""


@runtime_checkable
class HasArrow(Protocol):
    """A table, frame or stream of Arrow: pyarrow, polars, pandas, duckdb, `dqlite.arrow`."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return a stream as a PyCapsule."""
        ...


Source: TypeAlias = "Iterable[Params] | HasArrow"
"""Rows: sequences of values or dicts, all alike, or a table of Arrow."""

AsyncSource: TypeAlias = "Source | AsyncIterable[Params]"
"""The same, or rows that somebody must be waited for."""

Progress: TypeAlias = Callable[[int], object]
"""Called with the number of rows that the server has taken so far."""


class Plan:
    """The statements of one load, and how many rows are surely in. Without I/O."""

    def __init__(
        self,
        table: str,
        source: Source,
        columns: Sequence[str] | None,
        *,
        strict: bool,
        progress: Progress | None,
        before: int = 0,
    ) -> None:
        """Read the first row, or the schema; ProgrammingError names what is wrong.

        `before` is how many rows of the load went before those of `source`.
        """
        self.loader = _native.Loader(source, strict)
        names = self.loader.columns if columns is None else list(columns)
        self.width = self.loader.width
        if names is not None and self.width not in {0, len(names)}:
            text = f"{len(names)} columns for rows of {self.width} values"
            raise exceptions.ProgrammingError(text, outcome="not_sent")
        named = "" if names is None else f" ({', '.join(map(quoted, names))})"
        self._head = f"INSERT INTO {quoted(table)}{named} VALUES "  # noqa: S608 - names are quoted
        self._row = f"({', '.join('?' * self.width)})"
        self.set_rows = max(SET_PARAMETERS // max(self.width, 1), 1)
        self.done = self.committed = self._base = self._before = before
        self._progress = progress

    def sql(self, rows: int) -> str:
        """Return the statement that inserts so many rows."""
        return self._head + ", ".join([self._row] * rows)

    def lot(self) -> Iterable[Any]:
        """Return the next rows as sets of parameters, `set_rows` in each."""
        self._base = self._before + self.loader.taken
        return self.loader.lot(self.set_rows, LOT_ROWS, LOT_BYTES)

    def rest(self) -> tuple[Iterable[Any], int] | None:
        """Return what the lot left as one set, and of how many rows it is."""
        rest = self.loader.rest()
        if rest is None:
            return None
        self._base = self._before + self.loader.taken - rest[1]
        return [rest[0]], rest[1]

    def inserted(self) -> None:
        """Note that the server has taken what was taken from the source."""
        self.done = self._before + self.loader.taken
        if self._progress is not None:
            self._progress(self.done)

    def told(self, error: exceptions.Error) -> None:
        """Say in an error where it was, and how many rows are surely in."""
        if error.index is not None:
            error.index = self._base + error.index * self.set_rows
        error.rows_loaded = self.committed
        error.message += f" ({self.committed} rows are surely in)"


def quoted(name: str) -> str:
    """Return a name as SQL writes it, whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def bulk_load(
    connection: Connection, plan: Plan, *, commits: bool, atomic: bool, timeout: Timeout
) -> int:
    """Do `Connection.bulk_load`; unless it `commits`, a transaction is left open."""
    try:
        while plan.loader.more():
            if commits:
                with connection.transaction(timeout=timeout):
                    _transaction(connection, plan, timeout, atomic=atomic)
            else:
                _transaction(connection, plan, timeout, atomic=True)
            if not connection.in_transaction:
                plan.committed = plan.done
    except exceptions.Error as error:
        plan.told(error)
        raise
    return plan.done


def _transaction(connection: Connection, plan: Plan, timeout: Timeout, *, atomic: bool) -> None:
    budget = TRANSACTION_BYTES
    while budget > 0 and plan.loader.more():
        connection.run_each(plan.sql(plan.set_rows), plan.lot(), "tuple", timeout)
        rest = plan.rest()
        if rest is not None:
            one, rows = rest
            connection.run_each(plan.sql(rows), one, "tuple", timeout)
        plan.inserted()
        budget -= 0 if atomic else LOT_BYTES


async def bulk_load_awaited(
    connection: aio.Connection,
    plan: Callable[[Iterable[Params], int], Plan],
    source: AsyncIterable[Params],
    *,
    atomic: bool,
    timeout: Timeout,
) -> int:
    """Do `dqlite.aio.Connection.bulk_load` of rows that must be waited for.

    They are gathered into lots, outside of transactions unless it is `atomic`; `plan` makes the
    plan of one lot and of how many rows went before it.
    """
    done = 0
    async with AsyncExitStack() as block:
        if atomic:
            await block.enter_async_context(connection.transaction(timeout=timeout))
        async for lot in await block.enter_async_context(aclosing(_lots(source))):
            made = plan(lot, done)
            if atomic or connection.is_in_transaction():
                made.committed = 0
            done = await bulk_load_async(connection, made, atomic=False, timeout=timeout)
    return done


async def _lots(source: AsyncIterable[Params]) -> AsyncGenerator[list[Params], None]:
    lot: list[Params] = []
    async for row in source:
        lot.append(row)
        if len(lot) == LOT_ROWS:
            yield lot
            lot = []
    if lot:
        yield lot


async def bulk_load_async(
    connection: aio.Connection, plan: Plan, *, atomic: bool, timeout: Timeout
) -> int:
    """Do `dqlite.aio.Connection.bulk_load`."""
    try:
        while plan.loader.more():
            async with connection.transaction(timeout=timeout):
                budget = TRANSACTION_BYTES
                while budget > 0 and plan.loader.more():
                    sql = plan.sql(plan.set_rows)
                    await connection.executemany(sql, plan.lot(), timeout=timeout)
                    rest = plan.rest()
                    if rest is not None:
                        one, rows = rest
                        await connection.executemany(plan.sql(rows), one, timeout=timeout)
                    plan.inserted()
                    budget -= 0 if atomic else LOT_BYTES
            if not connection.is_in_transaction():
                plan.committed = plan.done
    except exceptions.Error as error:
        plan.told(error)
        raise
    return plan.done
