"""Who gets which connection of a pool, and which are opened, reset and dropped when."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Coroutine
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NoReturn

from dqlite import exceptions
from dqlite._options import Options, seconds_left
from dqlite._pooling import Counters, Limits, crowded, full
from dqlite.aio import _loop
from dqlite.aio._core import Core
from dqlite.aio._hooks import Hooks
from dqlite.aio._line import YOURS, Errand, Line, Place


@dataclass(eq=False, slots=True)
class _Member:
    core: Core
    expires: float
    idle_since: float = 0.0
    initialised: int = 0


@dataclass(eq=False)
class Lender:
    """The books of a pool.

    A waiter is handed either a connection or, as None, the right to open one; so nobody who comes
    later can take what it waited for.
    """

    options: Options
    limits: Limits
    hooks: Hooks | None = None
    counters: Counters = field(default_factory=Counters)
    closed: bool = False
    size: int = 0
    _idle: list[_Member] = field(default_factory=list["_Member"])
    _lent: dict[Core, _Member] = field(default_factory=dict["Core", "_Member"])
    _cleaned: set[_Member] = field(default_factory=set["_Member"])
    _line: Line = field(default_factory=Line)
    _tasks: set[_loop.Task] = field(default_factory=set["_loop.Task"])
    _bound: _loop.Loop | None = None
    _lost_address: str | None = None
    _leaving: list[_loop.Pending] = field(default_factory=list["_loop.Pending"])

    async def open(self) -> None:
        """Open `min_size` connections in parallel; all or nothing."""
        self._bind()
        try:
            done = await _loop.gather(*(self._refill() for _ in range(self._reserve_missing())))
        except BaseException:
            self.terminate()
            raise
        failed = [error for error in done if error is not None]
        if failed:
            self.terminate()
            raise failed[0]
        self._spawn(_keep(weakref.ref(self)))

    async def fill(self, timeout: float | None) -> None:
        """Open what is missing up to `min_size`; PoolTimeoutError if that does not succeed."""
        self._bind()
        missing = [self._refill(timeout) for _ in range(self._reserve_missing())]
        for error in await _loop.gather(*missing):
            if error is not None:
                text = f"the pool is not open after {timeout} s: {error}"
                raise exceptions.PoolTimeoutError(text) from error

    async def _refill(self, timeout: float | None = None) -> None:
        self._settle(await self._open(None if timeout is None else monotonic() + timeout))

    def grab(self) -> Core | None:
        """Give out an idle connection, if there is one, whatever has become of its session."""
        if self.closed or not self._idle or self.hooks is not None:
            return None
        return self._enter(self._idle.pop())

    async def lend(self, timeout: float | None) -> Core:
        """Give out an idle connection or a new one; wait for one if there must be no more."""
        loop = self._bind()
        deadline = None if timeout is None else monotonic() + timeout
        if self._idle:
            member = self._idle.pop()
        elif self.size < self.limits.max_size:
            self.size += 1
            member = await self._open(deadline)
        else:
            place = self._queue(loop, timeout, None)
            try:
                await place.answer
            except BaseException as error:  # noqa: BLE001 - raises
                self._miss(place, error, timeout)
            member = place.member or await self._open(place.until)
        if self.closed or not self._is_prepared(member):
            try:
                self._check()
                await self._prepare(member, deadline)
            except BaseException:
                self._drop(member)
                raise
        return self._enter(member)

    async def run(self, errand: Errand, timeout: float | None) -> Any:
        """Run one statement on an idle connection, or on the first that becomes free."""
        core = self.grab()
        if core is None and self.hooks is None and self.size >= self.limits.max_size:
            place = self._queue(self._bind(), timeout, errand)
            try:
                answer = await place.answer
            except BaseException as error:  # noqa: BLE001 - goes on or raises
                return await self._recover(place, error, timeout)
            if place.member is not None:
                core = place.member.core
                if answer is not YOURS:
                    self.take_back(core)
                    return answer
            else:
                core = self._enter(await self._open(place.until))
        if core is None:
            core = await self.lend(timeout)
        try:
            future = core.lane.submit(*errand)
            if future is None:
                return await core.perform(*errand)
            try:
                return await future
            except BaseException as error:  # noqa: BLE001 - goes on or raises
                return await core.recover(error, future, *errand)
        finally:
            self.take_back(core)

    async def _recover(self, place: Place, error: BaseException, timeout: float | None) -> Any:
        """Go on after the errand of a waiter has failed, if it was sent at all."""
        if place.member is None or place.errand is None:
            self._miss(place, error, timeout)
        core = place.member.core
        try:
            return await core.recover(error, place.answer, *place.errand)
        finally:
            self.take_back(core)

    def take_back(self, core: Core) -> None:
        """Put a connection back; what it left open is undone in the background."""
        member = self._lent.pop(core, None)
        if member is None:
            if self.closed and core.closed:
                return  # under its borrower's hands
            text = "this connection is not one of this pool"
            raise exceptions.InterfaceError(text)
        core.close_block()
        unclean = core.needs_reset() or (self.hooks is not None and self.hooks.reset is not None)
        if unclean and not core.closed:
            self._cleaned.add(member)
            self._spawn(self._reset(member))
        else:
            self._settle(member)

    def forget(self, core: Core) -> None:
        """Write off a borrowed connection that was lost by its borrower."""
        member = self._lent.pop(core, None)
        if member is not None:
            self._drop(member)

    def expire(self) -> None:
        """Replace every session: idle ones at their next use, borrowed ones when they return."""
        for member in (*self._idle, *self._cleaned, *self._lent.values()):
            member.expires = 0.0
        for member in self._idle:
            member.core.terminate()

    def sizes(self) -> dict[str, int]:
        """How many connections are in which state now."""
        return {
            "pool_size": self.size,
            "idle": len(self._idle),
            "in_use": len(self._lent),
            "waiting": len(self._line),
        }

    def resize(self, limits: Limits) -> None:
        """Change the sizes; what is missing is opened soon, what is too many goes when idle."""
        self.limits = limits
        while self._idle and self.size > limits.max_size:
            self._drop(self._idle.pop(0))
        while self.size < limits.max_size and (waiter := self._line.next()) is not None:
            self.size += 1
            self._serve(waiter, None)

    async def close(self, timeout: float | None = None) -> None:
        """Refuse further use, wait for what is lent, close everything."""
        self._refuse()
        deadline = None if timeout is None else monotonic() + timeout
        while self._lent:
            gone: _loop.Pending = _loop.running().create_future()
            self._leaving.append(gone)
            if not await _loop.is_over(gone, seconds_left(deadline, monotonic())):
                break
        tasks = list(self._tasks)
        self.terminate()
        for task in tasks:
            await _loop.is_over(task, None)

    def terminate(self) -> None:
        """Close everything at once."""
        self._refuse()
        for task in self._tasks:
            task.cancel()
        for member in (*self._idle, *self._lent.values()):
            member.core.close()
        self._idle.clear()
        self._lent.clear()
        self.size = 0
        self._tell_who_leaves()

    def _tell_who_leaves(self) -> None:
        """Somebody waits for the end of what is lent."""
        leaving, self._leaving = self._leaving, []
        for gone in leaving:
            if not gone.done():
                gone.set_result(None)

    def discard(self) -> None:
        """Close from whatever thread the collector runs in."""
        self.closed = True
        for member in (*self._idle, *self._lent.values()):
            member.core.discard()

    def _bind(self) -> _loop.Loop:
        loop = _loop.running()
        if self._bound is None:
            self._bound = loop
        elif self._bound is not loop:
            text = "pool is bound to a different event loop"
            raise exceptions.InterfaceError(text)
        self._check()
        return loop

    def _check(self) -> None:
        if self.closed:
            text = "pool is closed"
            raise exceptions.InterfaceError(text)

    def _reserve_missing(self) -> int:
        missing = max(self.limits.min_size - self.size, 0)
        self.size += missing
        return missing

    async def _open(self, deadline: float | None) -> _Member:
        """Open a connection in a place that `size` counts already."""
        core = Core(self.options)
        core.on_leader_lost = self._leader_lost
        member = _Member(core, 0.0)
        try:
            await self._connect(member, deadline)
            self._check()
        except BaseException:
            core.close()
            self._free_place()
            raise
        return member

    async def _connect(self, member: _Member, deadline: float | None) -> None:
        """See to it that there is a session, and that `init` has seen it."""
        core = member.core
        await core.open(seconds_left(deadline, monotonic()))
        if member.initialised != core.session_number:
            member.initialised = core.session_number
            member.expires = self.limits.expires(monotonic())
            self.counters.opened += 1
            if self.hooks is not None:
                await self.hooks.started(core)

    def _enter(self, member: _Member) -> Core:
        """Note that a connection is lent."""
        self._lent[member.core] = member
        self.counters.acquired += 1
        return member.core

    def _is_prepared(self, member: _Member) -> bool:
        """Whether there is nothing to do for a borrower to get a session that is alive."""
        core = member.core
        known = self.hooks is None and member.initialised == core.session_number
        return known and core.usable()

    async def _prepare(self, member: _Member, deadline: float | None) -> None:
        """See to it that a borrower gets a session that is alive, as far as one can tell."""
        await self._connect(member, deadline)
        if self.hooks is None or await self.hooks.borrowed(member.core):
            return
        member.core.terminate()
        await self._connect(member, deadline)
        if not await self.hooks.borrowed(member.core):
            text = "a new session did not pass the check of the pool"
            raise exceptions.ConnectionFailedError(text, stage="open")

    def _queue(self, loop: _loop.Loop, timeout: float | None, errand: Errand | None) -> Place:
        if 0 < self.limits.max_waiting <= len(self._line):
            raise crowded(len(self._line))
        return self._line.join(loop, timeout, errand)

    def _serve(self, place: Place, member: _Member | None) -> None:
        """Give a waiter what it waits for."""
        place.member = member
        self.counters.wait_seconds_total += place.waited()
        if member is None or place.errand is None:
            place.answer.set_result(YOURS)
            return
        core = self._enter(member)
        try:
            sent = core.lane.submit(*place.errand, place.answer)
        except Exception:  # noqa: BLE001 - its owner meets it on the long way
            sent = None
        if sent is None:
            place.answer.set_result(YOURS)

    def _miss(self, place: Place, error: BaseException, timeout: float | None) -> NoReturn:
        """Clear up after a waiter who gets no connection, and raise."""
        if place.is_served():  # at the same moment
            if place.member is None:
                self._free_place()
            else:
                self._settle(place.member)
            raise error
        self._line.leave(place)
        self.counters.wait_seconds_total += place.waited()
        if isinstance(error, TimeoutError):
            self.counters.timeouts += 1
            raise full(self.limits, len(self._lent), timeout) from error
        raise error

    def _settle(self, member: _Member) -> None:
        """Hand a clean connection to the next waiter, or let it idle."""
        if self.closed:
            self._tell_who_leaves()
        crowd = self.size > self.limits.max_size
        if self.closed or member.core.closed or crowd or self._is_old(member):
            self._drop(member)
            return
        waiter = self._line.next()
        if waiter is not None:
            self._serve(waiter, member)
            return
        member.idle_since = monotonic()
        self._idle.append(member)

    def _is_old(self, member: _Member) -> bool:
        return monotonic() > member.expires

    def _drop(self, member: _Member) -> None:
        if not member.core.closed:
            member.core.close()
        self.counters.closed += 1
        self._free_place()

    def _free_place(self) -> None:
        self._tell_who_leaves()
        crowd = self.size > self.limits.max_size
        waiter = None if self.closed or crowd else self._line.next()
        if waiter is not None:
            self._serve(waiter, None)
        else:
            self.size = max(self.size - 1, 0)

    async def _reset(self, member: _Member) -> None:
        try:
            if member.core.needs_reset():
                await member.core.reset()
            if self.hooks is not None:
                await self.hooks.returned(member.core)
        except Exception:  # noqa: BLE001 - nobody waits for this: it costs the connection
            member.core.close()
        finally:
            self._cleaned.discard(member)
            self._settle(member)

    def _leader_lost(self, address: str) -> None:
        """Drop the idle sessions with a node that does not lead any more."""
        if address != self._lost_address:
            self._lost_address = address
            self.counters.leader_changes += 1
        for member in self._idle:
            if member.core.address == address:
                member.core.terminate()

    def _refuse(self) -> None:
        self.closed = True
        while (waiter := self._line.next()) is not None:
            text = "pool is closed"
            waiter.answer.set_exception(exceptions.InterfaceError(text))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = _loop.start(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def keep(self) -> None:
        """Close what idled too long, renew what is old, refill up to `min_size`."""
        now = monotonic()
        for member in list(self._idle):
            surplus = self.size > self.limits.min_size
            if self._is_old(member) or (surplus and now - member.idle_since > self.limits.max_idle):
                self._idle.remove(member)
                self._drop(member)
        for _ in range(self._reserve_missing()):
            with contextlib.suppress(exceptions.Error):
                self._settle(await self._open(None))

    def pause(self) -> float:
        """Seconds until `keep` is worth calling again."""
        return min(max(min(self.limits.max_idle, self.limits.max_lifetime) / 4, 0.05), 1.0)


async def _keep(ref: weakref.ref[Lender]) -> None:
    """Keep a pool as long as somebody holds it."""
    while (lender := ref()) is not None and not lender.closed:
        await lender.keep()
        pause = lender.pause()
        del lender
        await _loop.sleep(pause)
