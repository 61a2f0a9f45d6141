"""The synchronous connection: no thread, no event loop."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

from dqlite import _native
from dqlite.connection import Connection as Native
from dqlite.exceptions import Error, InterfaceError, OperationalError, ProgrammingError
from dqliteclient import DEFAULT_CLOSE_TIMEOUT_SECONDS, DEFAULT_TIMEOUT_SECONDS, DialFunc
from dqliteclient._validate import DEFAULT_MAX_CONTINUATION_FRAMES, DEFAULT_MAX_TOTAL_ROWS
from dqlitedbapi._busy import delays
from dqlitedbapi._common import TYPED, Common, too_many_rows
from dqlitedbapi._rows import Outcome
from dqlitedbapi._sql import CHANGING
from dqlitedbapi._stubs import Refused
from dqlitedbapi.cursor import Cursor
from dqlitedbapi.exceptions import (
    connect_errors,
    is_busy,
    is_no_transaction_error,
    raise_translated,
)

__all__ = ["Connection"]


class Connection(Refused, Common):
    """A connection that finds the leader at its first use; never another one after that.

    Statements stand by themselves until BEGIN is said; ``with`` commits or rolls back what is open
    then, and does not close.
    """

    Cursor = Cursor

    def __init__(
        self,
        address: str,
        *,
        database: str = "default",
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        max_total_rows: int | None = DEFAULT_MAX_TOTAL_ROWS,
        max_continuation_frames: int | None = DEFAULT_MAX_CONTINUATION_FRAMES,
        max_message_size: int | None = None,
        trust_server_heartbeat: bool = False,  # noqa: ARG002 - every wait has its own deadline
        close_timeout: float = DEFAULT_CLOSE_TIMEOUT_SECONDS,
        dial_timeout: float | None = None,
        attempt_timeout: float | None = None,
        dial_func: DialFunc | None = None,
        busy_timeout: float = 5.0,
        check_same_thread: bool = True,
        session_mode: str | None = None,
    ) -> None:
        """Check the arguments; nothing is sent. Times are in seconds."""
        super().__init__(
            address,
            database=database,
            timeout=timeout,
            max_total_rows=max_total_rows,
            max_continuation_frames=max_continuation_frames,
            max_message_size=max_message_size,
            close_timeout=close_timeout,
            dial_timeout=dial_timeout,
            attempt_timeout=attempt_timeout,
            dial_func=dial_func,
            busy_timeout=busy_timeout,
            session_mode=session_mode,
        )
        same: Any = check_same_thread
        if not isinstance(same, bool):
            text = f"check_same_thread must be a bool, got {type(same).__name__}"
            raise ProgrammingError(text)
        self._thread = threading.get_ident() if same else None
        self._native: Native | None = None
        self._opening = threading.Lock()
        self._cursors: weakref.WeakSet[Cursor] = weakref.WeakSet()
        self._trace: Callable[[str], object] | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, going by what the server answered."""
        return self._native is not None and not self.closed and self._native.in_transaction

    @property
    def total_changes(self) -> int:
        """Rows that INSERT, UPDATE and DELETE changed."""
        return self._total_changes

    def connect(self) -> None:
        """Find the leader and open the database now."""
        self.check_thread()
        self._session()

    def close(self) -> None:
        """Drop the session; an open transaction is rolled back by that. Idempotent."""
        self.check_thread()
        self.force_close_transport()

    def force_close_transport(self) -> None:
        """Drop the socket at once, from any thread; what runs fails with InterfaceError."""
        self._closed = True
        for cursor in list(self._cursors):
            cursor.let_go()
        if self._native is not None:
            self._native.close()

    def interrupt(self) -> None:
        """End the call that another thread waits in; see `dqlite.Connection.interrupt`."""
        self.check_usable()
        if self._native is not None:
            self._native.interrupt()

    def commit(self) -> None:
        """Commit the open transaction; nothing happens without one."""
        self._end("COMMIT")

    def rollback(self) -> None:
        """Roll the open transaction back; nothing happens without one."""
        self._end("ROLLBACK")

    @contextlib.contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """BEGIN, then COMMIT, or ROLLBACK if the block raises."""
        self.check_thread()
        self.check_usable()
        self._check_not_nested()
        self.execute("BEGIN")
        self._in_block = True
        try:
            yield
        except BaseException:
            self._in_block = False
            if not self.closed:
                try:
                    self.rollback()
                except Error:
                    self.force_close_transport()
            raise
        self._in_block = False
        self.commit()

    def set_session_mode(self, mode: str) -> None:
        """Begin otherwise from now on; ``read_only`` lets the server refuse writes."""
        self.check_thread()
        wanted = self._checked_mode(mode)
        self.check_usable()
        if wanted != self._session_mode and self._native is not None:
            if self.in_transaction:
                text = "set_session_mode() cannot be called inside a transaction"
                raise InterfaceError(text)
            if "read_only" in {wanted, self._session_mode}:
                on = int(wanted == "read_only")
                self.run("pragma", f"PRAGMA query_only = {on}", ())
        self._session_mode = wanted

    def cursor(self, **unsupported: object) -> Cursor:
        """Return a new cursor."""
        self.check_thread()
        self.refuse_keywords(unsupported)
        self.check_usable()
        cursor = Cursor(self)
        self._cursors.add(cursor)
        return cursor

    def execute(self, operation: str, parameters: Sequence[Any] | None = None, /) -> Cursor:
        """Run one statement on a new cursor and return it."""
        return self.cursor().execute(operation, parameters)

    def executemany(self, operation: str, seq_of_parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Run a statement once for each set of parameters, on a new cursor."""
        return self.cursor().executemany(operation, seq_of_parameters)

    def executescript(self, sql_script: str, /) -> Cursor:
        """Run the statements of a script one after the other; their rows are dropped."""
        return self.cursor().executescript(sql_script)

    def set_trace_callback(self, trace_callback: Callable[[str], object] | None, /) -> None:
        """Have it called with each statement before it is sent; None for an end."""
        self.check_thread()
        self._trace = trace_callback
        if self._native is not None:
            self._native.set_trace_callback(trace_callback)

    def iterdump(self, *, filter: str | None = None) -> Iterator[str]:
        """Do `dqlite.Connection.iterdump`."""
        self.check_thread()
        return self._session().iterdump(filter=filter)

    def backup(self, target: Any, **options: Any) -> None:
        """Do `dqlite.Connection.backup`."""
        self.check_thread()
        self._session().backup(target, **options)

    def serialize(self, *, name: str = "main") -> bytes:
        """Do `dqlite.Connection.serialize`."""
        self.check_thread()
        return self._session().serialize(name=name)

    def __enter__(self) -> Connection:
        """Return the connection itself; nothing begins."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Commit, or roll back after an exception; do not close."""
        if self.closed:
            return
        if exc_type is None:
            self.commit()
        else:
            self.rollback()

    def __repr__(self) -> str:
        """Name the address, the database and the state."""
        state = self._state_name(self._native is not None)
        return f"<Connection address={self._address!r} database={self._database!r} {state}>"

    # What cursors stand on.

    def check_thread(self) -> None:
        """Raise ProgrammingError in another thread, InterfaceError in another process."""
        self._check_process()
        here = threading.get_ident()
        if self._thread not in {None, here}:
            text = (
                "dqlitedbapi objects created in a thread can only be used in that same thread. "
                f"The object was created in thread id {self._thread} and this is thread id {here}."
            )
            raise ProgrammingError(text)

    def run(self, verb: str, sql: str, values: tuple[Any, ...]) -> Outcome:
        """Run one statement, again while the write lock is taken."""
        native = self._session()
        waits = delays(self._busy_timeout)
        while True:
            try:
                result = self._perform(native, sql, values)
                break
            except OperationalError as error:
                pause = next(waits, None) if is_busy(error) else None
                if pause is None:
                    raise
                time.sleep(pause)
        if result is not None and verb in CHANGING:
            self.changed(max(result.rowcount, 0))
        limit = self._max_total_rows
        if result is not None and limit is not None and len(result.rows) > limit:
            self._invalidated = True
            native.close()
            raise too_many_rows(limit, len(result.rows))
        return Outcome.of(verb, result)

    def run_script(self, script: str) -> None:
        """Run the statements of a script."""
        native = self._session()
        try:
            native.executescript(script)
        except Error as error:
            self._judge(native)
            raise_translated(error)

    @contextlib.contextmanager
    def alone(self) -> Generator[None, None, None]:
        """Keep other threads away for a while."""
        native = self._session()
        block = native.enter_block(self._timeout)
        try:
            yield
        finally:
            if block is not None:
                native.leave_block()

    def _check_caller(self) -> None:
        self.check_thread()

    def _session(self) -> Native:
        self.check_usable()
        with self._opening:
            if self._native is None:
                native = Native(self._options())
                native.set_trace_callback(self._trace)
                with connect_errors():
                    native.open()
                    if self._session_mode == "read_only":
                        native.perform(TYPED, "PRAGMA query_only = 1", ())
                self._native = native
        return self._native

    def _perform(self, native: Native, sql: str, values: tuple[Any, ...]) -> _native.Result | None:
        try:
            result: _native.Result | None = native.perform(TYPED, sql, (values,))
        except Error as error:
            self._judge(native)
            if self._closed:
                text = f"Connection force-closed during operation (id={id(self)})"
                raise InterfaceError(text) from error
            raise_translated(error)
        return result

    def _judge(self, native: Native) -> None:
        if native.address is None:
            self._invalidated = True

    def _end(self, sql: str) -> None:
        self.check_thread()
        self.check_usable()
        self._check_outside(sql.lower())
        if self._native is None or not self._native.in_transaction:
            return
        try:
            self.run(sql.lower(), sql, ())
        except OperationalError as error:
            if not is_no_transaction_error(error):
                raise
