"""What a connection knows between its statements; shared by the sync and the asyncio twin."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from dqlite import _native, exceptions
from dqlite._retry import Attempts

if TYPE_CHECKING:
    from collections.abc import Callable

    from dqlite._options import Options, Types
    from dqlite.rows import Shape


STILL_OPEN: Final = ("BEGIN", "ROLLBACK")
"""The question whether a transaction is open: if it is, the first of these fails and harms nobody.
"""

VERSION: Final = "SELECT sqlite_version()"
"""What asks a server for SQLite's version."""


def conflict_may_have_ended(session: _native.Connection, error: exceptions.Error) -> bool:
    """Whether an error may have rolled the transaction back: statement, schema or trigger say so.

    SQLite answers ``ON CONFLICT ROLLBACK`` as any other conflict.
    """
    if not isinstance(error, exceptions.IntegrityError) or error.code is None:
        return False
    return session.in_transaction and not session.closed


class Projections:
    """What the verbs of a connection ask for."""

    def __init__(self, types: Types) -> None:
        """Make them once; values are read as `types` says."""
        self._types: Types = types
        self._first_cell = _native.Projection("value", types=types)
        self.all = _native.Projection("all", types=types)
        self.first = _native.Projection("first", types=types)
        self.result = _native.Projection("result", types=types)
        self._streamed: dict[Shape, _native.Projection] = {}
        self._shaped: dict[Shape, _native.Projection] = {"record": self.result}

    def shaped(self, row: Shape) -> _native.Projection:
        """Ask for a result whose rows are objects of another shape."""
        if row not in self._shaped:
            self._shaped[row] = _native.Projection("result", row, self._types)
        return self._shaped[row]

    def streamed(self, row: Shape) -> _native.Projection:
        """Ask for rows as they come."""
        if row not in self._streamed:
            self._streamed[row] = _native.Projection("stream", row, self._types)
        return self._streamed[row]

    def cell(self, column: int) -> _native.Projection:
        """One cell of the first row."""
        if column == 0:
            return self._first_cell
        return _native.Projection("value", types=self._types, column=column)


class State:
    """Server session, transaction and retries of one connection.

    A transaction is *broken* when it can only be rolled back: its session is gone, or a statement
    in it was cancelled.
    """

    def __init__(self, options: Options) -> None:
        """Start without a session; nothing is sent."""
        self.options = options
        self.projections = Projections(options.types)
        self.session: _native.Connection | None = None
        self.session_number = 0
        self.server_version: tuple[int, ...] | None = None
        """SQLite's at the server, once it was asked in this session."""
        self.closed = False
        self.broken = False
        self.on_leader_lost: Callable[[str], None] | None = None

    @property
    def address(self) -> str | None:
        """The node of the current session."""
        session = self.session
        return None if session is None or session.closed else session.address

    def learn_version(self, text: str) -> tuple[int, ...]:
        """Keep what the server answered when asked for SQLite's version."""
        self.server_version = version = tuple(int(number) for number in text.split("."))
        return version

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, going by what was answered."""
        session = self.session
        if self.broken or session is None or session.closed:
            return self.broken
        return session.in_transaction

    def adopt(self, session: _native.Connection) -> None:
        """Go on with a new session."""
        self.session = session
        self.session_number += 1
        self.server_version = None

    def check(self) -> None:
        """Raise if no statement may be sent now."""
        if self.closed:
            text = "connection is closed"
            raise exceptions.InterfaceError(text)
        if self.broken:
            text = "the transaction must be rolled back: a statement in it failed or was cancelled"
            raise exceptions.OperationalError(text, outcome="not_sent", retry="transaction")
        lost = self.session is not None and self.session.closed
        if lost and not self.options.reconnect:
            text = "the session is lost and reconnect is off"
            raise exceptions.ConnectionFailedError(text, stage="closed")

    def usable(self) -> bool:
        """Whether the session can take a statement without further ado."""
        session = self.session
        return session is not None and not (self.broken or session.closed)

    def abandoned(self, sql: str) -> None:
        """Note that `sql` was sent and nobody waits for its answer any more."""
        session = self.session
        if session is None:
            return
        if _native.statement_kind(sql) in {"begin", "commit", "rollback"}:
            session.terminate()  # else a write lock could be held that nobody knows of
        elif session.in_transaction:
            self.mark(broken=True)

    def mark(self, *, broken: bool) -> None:
        """Note whether the open transaction can only be rolled back."""
        self.broken = broken

    def failed(
        self, error: exceptions.Error, sql: str, attempts: Attempts | None
    ) -> tuple[Attempts, float]:
        """Seconds to wait before `sql` is tried again; raises `error` if it must not be."""
        if error.outcome is exceptions.Outcome.NOT_SENT and error.retry == "no":
            raise error  # the call was wrong: there may be no telling what statement it is
        session = self.session
        kind = _native.statement_kind(sql)
        inside = session is not None and session.in_transaction
        if isinstance(error, exceptions.StatementTimeoutError):
            self.abandoned(sql)
        elif session is not None:
            self.judge(session)
        if attempts is None:
            attempts = Attempts(kind, busy_until=monotonic() + self.options.busy_timeout)
        if inside and kind == "rollback" and self.broken:
            return attempts, 0.0  # losing the session rolled back
        if inside and kind != "commit":
            raise error
        pause = attempts.pause_after(error, monotonic())
        if pause is None or not self.options.reconnect:
            raise error
        return attempts, pause

    def judge(self, session: _native.Connection) -> None:
        """Judge what is left of the session and its transaction after an error."""
        if session.closed and self.on_leader_lost is not None:
            self.on_leader_lost(session.address)
        if session.in_transaction and (session.closed or session.doubtful):
            self.mark(broken=True)
