"""A connection that a pool lends to a thread."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeAlias

from dqlite import exceptions
from dqlite._control import Control
from dqlite._options import Timeout
from dqlite._parameters import Params
from dqlite._state import State
from dqlite.connection import Connection
from dqlite.cursor import Cursor
from dqlite.rows import RowFactory

if TYPE_CHECKING:
    from dqlite._books import Books, Member
    from dqlite.pool import ConnectionPool

Hook: TypeAlias = Callable[[Connection], object]
"""Called with a connection of the pool; its result does not matter."""

RESET_TIMEOUT_S: Final = 1.0


class Lent(Connection):
    """A borrowed connection; ``with`` gives it back."""

    def __init__(
        self,
        pool: ConnectionPool,
        books: Books,
        member: Member,
        control: tuple[bool | int, str | None],
        row_factory: RowFactory | None,
    ) -> None:
        """Made by `ConnectionPool`."""
        super().__init__(member.state.options, Control(*control))
        self._state = member.state
        self._row_factory = row_factory
        self._lent: tuple[ConnectionPool, Books, Member] | None = (pool, books, member)

    def is_of(self, pool: ConnectionPool) -> bool:
        """Whether the pool lent it, or it was given back before."""
        return self._lent is None or self._lent[0] is pool

    def release(self) -> None:
        """Give it back; idempotent."""
        if self._lent is not None:
            pool, _, member = self._lent
            pool.take_back(self, member)

    def give_back(self) -> None:
        """Part from what the pool lent; afterwards any use is an InterfaceError."""
        self._lent = None
        self._state = _Released(self._state.options)

    def open_by(self, deadline: float | None) -> None:
        """Find the leader and open the database unless that is done."""
        with self._gate.turn(None):
            self._ready(deadline)

    def clean(self) -> None:
        """Roll back what is open, give up what still comes."""
        state = self._state
        session = state.session
        if session is None or session.closed:
            state.mark(broken=False)
            return
        session.leave_all()
        if state.in_transaction:
            try:
                self._roll_back(monotonic() + RESET_TIMEOUT_S)
            except exceptions.Error:
                session.terminate()

    def execute_whole(self, sql: str, params: Params, timeout: Timeout) -> Cursor:
        """Run one statement and return a cursor that has all its rows."""
        return _Whole(self).gather(sql, params, timeout)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Give it back."""
        self.release()

    def __del__(self) -> None:
        """Warn if nobody gave it back; its place is free again."""
        lent = getattr(self, "_lent", None)
        if lent is None:
            return
        _, books, member = lent
        session = member.state.session
        if books.closed or (session is not None and session.foreign):
            return
        books.write_off(member)
        warnings.warn(
            f"{self.name!r} was garbage-collected before it was given back to its pool",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )


class _Released(State):
    """The state of a connection that is nobody's."""

    def check(self) -> None:
        """Raise."""
        text = "connection was released to its pool"
        raise exceptions.InterfaceError(text)


class _Whole(Cursor):
    """A cursor that outlives the loan of its connection."""

    def gather(self, sql: str, params: Params, timeout: Timeout) -> Cursor:
        """Run a statement and read all rows."""
        self.execute(sql, params, timeout=timeout)
        self._rows = iter(self.fetchall())
        return self
