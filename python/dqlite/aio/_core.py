"""One asynchronous connection: its server session, whose turn it is, and what is tried again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dqlite import _native, exceptions
from dqlite._control import check_reads
from dqlite._lexed import lexed
from dqlite._options import Options, Timeout, seconds_left
from dqlite._retry import Attempts
from dqlite._state import STILL_OPEN, State, conflict_may_have_ended
from dqlite._watch import Logger, Watch
from dqlite.aio import _loop
from dqlite.aio._many import Sets, perform_many

_BLOCKS: Final[ContextVar[tuple[object, ...]]] = ContextVar("dqlite_blocks", default=())
"""The transaction blocks around the running task: its own and those it was started in."""

if TYPE_CHECKING:
    Pending: TypeAlias = _native.Answer | _loop.Pending

_ROLLBACK: Final = _native.Projection("result")


class Core(State):
    """What `Connection` objects stand on; a pool lends the same core to one after the other.

    A statement takes the short way, `lane.submit`, where nothing stands in it; `perform` is the
    long one, `recover` what follows an error on the short one.
    """

    def __init__(self, options: Options) -> None:
        """Start without a session; nothing is sent."""
        self.lane = _native.Lane(_BLOCKS, options.timeout)
        super().__init__(options)
        self.readonly = 0
        """How many blocks around the running task may only read."""
        self.loggers: list[Logger] = []
        self.trace: Callable[[str], object] | None = None
        self._block: object | None = None
        self._loop: _loop.Loop | None = None
        self.on_connect: Callable[[Core], Awaitable[None]] | None = None

    def adopt(self, session: _native.Connection) -> None:
        """Go on with a new session."""
        super().adopt(session)
        self.lane.use(session)

    def mark(self, *, broken: bool) -> None:
        """Note whether the open transaction can only be rolled back."""
        super().mark(broken=broken)
        self.choose_way()

    def choose_way(self) -> None:
        """Let statements take the short way where nothing stands in it, and nobody looks."""
        looks = self.trace is not None or bool(self.loggers)
        self.lane.shut(self.broken or self.closed or self.readonly > 0 or looks)

    def unwatch(self) -> None:
        """Let nobody look any more."""
        if self.trace is not None or self.loggers:
            self.trace, self.loggers = None, []
            self.choose_way()

    def count_readers(self, more: int) -> None:
        """Enter or leave a block that may only read. For transactions."""
        self.readonly += more
        self.choose_way()

    async def perform(
        self,
        projection: _native.Projection,
        sql: str,
        args: tuple[Any, ...],
        timeout: Timeout = ...,
    ) -> Any:
        """Run one statement and give back what `projection` asks for.

        Waits for its turn, connects if need be, tries again what cannot have happened, all within
        `timeout`.
        """
        seconds = self.options.timeout if timeout is ... else timeout
        deadline = None if seconds is None else monotonic() + seconds
        begun = monotonic() if self.loggers else 0.0
        await _loop.checkpoint()
        inside = await self.take_turn(seconds)
        try:
            if self.readonly:
                check_reads(*lexed(sql))
            if self.trace is not None:
                self.trace(sql)
            if begun:
                return await self._watched(Watch(sql, args, begun), projection, sql, args, deadline)
            return await self._attempt(projection, sql, args, deadline, None)
        finally:
            self.lane.give(inside)

    async def _watched(
        self,
        watch: Watch,
        projection: _native.Projection,
        sql: str,
        args: tuple[Any, ...],
        deadline: float | None,
    ) -> Any:
        try:
            answer = await self._attempt(projection, sql, args, deadline, None)
        except exceptions.Error as error:
            watch.over(self.loggers, self.address, error=error)
            raise
        watch.over(self.loggers, self.address, answer)
        return answer

    async def recover(  # noqa: PLR0917 - the call it goes on with
        self,
        error: BaseException,
        future: Pending,
        projection: _native.Projection,
        sql: str,
        args: tuple[Any, ...],
        timeout: Timeout = ...,
    ) -> Any:
        """Go on after `error` ended the short way: try again what cannot have happened, or raise.

        The turn is still ours unless the statement has succeeded.
        """
        inside = self.lane.is_inside()
        if not isinstance(error, exceptions.Error):
            if self._let_go(future, sql):
                self.lane.give(inside)
            raise error
        seconds = self.options.timeout if timeout is ... else timeout
        deadline = None if seconds is None else monotonic() + seconds - self.lane.age()
        try:
            attempts = await self._pause(error, sql, None, deadline)
            return await self._attempt(projection, sql, args, deadline, attempts)
        finally:
            self.lane.give(inside)

    def _let_go(self, future: Pending, sql: str) -> bool:
        """Give up a statement; True if its turn is still ours."""
        if self.session is not None and self.session.forget(future):
            self.abandoned(sql)
            return True
        return future.done() and not future.cancelled() and future.exception() is not None

    async def take_turn(self, seconds: float | None) -> bool:
        """Wait for the turn of one statement; whether it is one inside the block."""
        inside = self.lane.is_inside()
        if not self.lane.take(inside):
            await self._queue(seconds, inside=inside)
        return inside

    async def _attempt(
        self,
        projection: _native.Projection,
        sql: str,
        args: tuple[Any, ...],
        deadline: float | None,
        attempts: Attempts | None,
    ) -> Any:
        while True:
            try:
                session = self.session
                if session is None or not self.usable():
                    if self.broken and _native.statement_kind(sql) == "rollback":
                        return await self._roll_back(deadline)
                    session = await self.ready(deadline)
                left = seconds_left(deadline, monotonic())
                future = session.submit(projection, sql, args, left)
                if future is not None:
                    return await self.answer(session, future, sql)
                await self.ready(deadline)
            except exceptions.Error as error:
                attempts = await self._pause(error, sql, attempts, deadline)

    async def perform_many(
        self, projection: _native.Projection, sql: str, sets: Sets, timeout: Timeout
    ) -> Any:
        """Run one statement with each set of parameters, all or nothing."""
        return await perform_many(self, projection, sql, sets, timeout)

    def note(self, error: exceptions.Error, sql: str) -> None:
        """Learn what an error says of the session; it is not tried again."""
        if isinstance(error, exceptions.StatementTimeoutError):
            self.abandoned(sql)
        elif self.session is not None:
            self.judge(self.session)

    async def _pause(
        self,
        error: exceptions.Error,
        sql: str,
        attempts: Attempts | None,
        deadline: float | None,
    ) -> Attempts:
        """Wait until `sql` is worth another attempt; raises `error` if it must not be tried."""
        if self.session is not None and conflict_may_have_ended(self.session, error):
            await self._settle(self.session, deadline)
        attempts, pause = self.failed(error, sql, attempts)
        if deadline is not None and monotonic() + pause >= deadline:
            raise error
        await _loop.sleep(pause)
        return attempts

    async def _settle(self, session: _native.Connection, deadline: float | None) -> None:
        """Ask whether a conflict has ended the transaction; a block then can only roll back."""
        try:
            for question in STILL_OPEN:
                left = seconds_left(deadline, monotonic())
                future = session.submit(_ROLLBACK, question, (), left)
                if future is None:
                    return
                await self.answer(session, future, question)
        except exceptions.StatementTimeoutError:
            self.abandoned(STILL_OPEN[0])
        except exceptions.Error:
            return  # it is open, or the session is lost
        if self.lane.is_inside():
            self.mark(broken=True)

    async def answer(self, session: _native.Connection, future: Pending, sql: str) -> Any:
        """Wait for the answer; who is cancelled gives the statement up."""
        try:
            return await future
        except exceptions.Error:
            raise
        except BaseException:
            session.forget(future)
            self.abandoned(sql)
            raise

    @property
    def loop(self) -> _loop.Loop | None:
        """The event loop it belongs to, once it has connected."""
        return self._loop

    async def open(self, timeout: float | None = None) -> None:
        """Find the leader and open the database unless that is done."""
        await self.ready(None if timeout is None else monotonic() + timeout)

    def terminate(self) -> None:
        """Drop the socket without waiting; an open transaction is rolled back by that."""
        if self.session is not None:
            self.session.terminate()

    def close(self) -> None:
        """Drop the socket and refuse further use; idempotent."""
        self.closed = True
        self.lane.shut(True)
        self.terminate()

    def needs_reset(self) -> bool:
        """Whether something is open or due that the next user must not meet."""
        if self.lane.is_clean():
            return False
        session = self.session
        if session is not None and not session.closed:
            session.leave_all()
        if self.in_transaction or session is None or session.closed:
            return self.in_transaction
        return session.draining

    async def reset(self) -> None:
        """Bring about the state of a new connection, within a second or by a new session."""
        try:
            await self._roll_back(monotonic() + 1.0)
        except exceptions.Error:
            self.terminate()

    def discard(self, on_lost: Callable[[Core], None] | None = None) -> None:
        """Close from whatever thread the collector runs in, on the thread of the loop."""
        self.closed = True
        loop = self._loop
        if loop is None or loop.is_closed():
            self.terminate()
            return
        inside = _loop.is_inside(loop)
        for call in (self.terminate, *(() if on_lost is None else (partial(on_lost, self),))):
            if inside:
                call()
            else:
                loop.call_soon_threadsafe(call)

    async def enter_block(self, timeout: Timeout) -> object | None:
        """Keep tasks outside this block away; None if this is inside one of this connection."""
        if self.lane.is_inside():
            return None
        if not self.lane.take(False):
            await self._queue(self.options.timeout if timeout is ... else timeout, inside=False)
        self._block = block = object()
        self.lane.set_block(block)
        _BLOCKS.set((*_BLOCKS.get(), block))
        return block

    def leave_block(self, block: object) -> None:
        """Let the others in again."""
        _BLOCKS.set(tuple(outer for outer in _BLOCKS.get() if outer is not block))
        if self._block is block:
            self._open_way()

    def close_block(self) -> None:
        """Close if a block is not left: its holder could end another's transaction. For pools."""
        if self._block is not None:
            self.close()
            self._open_way()

    def _open_way(self) -> None:
        self._block = None
        self.lane.set_block(None)
        self.lane.give(False)

    async def _queue(self, seconds: float | None, *, inside: bool) -> None:
        """Wait for a turn behind those who asked before."""
        loop = _loop.running()
        place: _loop.Pending = loop.create_future()
        self.lane.queue(inside, place)
        timer = None if seconds is None else loop.call_later(seconds, _expire, place)
        try:
            await place
        except TimeoutError as error:
            whom = "a transaction" if self._block is not None else "another call"
            text = f"waited {seconds} s for {whom} on connection {self.options.name!r}"
            raise exceptions.StatementTimeoutError(text, outcome="not_sent") from error
        except BaseException:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.lane.give(inside)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def ready(self, deadline: float | None) -> _native.Connection:
        """Bring about a session that can take a statement, or raise."""
        self.check()
        session = self.session
        if session is not None and session.draining:
            await self._drain(session, deadline)
        if session is None or session.closed:
            session = await self._dial(deadline)
            if self.on_connect is not None:
                await self._introduce(session, self.on_connect)
            self.adopt(session)
        return session

    async def _introduce(
        self, session: _native.Connection, greet: Callable[[Core], Awaitable[None]]
    ) -> None:
        """Show a new session, as a core that has it and no other, before it is used."""
        guest = Core(self.options._replace(reconnect=False))
        guest._loop = self._loop
        guest.adopt(session)
        try:
            await greet(guest)
        except BaseException:
            session.terminate()
            raise

    async def _drain(self, session: _native.Connection, deadline: float | None) -> None:
        """Wait until the replies of cancelled calls are read and dropped, or the session is."""
        left = seconds_left(deadline, monotonic())
        if not await _loop.is_over(session.drained(), left):
            text = "the reply of a cancelled call was not over in time"
            raise exceptions.StatementTimeoutError(text, outcome="not_sent")

    async def _roll_back(self, deadline: float | None) -> None:
        """End a broken transaction, whatever is left of it."""
        self.mark(broken=False)
        session = self.session
        if session is None or session.closed:
            return
        try:
            if session.draining:
                await self._drain(session, deadline)
            left = seconds_left(deadline, monotonic())
            future = session.submit(_ROLLBACK, "ROLLBACK", (), left)
            if future is not None:
                await self.answer(session, future, "ROLLBACK")
        except exceptions.OperationalError:
            if session.in_transaction:
                session.terminate()  # which rolls back, too
        except BaseException:
            session.terminate()
            raise

    async def _dial(self, deadline: float | None) -> _native.Connection:
        """Dial in a thread without Python; the loop hears of the end through a socket pair."""
        loop = _loop.running()
        if self._loop not in {None, loop}:
            text = f"connection {self.options.name!r} is bound to a different event loop"
            raise exceptions.InterfaceError(text)
        self._loop = loop
        seconds = self.options.config.connect_timeout
        if deadline is not None:
            seconds = min(seconds, max(deadline - monotonic(), 0.0))
        dial = _native.Dial(self.options.config, seconds)
        done: _loop.Pending = loop.create_future()
        loop.add_reader(dial.fileno(), _resolve, done)
        try:
            await done
        except BaseException:
            dial.cancel()
            raise
        finally:
            loop.remove_reader(dial.fileno())
        session = dial.result()
        session.attach(loop)
        return session


def _resolve(done: _loop.Pending) -> None:
    if not done.done():
        done.set_result(None)


def _expire(place: _loop.Pending) -> None:
    if not place.done():
        place.set_exception(TimeoutError())
