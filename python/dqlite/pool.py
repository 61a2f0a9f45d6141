"""`ConnectionPool`: connections that are kept open and lent to threads."""

from __future__ import annotations

import os
import select
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from time import monotonic
from types import EllipsisType, TracebackType
from typing import Any, TypeVar

from dqlite import _native, exceptions
from dqlite._books import Books, Member, close, terminate
from dqlite._control import Control
from dqlite._lent import Hook, Lent
from dqlite._options import TLS, Target, Timeout, Types, options
from dqlite._parameters import Params
from dqlite._pooling import Limits
from dqlite._rerun import UNSET
from dqlite.connection import Connection
from dqlite.cursor import Cursor
from dqlite.rows import RowFactory, record_row
from dqlite.transaction import Mode

T = TypeVar("T")


class ConnectionPool:
    """Up to `max_size` connections, lent to one thread at a time::

        pool = dqlite.ConnectionPool("dqlite://h1:9001,h2:9001/app", max_size=20)
        with pool.acquire() as conn, conn.transaction():
            conn.execute("INSERT INTO log(text) VALUES (?)", ["hello"])
        print(pool.fetchval("SELECT count(*) FROM log"))
        pool.close()

    The twin of `dqlite.Pool` for threads. Waiters are served in the order of asking. When a leader
    is lost, the idle sessions with it are dropped and replaced when they are needed. It has no
    thread of its own: what is due is done when a connection is borrowed or comes back.
    """

    def __init__(
        self,
        target: Target | None = None,
        /,
        *,
        min_size: int = 1,
        max_size: int = 10,
        acquire_timeout: float | None = 30.0,
        max_waiting: int = 0,
        max_idle: float = 300.0,
        max_lifetime: float = 3600.0,
        check: Hook | None = None,
        setup: Hook | None = None,
        init: Hook | None = None,
        reset: Hook | None = None,
        database: str | None = None,
        timeout: Timeout = ...,
        tls: TLS | bool | None = None,
        connect_timeout: float | EllipsisType = ...,
        busy_timeout: float = 5.0,
        autocommit: bool | int = True,
        isolation_level: str | None = "IMMEDIATE",
        row_factory: RowFactory | None = record_row,
        types: Types = "auto",
        name: str | None = None,
    ) -> None:
        """Open `min_size` connections in parallel, all or none; up to `max_size` are made.

        Who finds none waits up to `acquire_timeout` seconds; with `max_waiting` above 0 no more
        than so many wait. A connection above `min_size` is closed after `max_idle` seconds without
        use, the session of any is renewed after `max_lifetime`. `init` is called with each
        connection that has a new session, `check` and then `setup` with each that is borrowed, and
        `reset` with each that comes back, after what it left open was rolled back. A `check` that
        fails costs the connection its session; `ConnectionPool.check_ping` is one. The rest is as
        for `dqlite.connect`.
        """
        self._books: Books | None = None
        limits = Limits(min_size, max_size, max_waiting, max_idle, max_lifetime).checked()
        self._options = options(
            target,
            database=database,
            timeout=timeout,
            tls=tls,
            connect_timeout=connect_timeout,
            busy_timeout=busy_timeout,
            types=types,
            reconnect=True,
            name=name,
        )
        Control(autocommit, isolation_level)  # checks them
        self._control = (autocommit, isolation_level)
        self._row_factory = row_factory
        self._acquire_timeout = acquire_timeout
        self._hooks = (init, check, setup, reset)
        self._pid = os.getpid()
        self._books = Books(limits, self._options)
        self._fill()

    @staticmethod
    def check_ping(connection: Connection) -> None:
        """Raise ConnectionFailedError unless the connection's node still answers and leads."""
        if not connection.ping():
            text = f"the session with {connection.address} does not answer"
            raise exceptions.ConnectionFailedError(text, stage="lost")

    def acquire(self, timeout: Timeout = ...) -> Connection:
        """Borrow a connection: ``with pool.acquire() as conn``, or give it back with `release`.

        PoolTimeoutError if none becomes free within `timeout` seconds (default: the pool's).
        """
        books = self._open()
        begun = monotonic()
        seconds = self._acquire_timeout if timeout is ... else timeout
        member = books.lend(seconds)
        lent = Lent(self, books, member, self._control, self._row_factory)
        try:
            self._prepare(lent, member, None if seconds is None else begun + seconds)
        except BaseException:
            lent.give_back()
            books.write_off(member)
            raise
        return lent

    connection = acquire

    def release(self, connection: Connection) -> None:
        """Give a borrowed connection back; an open transaction in it is rolled back."""
        if not isinstance(connection, Lent) or not connection.is_of(self):
            text = "this connection is not one of this pool"
            raise exceptions.InterfaceError(text)
        connection.release()

    def execute(self, sql: str, params: Params = (), /, *, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.execute` on a connection of the pool; the cursor has all rows."""
        with self._lend() as lent:
            return lent.execute_whole(sql, params, timeout)

    def executemany(self, sql: str, sets: Iterable[Params], /, *, timeout: Timeout = ...) -> Cursor:
        """Do `Connection.executemany` on a connection of the pool."""
        with self._lend() as lent:
            return lent.executemany(sql, sets, timeout=timeout)

    def fetch(self, sql: str, *args: Any, timeout: Timeout = ...) -> list[Any]:
        """Do `Connection.fetch` on a connection of the pool."""
        with self._lend() as lent:
            return lent.fetch(sql, *args, timeout=timeout)

    def fetchrow(self, sql: str, *args: Any, timeout: Timeout = ...) -> Any:
        """Do `Connection.fetchrow` on a connection of the pool."""
        with self._lend() as lent:
            return lent.fetchrow(sql, *args, timeout=timeout)

    def fetchval(self, sql: str, *args: Any, column: int = 0, timeout: Timeout = ...) -> Any:
        """Do `Connection.fetchval` on a connection of the pool."""
        with self._lend() as lent:
            return lent.fetchval(sql, *args, column=column, timeout=timeout)

    def fetchmany(self, sql: str, sets: Iterable[Params], *, timeout: Timeout = ...) -> list[Any]:
        """Run a statement with each set of parameters; return all rows of its RETURNING."""
        with self._lend() as lent:
            return lent.executemany(sql, sets, timeout=timeout).fetchall()

    @contextmanager
    def transaction(
        self, mode: Mode = "immediate", *, timeout: Timeout = ...
    ) -> Generator[Connection]:
        """Borrow a connection for one transaction::

        with pool.transaction() as conn:
            conn.execute("DELETE FROM log")
        """
        with self._lend() as lent, lent.transaction(mode, timeout=timeout):
            yield lent

    def run_transaction(
        self,
        fn: Callable[..., T],
        /,
        *args: Any,
        mode: Mode = "immediate",
        attempts: int = 8,
        timeout: float = 30.0,
        token: str | bytes | None = None,
        if_applied: Any = UNSET,
    ) -> T:
        """Do `Connection.run_transaction` on a connection of the pool."""
        with self._lend() as lent:
            return lent.run_transaction(
                fn,
                *args,
                mode=mode,
                attempts=attempts,
                timeout=timeout,
                token=token,
                if_applied=if_applied,
            )

    def get_size(self) -> int:
        """Return how many connections there are or are being opened."""
        return self._known().size

    def get_idle_size(self) -> int:
        """Return how many of them nobody uses."""
        return len(self._known().idle())

    def get_min_size(self) -> int:
        """Return how many are kept."""
        return self._known().limits.min_size

    def get_max_size(self) -> int:
        """Return how many there may be."""
        return self._known().limits.max_size

    def get_stats(self) -> dict[str, float]:
        """Return the sizes now, and counters since the pool was made."""
        books = self._known()
        return {**books.sizes(), **books.counters.stats()}

    def expire_connections(self) -> None:
        """Replace every session: idle ones at their next use, borrowed ones when they return."""
        self._open().expire()

    def resize(self, min_size: int, max_size: int | None = None) -> None:
        """Change the sizes; missing connections are opened at once, superfluous ones go."""
        self._open().resize(min_size, max_size)
        self._fill()

    def wait(self, timeout: float = 30.0) -> None:
        """Return when `min_size` connections have a session; else PoolTimeoutError, in seconds."""
        try:
            self._fill(timeout)
        except (exceptions.ConnectionFailedError, exceptions.NoLeaderError) as error:
            text = f"the pool is not open after {timeout} s: {error}"
            raise exceptions.PoolTimeoutError(text) from error

    @property
    def closed(self) -> bool:
        """Whether `close` or `terminate` was called."""
        return self._known().closed

    def close(self, timeout: float | None = None) -> None:
        """Refuse further use, wait for what is borrowed, close everything; idempotent.

        What is still out after `timeout` seconds is closed under its borrower's hands.
        """
        books = self._known()
        books.refuse()
        if os.getpid() == self._pid:
            books.wait_for_all(timeout)
        self.terminate()

    def terminate(self) -> None:
        """Close everything at once, borrowed connections included."""
        books = self._known()
        books.refuse()
        for member in books.take_everything():
            close(member)

    def __enter__(self) -> ConnectionPool:
        """Return the pool itself."""
        self._open()
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
        """Name the database and the sizes."""
        books = self._known()
        if books.closed:
            return "<dqlite.ConnectionPool closed>"
        sizes = f"{books.size} of {books.limits.max_size}"
        return f"<dqlite.ConnectionPool {self._options.name!r} {sizes}>"

    def __reduce__(self) -> Any:
        """Refuse: sockets cannot be pickled."""
        text = "cannot pickle 'ConnectionPool': it owns sockets"
        raise TypeError(text)

    def __del__(self) -> None:
        """Warn if nobody closed it."""
        books = getattr(self, "_books", None)
        if books is None or books.closed or not books.size:
            return
        self.terminate()
        if os.getpid() == self._pid:
            warnings.warn(
                "a dqlite pool was garbage-collected open; use close() or 'with'",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )

    def _known(self) -> Books:
        if self._books is None:
            text = "this pool was not opened"
            raise exceptions.InterfaceError(text)
        return self._books

    def _open(self) -> Books:
        current = os.getpid()
        if current != self._pid:
            text = (
                "pool used after fork; reconstruct it in the child process "
                f"(created in pid {self._pid}, current pid {current})"
            )
            raise exceptions.InterfaceError(text)
        return self._known()

    def _fill(self, timeout: float | None = None) -> None:
        """Open what is missing up to `min_size`, in parallel."""
        books = self._open()
        seconds = self._options.config.connect_timeout
        if timeout is not None:
            seconds = min(seconds, timeout)
        members = books.missing()
        dials = [_native.Dial(self._options.config, seconds) for _ in members]
        try:
            for member, dial in zip(members, dials, strict=True):
                _wait_readable(dial)
                member.state.adopt(dial.result())
                self._started(member)
        except BaseException:
            for dial in dials:
                dial.cancel()
            for member in members:
                books.write_off(member)
            raise
        for member in members:
            books.take_back(member)

    def _started(self, member: Member) -> None:
        """Note a new session, and let `init` see it."""
        books, state, init = self._known(), member.state, self._hooks[0]
        member.initialised = state.session_number
        member.expires = books.limits.expires(monotonic())
        books.counters.opened += 1
        if init is not None:
            lent = Lent(self, books, member, self._control, self._row_factory)
            try:
                init(lent)
            finally:
                lent.give_back()

    def _prepare(self, lent: Lent, member: Member, deadline: float | None) -> None:
        """See to it that a borrower gets a session that is alive, as far as one can tell."""
        _, check, setup, _ = self._hooks
        if monotonic() > member.expires:
            terminate(member)
        self._connect(lent, member, deadline)
        if check is not None:
            try:
                check(lent)
            except exceptions.Error:
                terminate(member)
                self._connect(lent, member, deadline)
                check(lent)
        if setup is not None:
            setup(lent)

    def _connect(self, lent: Lent, member: Member, deadline: float | None) -> None:
        lent.open_by(deadline)
        if member.initialised != member.state.session_number:
            self._started(member)

    @contextmanager
    def _lend(self) -> Generator[Lent]:
        connection = self.acquire()
        if not isinstance(connection, Lent):
            raise TypeError(connection)
        try:
            yield connection
        finally:
            connection.release()

    def take_back(self, lent: Lent, member: Member) -> None:
        """Clean a connection and put it back. For connections."""
        books, reset = self._known(), self._hooks[3]
        try:
            lent.clean()
            if reset is not None and not member.state.closed:
                reset(lent)
        except BaseException:
            lent.give_back()
            books.write_off(member)
            raise
        lent.give_back()
        books.take_back(member)


def _wait_readable(dial: _native.Dial) -> None:
    """Wait for the end of a dial, which has a deadline; signals are heard."""
    poll = select.poll()
    poll.register(dial.fileno(), select.POLLIN)
    poll.poll()
