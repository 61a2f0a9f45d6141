"""What an asynchronous connection offers beside statements."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

from dqlite import _native, exceptions
from dqlite._options import Timeout
from dqlite._refused import Refused
from dqlite._state import VERSION
from dqlite._watch import LoggedQuery, check_callback
from dqlite.aio._core import Core
from dqlite.aio._threads import in_thread
from dqlite.transaction import Mode, begin

if TYPE_CHECKING:
    from dqlite._copy import BackupTarget

_RUN: Final = _native.Projection("result", "tuple")
_CELL: Final = _native.Projection("value", "tuple")


def refuse_released(*_args: Any) -> NoReturn:
    """Raise: a connection that was given back is nobody's."""
    text = "connection was released to its pool"
    raise exceptions.InterfaceError(text)


def check_control(autocommit: bool | int, isolation_level: str | None = "IMMEDIATE") -> None:
    """Refuse transactions that begin by themselves."""
    if autocommit is True and isolation_level == "IMMEDIATE":
        return
    name = "isolation_level" if autocommit is True else "autocommit"
    text = f"{name} is for dqlite.aio.dbapi.connect(); here begin(), or transaction()"
    raise exceptions.NotSupportedError(text, outcome="not_sent")


class Beside(Refused):
    """The part of `Connection` that is not about the rows of statements."""

    def __init__(self, core: Core) -> None:
        """Stand on a core, which a pool takes back."""
        self._lent: Core | None = core
        self._total_changes = 0

    @property
    def _core(self) -> Core:
        if self._lent is None:
            refuse_released()
        return self._lent

    @property
    def database(self) -> str:
        """The name of the database."""
        return self._core.options.config.database

    @property
    def name(self) -> str:
        """The name given to `connect`, else that of the database."""
        return self._core.options.name

    @property
    def address(self) -> str | None:
        """The node of the current session, or None."""
        return self._core.address

    @property
    def session_number(self) -> int:
        """1 for the first session with a server, one more after each reconnect."""
        return self._core.session_number

    @property
    def closed(self) -> bool:
        """The same as `is_closed`."""
        return self.is_closed()

    def is_closed(self) -> bool:
        """Whether `close` or `terminate` was called, or the pool has it back."""
        return self._lent is None or self._lent.closed

    @property
    def in_transaction(self) -> bool:
        """The same as `is_in_transaction`."""
        return self._core.in_transaction

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, going by what the server answered."""
        return self._core.in_transaction

    @property
    def autocommit(self) -> bool:
        """Always True; connections of `dqlite.aio.dbapi` know the other ways.

        Setting another is a NotSupportedError: statements of several tasks may meet here, and
        none should find itself in a transaction that another began by the way.
        """
        return True

    @autocommit.setter
    def autocommit(self, value: bool | int) -> None:
        check_control(value)

    @property
    def isolation_level(self) -> str | None:
        """Always ``"IMMEDIATE"``, the mode of `begin` and `transaction` unless they are told.

        Setting another is a NotSupportedError.
        """
        return "IMMEDIATE"

    @isolation_level.setter
    def isolation_level(self, value: str | None) -> None:
        check_control(True, value)

    @property
    def total_changes(self) -> int:
        """Rows that INSERT, UPDATE and DELETE changed by `execute` and its kin on this object.

        Those of a pool's connection count from the moment it was lent.
        """
        return self._total_changes

    @property
    def server_version(self) -> tuple[int, ...]:
        """SQLite's version at the server, if `get_server_version` has asked for it.

        InterfaceError if it was not asked since the session began: a property cannot wait.
        """
        known = self._core.server_version
        if known is None:
            text = "server_version is not known in this session: await get_server_version() first"
            raise exceptions.InterfaceError(text)
        return known

    @property
    def timeout(self) -> float | None:
        """The deadline of each call in seconds; None for none."""
        return self._core.options.timeout

    @property
    def busy_timeout(self) -> float:
        """How long a statement may wait for the write lock, in seconds."""
        return self._core.options.busy_timeout

    async def begin(self, mode: Mode = "immediate") -> None:
        """Begin a transaction that `commit` or `rollback` ends; any task may use it."""
        await self._core.perform(_RUN, begin(mode), ())

    async def commit(self) -> None:
        """Commit the open transaction; nothing happens without one.

        If the answer is lost: AmbiguousCommitError.
        """
        if self._core.in_transaction:
            await self._core.perform(_RUN, "COMMIT", ())

    async def rollback(self) -> None:
        """Roll the open transaction back; success also if its session is gone."""
        core = self._core
        if not core.in_transaction:
            return
        try:
            await core.perform(_RUN, "ROLLBACK", ())
        except exceptions.OperationalError:
            if core.in_transaction:  # else a statement with OR ROLLBACK has done it
                raise

    async def ping(self, timeout: Timeout = ...) -> bool:
        """Whether the node of this connection still answers and leads; False once it is closed."""
        if self.is_closed():
            return False
        try:
            return bool(await self._core.perform(_CELL, "SELECT 1", (), timeout) == 1)
        except (exceptions.OperationalError, exceptions.ProtocolError):
            return False

    async def get_server_version(self) -> tuple[int, ...]:
        """Return SQLite's version at the server, which is asked once in each session."""
        core = self._core
        if core.server_version is not None and core.usable() and not core.closed:
            return core.server_version
        return core.learn_version(await core.perform(_CELL, VERSION, ()))

    async def iterdump(self, *, filter: str | None = None) -> AsyncIterator[str]:
        """Yield the database as SQL text, line by line, as `dqlite.Connection.iterdump` does."""
        from dqlite import _copy  # noqa: PLC0415 - it needs sqlite3, which few programs want

        source = Copied(self._core)
        for line in await in_thread(lambda: list(_copy.iterdump(source, filter))):
            yield line

    async def backup(
        self,
        target: BackupTarget,
        *,
        pages: int = -1,
        progress: Callable[[int, int, int], object] | None = None,
        name: str = "main",
        sleep: float = 0.25,
    ) -> None:
        """Copy the database into a file, or a ``sqlite3.Connection`` that any thread may use.

        As `dqlite.Connection.backup` does, in a thread, which also calls `progress`.
        """
        from dqlite import _copy  # noqa: PLC0415 - it needs sqlite3, which few programs want

        source = Copied(self._core)
        options = {"pages": pages, "progress": progress, "name": name, "sleep": sleep}
        await in_thread(partial(_copy.backup, source, target, **options))

    async def serialize(self, *, name: str = "main") -> bytes:
        """Return the database file, ready for ``sqlite3.Connection.deserialize``."""
        from dqlite import _copy  # noqa: PLC0415 - it needs sqlite3, which few programs want

        source = Copied(self._core)
        return await in_thread(lambda: _copy.serialize(source, name))

    def set_trace_callback(self, callback: Callable[[str], object] | None) -> None:
        """Have `callback` called with each statement before it is sent; None for an end."""
        if callback is not None:
            check_callback(callback)
        self._core.trace = callback
        self._core.choose_way()

    def add_query_logger(self, callback: Callable[[LoggedQuery], object]) -> None:
        """Have `callback` called with a `LoggedQuery` after each statement.

        What it raises reaches the caller of the statement. A pool's connection forgets it when it
        is given back.
        """
        check_callback(callback)
        if callback not in self._core.loggers:
            self._core.loggers.append(callback)
            self._core.choose_way()

    def remove_query_logger(self, callback: Callable[[LoggedQuery], object]) -> None:
        """Have it called no more; nothing happens if it is not."""
        if callback in self._core.loggers:
            self._core.loggers.remove(callback)
            self._core.choose_way()

    def interrupt(self) -> NoReturn:
        """Raise NotSupportedError: a statement is ended by cancelling its task."""
        text = "interrupt() is not there for asyncio: cancel the task, or give timeout="
        raise exceptions.NotSupportedError(text)

    async def execute_insert(self, sql: str, params: Sequence[Any] = ()) -> int | None:
        """Run an INSERT and return the id of its row."""
        result: _native.Result = await self._core.perform(_RUN, sql, tuple(params))
        self.count_changes(result)
        return result.lastrowid

    def count_changes(self, answer: object) -> None:
        """Count the rows that a statement changed. For cursors and what else runs statements."""
        if isinstance(answer, _native.Result):
            self._total_changes += max(answer.rowcount, 0)


class Copied:
    """The files of a database, for a thread that copies them."""

    def __init__(self, core: Core) -> None:
        """Look where `core` connects."""
        self._options = core.options

    def dump_files(self) -> dict[str, bytes]:
        """Fetch the database from the leader: its file, and its WAL."""
        config, timeout = self._options.config, self._options.timeout
        seconds = config.connect_timeout if timeout is None else timeout
        return _native.Admin(config, seconds).dump(config.database)
