"""One asyncio connection: its server session, whose turn it is, and what is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from time import monotonic
from typing import Any, Final

from dqlite import _native, exceptions
from dqlite._options import Options, Timeout, seconds_left
from dqlite._state import State
from dqlite.aio._turn import Turn

_BLOCKS: Final[ContextVar[tuple[object, ...]]] = ContextVar("dqlite_blocks", default=())
"""The transaction blocks around the running task: its own and those it was started in."""

_ROLLBACK: Final = _native.Projection("result")


class Core(State):
    """What `Connection` objects stand on; a pool lends the same core to one after the other."""

    def __init__(self, options: Options) -> None:
        """Start without a session; nothing is sent."""
        super().__init__(options)
        self._gate = Turn()
        self._inner = Turn()
        self._block: object | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

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
        turn = self._turn()
        if turn.taken:
            await self._queue(turn, seconds)
            seconds = seconds_left(deadline, monotonic())
        else:
            turn.taken = True
        attempts = None
        try:
            while True:
                try:
                    session = self.session
                    if session is None or not self.usable():
                        if self.broken and _native.statement_kind(sql) == "rollback":
                            return await self._roll_back(deadline)
                        session = await self._ready(deadline)
                    future = session.submit(projection, sql, args, seconds)
                    if future is not None:
                        return await self._answer(session, future, sql)
                    await self._ready(deadline)
                except exceptions.Error as error:
                    attempts, pause = self.failed(error, sql, attempts)
                    if deadline is not None and monotonic() + pause >= deadline:
                        raise
                    await asyncio.sleep(pause)
                seconds = seconds_left(deadline, monotonic())
        finally:
            turn.give()

    async def _answer(
        self, session: _native.Connection, future: asyncio.Future[Any], sql: str
    ) -> Any:
        try:
            return await future
        except asyncio.CancelledError:
            session.forget(future)
            self.abandoned(sql)
            raise

    async def open(self, timeout: float | None = None) -> None:
        """Find the leader and open the database unless that is done."""
        await self._ready(None if timeout is None else monotonic() + timeout)

    def terminate(self) -> None:
        """Drop the socket without waiting; an open transaction is rolled back by that."""
        if self.session is not None:
            self.session.terminate()

    def close(self) -> None:
        """Drop the socket and refuse further use; idempotent."""
        self.closed = True
        self.terminate()

    def needs_reset(self) -> bool:
        """Whether something is open or due that the next user must not meet."""
        session = self.session
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
        try:
            inside = asyncio.get_running_loop() is loop
        except RuntimeError:
            inside = False
        for call in (self.terminate, *(() if on_lost is None else (partial(on_lost, self),))):
            if inside:
                call()
            else:
                loop.call_soon_threadsafe(call)

    async def enter_block(self, timeout: Timeout) -> object | None:
        """Keep tasks outside this block away; None if this is inside one of this connection."""
        if self._is_inside():
            return None
        if self._gate.taken:
            await self._queue(self._gate, self.options.timeout if timeout is ... else timeout)
        else:
            self._gate.taken = True
        self._block = block = object()
        _BLOCKS.set((*_BLOCKS.get(), block))
        return block

    def leave_block(self, block: object) -> None:
        """Let the others in again."""
        _BLOCKS.set(tuple(outer for outer in _BLOCKS.get() if outer is not block))
        self._block = None
        self._gate.give()

    def _is_inside(self) -> bool:
        return self._block is not None and self._block in _BLOCKS.get()

    def _turn(self) -> Turn:
        return self._inner if self._is_inside() else self._gate

    async def _queue(self, turn: Turn, seconds: float | None) -> None:
        try:
            await turn.wait(seconds)
        except TimeoutError as error:
            whom = "a transaction" if self._block is not None else "another call"
            text = f"waited {seconds} s for {whom} on connection {self.options.name!r}"
            raise exceptions.StatementTimeoutError(text, outcome="not_sent") from error

    async def _ready(self, deadline: float | None) -> _native.Connection:
        """Bring about a session that can take a statement, or raise."""
        self.check()
        session = self.session
        if session is not None and session.draining:
            await self._drain(session, deadline)
        if session is None or session.closed:
            session = await self._dial(deadline)
            self.adopt(session)
        return session

    async def _drain(self, session: _native.Connection, deadline: float | None) -> None:
        """Wait until the replies of cancelled calls are read and dropped, or the session is."""
        left = seconds_left(deadline, monotonic())
        done, _ = await asyncio.wait([session.drained()], timeout=left)
        if not done:
            text = "the reply of a cancelled call was not over in time"
            raise exceptions.StatementTimeoutError(text, outcome="not_sent")

    async def _roll_back(self, deadline: float | None) -> None:
        """End a broken transaction, whatever is left of it."""
        self.broken = False
        session = self.session
        if session is None or session.closed:
            return
        try:
            if session.draining:
                await self._drain(session, deadline)
            left = seconds_left(deadline, monotonic())
            future = session.submit(_ROLLBACK, "ROLLBACK", (), left)
            if future is not None:
                await self._answer(session, future, "ROLLBACK")
        except exceptions.OperationalError:
            if session.in_transaction:
                session.terminate()  # which rolls back, too

    async def _dial(self, deadline: float | None) -> _native.Connection:
        """Dial in a thread without Python; the loop hears of the end through a socket pair."""
        loop = asyncio.get_running_loop()
        if self._loop not in {None, loop}:
            text = f"connection {self.options.name!r} is bound to a different event loop"
            raise exceptions.InterfaceError(text)
        self._loop = loop
        seconds = self.options.config.connect_timeout
        if deadline is not None:
            seconds = min(seconds, max(deadline - monotonic(), 0.0))
        dial = _native.Dial(self.options.config, seconds)
        done: asyncio.Future[None] = loop.create_future()
        loop.add_reader(dial.fileno(), _resolve, done)
        try:
            await done
        except asyncio.CancelledError:
            dial.cancel()
            raise
        finally:
            loop.remove_reader(dial.fileno())
        session = dial.result()
        session.attach(loop)
        return session


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
