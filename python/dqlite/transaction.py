"""`Transaction`: BEGIN to COMMIT as a block, a savepoint inside another one."""

from __future__ import annotations

from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from dqlite import exceptions
from dqlite._options import Timeout

if TYPE_CHECKING:
    from dqlite.connection import Connection

Mode = Literal["immediate", "deferred", "exclusive"]

_SAVEPOINTS: Final = count(1)


def begin(mode: Mode) -> str:
    """Return the statement that begins; ProgrammingError for a mode that is none."""
    if mode not in {"immediate", "deferred", "exclusive"}:
        text = f"mode must be immediate, deferred or exclusive, got {mode!r}"
        raise exceptions.ProgrammingError(text)
    return f"BEGIN {mode.upper()}"


def quoted(name: str) -> str:
    """Return the name of a savepoint as SQL has it; ProgrammingError for none."""
    given: Any = name
    if not isinstance(given, str) or not name or "\0" in name:
        text = f"a savepoint needs a name, got {name!r}"
        raise exceptions.ProgrammingError(text, outcome="not_sent")
    return '"' + name.replace('"', '""') + '"'


def savepoint() -> str:
    """Return a name that no other savepoint of this process has."""
    return f"dqlite_{next(_SAVEPOINTS)}"


class Transaction:
    """All or nothing::

        with conn.transaction():
            conn.execute("UPDATE accounts SET total = total - 5 WHERE id = 1")
            conn.execute("UPDATE accounts SET total = total + 5 WHERE id = 2")

    A clean end commits, an exception rolls back and goes on. Inside another block of the same
    connection it is a savepoint. Other threads wait until it is over. If the answer to COMMIT is
    lost: AmbiguousCommitError.
    """

    def __init__(
        self,
        connection: Connection,
        mode: Mode,
        *,
        readonly: bool = False,
        savepoint_name: str | None = None,
        force_rollback: bool,
        timeout: Timeout,
    ) -> None:
        """Made by `Connection.transaction`; nothing is sent."""
        self._begin = begin(mode)
        self._connection = connection
        self._readonly = readonly
        self._name = None if savepoint_name is None else quoted(savepoint_name)
        self._force_rollback = force_rollback
        self._timeout = timeout
        self._block: object | None = None
        self._savepoint: str | None = None
        self._open = False

    def start(self) -> None:
        """Send BEGIN, or SAVEPOINT inside another block."""
        if self._open:
            text = "this transaction was started before"
            raise exceptions.InterfaceError(text)
        self._block = self._connection.enter_block(self._timeout)
        inside = self._block is None or self._connection.in_transaction
        self._savepoint = (self._name or savepoint()) if inside else None
        try:
            self._send(f"SAVEPOINT {self._savepoint}" if inside else self._begin)
        except BaseException:
            self._leave()
            raise
        self._open = True
        self._connection.readonly += self._readonly

    def commit(self) -> None:
        """Send COMMIT (RELEASE for a savepoint); if that fails, roll back and raise."""
        self._check()
        try:
            self._send(f"RELEASE {self._savepoint}" if self._savepoint else "COMMIT")
        except exceptions.Error:
            if self._savepoint is None and self._connection.in_transaction:
                self._send("ROLLBACK")
            raise
        finally:
            self._leave()

    def rollback(self) -> None:
        """Undo everything since `start`; success also if the session is gone."""
        self._check()
        try:
            if self._savepoint is None:
                if self._connection.in_transaction:
                    self._send("ROLLBACK")
            elif not self._connection.transaction_broken:
                self._send(f"ROLLBACK TO {self._savepoint}")
                self._send(f"RELEASE {self._savepoint}")
        finally:
            self._leave()

    def undo(self, error: BaseException) -> None:
        """Roll back after `error`; OutcomeUnknownError if what was behind it may have stayed."""
        try:
            self.rollback()
        except exceptions.Error as failed:
            if ran_alone(error, failed):
                if self._savepoint is not None:
                    self._connection.break_transaction()
                raise in_doubt(error) from error

    def __enter__(self) -> Transaction:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Commit, or roll back after an exception, which is never hidden."""
        if not self._open:
            return
        if exc is None and not self._force_rollback:
            self.commit()
            return
        try:
            self.rollback()
        except exceptions.Error:
            if exc is None:
                raise

    def _send(self, sql: str) -> None:
        self._connection.execute(sql, timeout=self._timeout)

    def _check(self) -> None:
        if not self._open:
            text = "this transaction is not open"
            raise exceptions.InterfaceError(text)

    def _leave(self) -> None:
        if self._open:
            self._connection.readonly -= self._readonly
        self._open = False
        block, self._block = self._block, None
        if block is not None:
            self._connection.leave_block()


def ran_alone(error: BaseException, failed: exceptions.Error) -> bool:
    """Whether sets ran on their own: the server had ended the transaction when `error` came."""
    gone = ("no transaction is active", "no such savepoint")
    later = isinstance(error, exceptions.Error) and error.later_sets
    return later and any(text in failed.raw_message for text in gone)


def in_doubt(error: BaseException) -> exceptions.OutcomeUnknownError:
    """Return what `executemany` raises then."""
    text = f"the server rolled back by itself, later sets may have stayed: {error}"
    return exceptions.OutcomeUnknownError(text)
