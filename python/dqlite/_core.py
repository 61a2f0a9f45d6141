"""How a sync connection runs a statement: its turn, its retries, its transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from time import monotonic
from typing import Any, Final

from dqlite import _native, exceptions
from dqlite._control import Control, check_reads
from dqlite._gate import Gate
from dqlite._lexed import lexed
from dqlite._options import Options, Timeout, seconds_left
from dqlite._state import STILL_OPEN, State, conflict_may_have_ended
from dqlite._watch import Logger, Watch

RUN: Final = _native.Projection("result")
"""For statements whose rows nobody wants."""


_SLICE_S: Final = 0.02
"""How long a pause goes on before it looks whether its call is to end."""


class Call:
    """Several statements that end together when they are interrupted."""

    def __init__(self, before: int) -> None:
        """Begin after so many interrupts."""
        self.before = before
        self.is_over = False


class Core:
    """One session at a time, one statement at a time."""

    def __init__(self, checked: Options, control: Control | None = None) -> None:
        """Start without a session; nothing is sent."""
        self._state = State(checked)
        self._gate = Gate(checked.name)
        self._control = Control() if control is None else control
        self._trace: Callable[[str], object] | None = None
        self._loggers: list[Logger] = []
        self._interrupts = self._interrupts_told = self._interrupts_before = 0
        self._forgiven = -1
        self._calls: dict[int, Call] = {}
        self.readonly = 0
        """How many blocks around the running code may only read. For transactions."""
        self.on_connect: Callable[[Any], object] | None = None

    def perform(
        self,
        projection: _native.Projection,
        sql: str,
        args: tuple[Any, ...],
        timeout: Timeout = ...,
        *,
        begins: bool = True,
    ) -> Any:
        """Run one statement and give back what `projection` asks for; see `aio._core`."""
        seconds = self._state.options.timeout if timeout is ... else timeout
        deadline = None if seconds is None else monotonic() + seconds
        begun = monotonic() if self._loggers else 0.0
        taken = self._gate.take(seconds)
        try:
            self._begins()
            if self.readonly:
                check_reads(*lexed(sql))
            manual = begins and self._control.manual
            if manual and (begin := self._implied(sql)) is not None:
                self._traced(begin)
                self._attempt(RUN, begin, (), deadline)
            if self._trace is not None:
                self._trace(sql)
            if begun:
                watch = Watch(sql, args, begun)
                return self._watched(watch, projection, sql, args, deadline)
            return self._attempt(projection, sql, args, deadline)
        except exceptions.StatementTimeoutError:
            self._noticed()
            raise
        finally:
            if taken:
                self._gate.give()

    def perform_many(
        self, projection: _native.Projection, sql: str, sets: Iterable[Any], timeout: Timeout
    ) -> Any:
        """Run one statement with each set of parameters, pipelined; inside a transaction only."""
        seconds = self._seconds(timeout)
        deadline = None if seconds is None else monotonic() + seconds
        with self._gate.turn(seconds):
            self._begins()
            if self.readonly:
                check_reads(*lexed(sql))
            self._traced(sql)
            state, session = self._state, self._ready(deadline)
            left = seconds_left(deadline, monotonic())
            if self._is_interrupted():
                raise self._ended_before()
            try:
                return session.run_many(projection, sql, sets, left)
            except exceptions.StatementTimeoutError:
                self._noticed()
                state.abandoned(sql)
                raise
            except exceptions.Error:
                state.judge(session)
                raise
            except BaseException:
                if session.draining:
                    state.abandoned(sql)
                raise

    def read_on(self, session: _native.Connection, stream: _native.Stream) -> None:
        """Wait until a stream has more rows, or ends. For cursors."""
        with self._gate.turn(self._state.options.timeout):
            self._read_on(session, stream)

    def reader(self, session: _native.Connection, stream: _native.Stream) -> Callable[[], None]:
        """Return `read_on` for other threads, which inside a block of this one stand in for it."""
        read = self._read_on if self._gate.is_inside() else self.read_on
        return partial(read, session, stream)

    def _read_on(self, session: _native.Connection, stream: _native.Stream) -> None:
        self._begins()
        if self._is_interrupted():
            raise self._ended_before()
        try:
            session.wait_more(stream, self._state.options.timeout)
        except exceptions.Error:
            self._noticed()
            self._state.judge(session)
            raise

    def open(self) -> None:
        """Find the leader and open the database unless that is done."""
        with self._gate.turn(None):
            self._begins()
            self._ready(None)

    def interrupt(self) -> None:
        """End the call that another thread is in; nothing happens if there is none.

        Also one of several statements, as `executemany`, `executescript`, `bulk_load` and
        `run_transaction` are, wherever it is; a `transaction` block is none. That call raises
        StatementTimeoutError, "interrupted", with the code of SQLITE_INTERRUPT, and the outcome it
        would have at its deadline. The statement ends on the server, too, if that is a node of
        ours; on others its answer is waited for. The connection stays usable, an open transaction
        can only be rolled back.
        """
        self._interrupts += 1
        if self._state.session is not None:
            self._state.session.interrupt()
        self._interrupts_told += 1

    @contextmanager
    def one_call(self) -> Generator[Call]:
        """Have the statements of this thread end together when they are interrupted."""
        me = get_ident()
        inside = self._calls.get(me)
        call = self._calls[me] = inside or Call(self._interrupts)
        try:
            yield call
        finally:
            if inside is None:
                del self._calls[me]

    def pause(self, seconds: float, call: Call | None = None) -> None:
        """Wait, unless the call is to end."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            if self._interrupts != (self._interrupts_before if call is None else call.before):
                return
            time.sleep(min(left, _SLICE_S))

    def _begins(self) -> None:
        """Begin a statement: what was asked before its call is not meant for it.

        A session is told after we are, and once more we after that: what it was told too late for
        the call that was meant is forgiven before the next begins.
        """
        call = self._calls.get(get_ident()) if self._calls else None
        asked = self._interrupts + self._interrupts_told
        self._interrupts_before = self._interrupts if call is None else call.before
        if asked != self._forgiven and not self._is_interrupted():
            self._forgiven = asked
            if self._state.session is not None:
                self._state.session.forgive()

    def _is_interrupted(self) -> bool:
        """Whether the call that has its turn shall end: for what it does between statements."""
        return self._interrupts != self._interrupts_before

    def _check_ends(self, session: _native.Connection, sql: str) -> None:
        """Raise instead of sending `sql`; what ends the transaction is sent all the same."""
        if _native.statement_kind(sql) != "rollback":
            raise self._ended_before()
        session.forgive()

    def _noticed(self) -> None:
        """Let what follows in a call that is interrupted now, which is its end, run in peace."""
        for call in list(self._calls.values()):
            if call.before != self._interrupts:
                call.before, call.is_over = self._interrupts, True

    def _ended_before(self) -> exceptions.StatementTimeoutError:
        """Return what is raised when a call ends before its next statement is sent."""
        self._noticed()
        if self._state.in_transaction:
            self._state.mark(broken=True)
        here = exceptions.StatementTimeoutError(
            address=self._state.address, outcome="not_sent", retry="no"
        )
        return interrupted(here)

    def dump_files(self) -> dict[str, bytes]:
        """Fetch the database from the leader: its file, and its WAL. For copies."""
        options = self._state.options
        seconds = options.config.connect_timeout if options.timeout is None else options.timeout
        return _native.Admin(options.config, seconds).dump(options.config.database)

    def enter_block(self, timeout: Timeout) -> object | None:
        """Keep other threads away; None inside a block of this thread. For transactions."""
        return self._gate.enter_block(self._seconds(timeout))

    def leave_block(self) -> None:
        """Let the others in again. For transactions."""
        self._gate.leave_block()

    def _traced(self, sql: str) -> None:
        if self._trace is not None:
            self._trace(sql)

    def _implied(self, sql: str) -> str | None:
        """Return the BEGIN that must precede `sql` by the rules of transaction control."""
        verb, writes = lexed(sql)
        if self._state.in_transaction:
            self._control.check(verb, writes=writes)
            return None
        return self._control.begin_before(verb, writes=writes)

    def _end(self, sql: str) -> None:
        """Run a statement that begins or ends a transaction."""
        self.perform(RUN, sql, ())

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
            try:
                return self._once(projection, sql, args, deadline)
            except exceptions.Error as error:
                session = state.session
                if session is not None and conflict_may_have_ended(session, error):
                    self._settle(session, deadline)
                attempts, pause = state.failed(error, sql, attempts)
                if deadline is not None and monotonic() + pause >= deadline:
                    raise
                self.pause(pause)
                if self._is_interrupted():
                    raise interrupted(error) from error
            except BaseException:  # Ctrl-C, and the statement may be on its way all the same
                if state.session is not None and state.session.draining:
                    state.abandoned(sql)
                raise

    def _once(
        self,
        projection: _native.Projection,
        sql: str,
        args: tuple[Any, ...],
        deadline: float | None,
    ) -> Any:
        state = self._state
        session = state.session
        if session is None or state.broken or session.closed:
            if state.broken and _native.statement_kind(sql) == "rollback":
                return self._roll_back(deadline)
            session = self._ready(deadline)
        if self._is_interrupted():
            self._check_ends(session, sql)
        return session.run(projection, sql, args, seconds_left(deadline, monotonic()))

    def _watched(
        self,
        watch: Watch,
        projection: _native.Projection,
        sql: str,
        args: tuple[Any, ...],
        deadline: float | None,
    ) -> Any:
        try:
            answer = self._attempt(projection, sql, args, deadline)
        except exceptions.Error as error:
            watch.over(self._loggers, self._state.address, error=error)
            raise
        watch.over(self._loggers, self._state.address, answer)
        return answer

    def _settle(self, session: _native.Connection, deadline: float | None) -> None:
        """Ask whether a conflict has ended the transaction; a block then can only roll back."""
        try:
            for question in STILL_OPEN:
                session.run(RUN, question, (), seconds_left(deadline, monotonic()))
        except exceptions.StatementTimeoutError:
            self._state.abandoned(STILL_OPEN[0])
        except exceptions.Error:
            return  # it is open, or the session is lost
        except BaseException:
            self._state.abandoned(STILL_OPEN[0])
            raise
        if self._gate.is_inside():
            self._state.mark(broken=True)

    def break_transaction(self) -> None:
        """Let the open block do nothing but roll back: the server has ended its transaction."""
        self._state.mark(broken=True)

    def _ready(self, deadline: float | None) -> _native.Connection:
        """Bring about a session that can take a statement, or raise."""
        state = self._state
        state.check()
        session = state.session
        if session is None or session.closed:
            seconds = state.options.config.connect_timeout
            if deadline is not None:
                seconds = min(seconds, max(deadline - monotonic(), 0.0))
            session = _native.dial(state.options.config, seconds, self._is_interrupted)
            if self.on_connect is not None:
                self._introduce(session, self.on_connect)
            state.adopt(session)
        return session

    def _introduce(self, session: _native.Connection, greet: Callable[[Any], object]) -> None:
        """Show a new session, as a connection that has it and no other, before it is used."""
        guest = type(self)(self._state.options._replace(reconnect=False))
        state = guest._state  # noqa: SLF001 - its own class
        state.adopt(session)
        try:
            greet(guest)
        except BaseException:
            session.terminate()
            raise
        finally:
            state.session, state.closed = None, True

    def _roll_back(self, deadline: float | None) -> None:
        """End a broken transaction, whatever is left of it."""
        state = self._state
        state.broken = False
        session = state.session
        if session is None or session.closed:
            return
        session.forgive()
        try:
            session.run(RUN, "ROLLBACK", (), seconds_left(deadline, monotonic()))
        except exceptions.OperationalError:
            if session.in_transaction:
                session.terminate()  # which rolls back, too


def interrupted(error: exceptions.Error) -> exceptions.StatementTimeoutError:
    """Return what is raised when a call is interrupted before it tries again after `error`."""
    from dqlite import codes  # noqa: PLC0415 - seldom needed, and long

    code, text = codes.SQLITE_INTERRUPT, "interrupted"
    return exceptions.StatementTimeoutError(
        text,
        code,
        sqlite_errorname=codes.name_of(code),
        address=error.address,
        outcome=error.outcome,
        retry=error.retry,
    )
