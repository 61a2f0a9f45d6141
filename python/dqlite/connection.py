"""`Connection` and `connect`: the synchronous API."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from time import monotonic
from types import EllipsisType, TracebackType
from typing import Any, Final

from dqlite import _native, exceptions
from dqlite._gate import Gate
from dqlite._options import Options, Target, Timeout, Types, options, seconds_left
from dqlite._parameters import Params, one_set
from dqlite._state import State
from dqlite.cursor import Cursor
from dqlite.transaction import Mode, Transaction

_RUN: Final = _native.Projection("result")


class Connection:
    """A connection to whichever node leads; threads may share it and take turns.

    A session that is lost outside a transaction is replaced at the next call. Reads are tried again
    then; a write that may have happened raises OutcomeUnknownError and is never sent twice.

    Each statement stands by itself unless `transaction` groups it with others. `timeout` is in
    seconds for the call as a whole; None for no deadline; the connection's own if not given. Any
    call may raise what `dqlite.exceptions` lists under Error.
    """

    def __init__(self, checked: Options) -> None:
        """Made by `connect`."""
        self._state = State(checked)
        self._gate = Gate(checked.name)

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

    def execute(self, sql: str, params: Params = (), /, *, timeout: Timeout = ...) -> Cursor:
        """Run one statement and return its `Cursor`::

        conn.execute("INSERT INTO users(name) VALUES (?)", ["ann"]).lastrowid
        """
        return Cursor(self).execute(sql, params, timeout=timeout)

    def executemany(self, sql: str, sets: Iterable[Params], /, *, timeout: Timeout = ...) -> Cursor:
        """Run a statement once for each set of parameters; `rowcount` is the sum.

        All or nothing: outside a transaction it makes one. The first error ends it, with `.index`
        the number of the set. `timeout` is that of each statement.
        """
        return Cursor(self).executemany(sql, sets, timeout=timeout)

    def fetch(self, sql: str, *args: Any, timeout: Timeout = ...) -> list[_native.Record]:
        """Return all rows::

        rows = conn.fetch("SELECT id, name FROM users WHERE age > ?", 30)
        """
        rows: list[_native.Record] = self.perform(self._state.projections.all, sql, args, timeout)
        return rows

    def fetchrow(self, sql: str, *args: Any, timeout: Timeout = ...) -> _native.Record | None:
        """Return the first row, or None if there is none."""
        row: _native.Record | None = self.perform(self._state.projections.first, sql, args, timeout)
        return row

    def fetchval(self, sql: str, *args: Any, column: int = 0, timeout: Timeout = ...) -> Any:
        """Return one cell of the first row, or None if there is no row."""
        return self.perform(self._state.projections.cell(column), sql, args, timeout)

    def cursor(self) -> Cursor:
        """Return a cursor without a result, for code that executes on cursors."""
        return Cursor(self)

    def transaction(
        self,
        mode: Mode = "immediate",
        *,
        force_rollback: bool = False,
        timeout: Timeout = ...,
    ) -> Transaction:
        """Return a block that commits at its end and rolls back after an exception.

        `mode` is that of BEGIN: ``"immediate"`` takes the write lock at once, ``"deferred"`` with
        the first write. Inside another block it is a savepoint.
        """
        return Transaction(self, mode, force_rollback=force_rollback, timeout=timeout)

    def close(self) -> None:
        """Drop the session; an open transaction is rolled back by that. Idempotent."""
        self._state.closed = True
        if self._state.session is not None:
            self._state.session.terminate()

    def __enter__(self) -> Connection:
        """Return the connection itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Name the database and the node."""
        if self.closed:
            return "<dqlite.Connection closed>"
        return f"<dqlite.Connection {self.name!r} at {self.address}>"

    def __reduce__(self) -> Any:
        """Refuse: a socket cannot be pickled."""
        text = "cannot pickle 'Connection': it owns a socket"
        raise TypeError(text)

    def __del__(self) -> None:
        """Warn if nobody closed it."""
        state = getattr(self, "_state", None)
        if state is None or state.closed or state.session is None:
            return
        self.close()
        if state.session.foreign:  # a copy by fork, which its owner closes
            return
        warnings.warn(
            f"{state.options.name!r} was garbage-collected open; use close() or 'with'",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )

    # What transactions, cursors, nodes and the faces stand on.

    def run(self, sql: str, params: Params, timeout: Timeout) -> _native.Result | None:
        """Run one statement with one set of parameters. For cursors."""
        result: _native.Result | None = self.perform(
            self._state.projections.result, sql, one_set(params), timeout
        )
        return result

    def run_each(self, sql: str, sets: Iterable[Params], timeout: Timeout) -> int:
        """Run one statement with each set of parameters. For cursors."""
        changed = index = 0
        with self.transaction(timeout=timeout):
            try:
                for params in sets:
                    result = self.perform(_RUN, sql, one_set(params), timeout)
                    changed += max(result.rowcount, 0)
                    index += 1
            except exceptions.Error as error:
                error.index = index
                raise
        return changed

    def perform(
        self,
        projection: _native.Projection,
        sql: str,
        args: tuple[Any, ...],
        timeout: Timeout = ...,
    ) -> Any:
        """Run one statement and give back what `projection` asks for; see `aio._core`."""
        seconds = self._seconds(timeout)
        deadline = None if seconds is None else monotonic() + seconds
        with self._gate.turn(seconds):
            return self._attempt(projection, sql, args, deadline)

    def open(self) -> None:
        """Find the leader and open the database unless that is done."""
        with self._gate.turn(None):
            self._ready(None)

    def enter_block(self, timeout: Timeout) -> object | None:
        """Keep other threads away; None inside a block of this thread. For transactions."""
        return self._gate.enter_block(self._seconds(timeout))

    def leave_block(self) -> None:
        """Let the others in again. For transactions."""
        self._gate.leave_block()

    def _seconds(self, timeout: Timeout) -> float | None:
        return self._state.options.timeout if timeout is ... else timeout

    def _attempt(
        self,
        projection: _native.Projection,
        sql: str,
        args: tuple[Any, ...],
        deadline: float | None,
    ) -> Any:
        state, attempts = self._state, None
        while True:
            session = state.session
            try:
                if session is None or not state.usable():
                    if state.broken and _native.statement_kind(sql) == "rollback":
                        return self._roll_back(deadline)
                    session = self._ready(deadline)
                return session.run(projection, sql, args, seconds_left(deadline, monotonic()))
            except exceptions.Error as error:
                attempts, pause = state.failed(error, sql, attempts)
                if deadline is not None and monotonic() + pause >= deadline:
                    raise
                time.sleep(pause)
            except BaseException:  # Ctrl-C, and the statement may be on its way all the same
                if session is not None and session.draining:
                    state.abandoned(sql)
                raise

    def _ready(self, deadline: float | None) -> _native.Connection:
        """Bring about a session that can take a statement, or raise."""
        state = self._state
        state.check()
        session = state.session
        if session is None or session.closed:
            seconds = state.options.config.connect_timeout
            if deadline is not None:
                seconds = min(seconds, max(deadline - monotonic(), 0.0))
            session = _native.dial(state.options.config, seconds)
            state.adopt(session)
        return session

    def _roll_back(self, deadline: float | None) -> None:
        """End a broken transaction, whatever is left of it."""
        state = self._state
        state.broken = False
        session = state.session
        if session is None or session.closed:
            return
        try:
            session.run(_RUN, "ROLLBACK", (), seconds_left(deadline, monotonic()))
        except exceptions.OperationalError:
            if session.in_transaction:
                session.terminate()  # which rolls back, too


def connect(
    target: Target | None = None,
    /,
    *,
    database: str | None = None,
    timeout: Timeout = ...,
    connect_timeout: float | EllipsisType = ...,
    busy_timeout: float = 5.0,
    types: Types = "auto",
    reconnect: bool = True,
    name: str | None = None,
) -> Connection:
    """Find the leader, open the database, and return a `Connection`::

        conn = dqlite.connect("dqlite://h1:9001,h2:9001/app")
        with dqlite.connect(["h1:9001", "h2:9001"], database="app") as conn: ...

    `target` is a URL, ``host:port``, a list of these, a `Node` or a `Client`; without it the
    environment (``DQLITE_URL``, ``DQLITE_HOSTS``), else ``localhost:9001``. `timeout` is the
    deadline of each call (default: the URL's, else 60), `connect_timeout` that of the leader search
    including dial and OPEN (10); `busy_timeout` says how long to try again when the write lock is
    taken; all in seconds. With `reconnect` off the connection ends with its first session. A
    cluster without a leader is a NoLeaderError, a bad argument a ProgrammingError.
    """
    connection = Connection(
        options(
            target,
            database=database,
            timeout=timeout,
            connect_timeout=connect_timeout,
            busy_timeout=busy_timeout,
            types=types,
            reconnect=reconnect,
            name=name,
        )
    )
    connection.open()
    return connection
