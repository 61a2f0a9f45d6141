"""What a connection offers beside statements: facts, copies of its database, who watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dqlite._core import Core
from dqlite._refused import Refused
from dqlite._state import VERSION
from dqlite._watch import LoggedQuery, check_callback

if TYPE_CHECKING:
    from dqlite._copy import BackupTarget


class Beside(Refused, Core):
    """The part of `Connection` that is not about statements and transactions."""

    @property
    def database(self) -> str:
        """The name of the database."""
        return self._state.options.config.database

    @property
    def name(self) -> str:
        """The name given to `connect`, else that of the database."""
        return self._state.options.name

    @property
    def address(self) -> str | None:
        """The node of the current session, or None."""
        return self._state.address

    @property
    def session_number(self) -> int:
        """1 for the first session with a server, one more after each reconnect."""
        return self._state.session_number

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._state.closed

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, going by what the server answered."""
        return self._state.in_transaction

    @property
    def transaction_broken(self) -> bool:
        """Whether the open transaction can only be rolled back."""
        return self._state.broken

    @property
    def timeout(self) -> float | None:
        """The deadline of each call in seconds; None for none."""
        return self._state.options.timeout

    @timeout.setter
    def timeout(self, value: float | None) -> None:
        self._state.options = self._state.options._replace(timeout=value)

    @property
    def busy_timeout(self) -> float:
        """How long a statement may wait for the write lock, in seconds."""
        return self._state.options.busy_timeout

    @busy_timeout.setter
    def busy_timeout(self, value: float) -> None:
        self._state.options = self._state.options._replace(busy_timeout=value)

    @property
    def server_version(self) -> tuple[int, ...]:
        """SQLite's version at the server, which is asked once in each session."""
        known = self._state.server_version
        if known is not None and self._state.usable() and not self.closed:
            return known
        cell = self._state.projections.cell(0)
        return self._state.learn_version(self.perform(cell, VERSION, (), begins=False))

    def iterdump(self, *, filter: str | None = None) -> Iterator[str]:
        """Yield the database as SQL text, line by line, as stdlib ``sqlite3`` does.

        Reads inside one transaction, so that all lines are of one moment. `filter` is a LIKE
        pattern for names.
        """
        from dqlite import _copy  # noqa: PLC0415 - it needs sqlite3, which few programs want

        return _copy.iterdump(self, filter)

    def backup(
        self,
        target: BackupTarget,
        *,
        pages: int = -1,
        progress: Callable[[int, int, int], object] | None = None,
        name: str = "main",
        sleep: float = 0.25,
    ) -> None:
        """Copy the database into a ``sqlite3.Connection`` or a file.

        The leader's committed state is fetched whole, then copied by Python's own ``sqlite3``:
        `pages`, `progress` ``(status, remaining, total)`` and `sleep` (seconds) are those of its
        ``backup``. A file is written beside `target` and renamed when it is complete.
        """
        from dqlite import _copy  # noqa: PLC0415 - it needs sqlite3, which few programs want

        _copy.backup(self, target, pages=pages, progress=progress, name=name, sleep=sleep)

    def serialize(self, *, name: str = "main") -> bytes:
        """Return the database file, ready for ``sqlite3.Connection.deserialize``."""
        from dqlite import _copy  # noqa: PLC0415 - it needs sqlite3, which few programs want

        return _copy.serialize(self, name)

    def set_trace_callback(self, callback: Callable[[str], object] | None) -> None:
        """Have `callback` called with each statement before it is sent; None for an end."""
        if callback is not None:
            check_callback(callback)
        self._trace = callback

    def add_query_logger(self, callback: Callable[[LoggedQuery], object]) -> None:
        """Have `callback` called with a `LoggedQuery` after each statement::

            conn.add_query_logger(lambda query: print(f"{query.elapsed:.4f} s  {query.sql}"))

        What it raises reaches the caller of the statement.
        """
        check_callback(callback)
        if callback not in self._loggers:
            self._loggers.append(callback)

    def remove_query_logger(self, callback: Callable[[LoggedQuery], object]) -> None:
        """Have it called no more; nothing happens if it is not."""
        if callback in self._loggers:
            self._loggers.remove(callback)
