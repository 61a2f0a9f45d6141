"""What a connection offers beside statements: copies of its database, and who watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dqlite._core import Core
from dqlite._refused import Refused
from dqlite._watch import LoggedQuery, check_callback

if TYPE_CHECKING:
    from dqlite._copy import BackupTarget


class Beside(Refused, Core):
    """The part of `Connection` that copies and watches."""

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
