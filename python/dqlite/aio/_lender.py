"""Who gets which connection of a pool, and which are opened, reset and dropped when."""

from __future__ import annotations

import contextlib
import weakref
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from dqlite import exceptions
from dqlite._options import Options, seconds_left
from dqlite._pooling import Counters, Limits, crowded, full
from dqlite.aio import _loop
from dqlite.aio._core import Core
from dqlite.aio._hooks import Hooks


@dataclass(eq=False, slots=True)
class _Member:
    core: Core
    expires: float
    idle_since: float = 0.0
    initialised: int = 0


@dataclass(eq=False, slots=True)
class _Place:
    """A waiter; its future is given a connection or the right to open one."""

    future: _loop.Pending
    until: float | None


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
    _waiting: deque[_Place] = field(default_factory=deque["_Place"])
    _timer: _loop.Timer | None = None
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
        member = self._idle.pop()
        self._lent[member.core] = member
        self.counters.acquired += 1
        return member.core

    async def lend(self, timeout: float | None) -> Core:
        """Give out an idle connection or a new one; wait for one if there must be no more."""
        self._bind()
        deadline = None if timeout is None else monotonic() + timeout
        if self._idle:
            member = self._idle.pop()
        elif self.size < self.limits.max_size:
            self.size += 1
            member = await self._open(deadline)
        else:
            waited = await self._wait(timeout)
            member = await self._open(deadline) if waited is None else waited
        try:
            await self._prepare(member, deadline)
        except BaseException:
            self._drop(member)
            raise
        self._lent[member.core] = member
        self.counters.acquired += 1
        return member.core

    def take_back(self, core: Core) -> None:
        """Put a connection back; what it left open is undone in the background."""
        member = self._lent.pop(core, None)
        if member is None:
            text = "this connection is not one of this pool"
            raise exceptions.InterfaceError(text)
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
            "waiting": len(self._waiting),
        }

    def resize(self, limits: Limits) -> None:
        """Change the sizes; what is missing is opened soon, what is too many goes when idle."""
        self.limits = limits
        while self._idle and self.size > limits.max_size:
            self._drop(self._idle.pop(0))
        while self.size < limits.max_size and (waiter := self._next_waiter()) is not None:
            self.size += 1
            waiter.set_result(None)

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

    def _bind(self) -> None:
        loop = _loop.running()
        if self._bound not in {None, loop}:
            text = "pool is bound to a different event loop"
            raise exceptions.InterfaceError(text)
        self._bound = loop
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

    async def _wait(self, timeout: float | None) -> _Member | None:
        if 0 < self.limits.max_waiting <= len(self._waiting):
            raise crowded(len(self._waiting))
        loop = _loop.running()
        place = _Place(loop.create_future(), None if timeout is None else loop.time() + timeout)
        self._waiting.append(place)
        begun = loop.time()
        if place.until is not None:
            self._alarm(loop, place.until)
        try:
            return await place.future
        except TimeoutError as error:
            self.counters.timeouts += 1
            raise full(self.limits, len(self._lent), timeout) from error
        except BaseException:
            self._pass_on(place)
            raise
        finally:
            self.counters.wait_seconds_total += loop.time() - begun

    def _alarm(self, loop: _loop.Loop, at: float) -> None:
        """See to it that waiters are looked after by then; one timer serves them all."""
        if self._timer is None or self._timer.when() > at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(at, self._overdue, loop)

    def _overdue(self, loop: _loop.Loop) -> None:
        self._timer = None
        now, soonest = loop.time(), None
        for place in list(self._waiting):
            if place.until is None or place.future.done():
                continue
            if place.until <= now:
                self._waiting.remove(place)
                place.future.set_exception(TimeoutError())
            else:
                soonest = place.until if soonest is None else min(soonest, place.until)
        if soonest is not None:
            self._alarm(loop, soonest)

    def _pass_on(self, place: _Place) -> None:
        """Somebody gave up waiting, perhaps at the moment when it was served."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(place)
        future = place.future
        if future.done() and not future.cancelled() and future.exception() is None:
            member = future.result()
            if member is None:
                self._free_place()
            else:
                self._settle(member)

    def _next_waiter(self) -> _loop.Pending | None:
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                return future
        return None

    def _settle(self, member: _Member) -> None:
        """Hand a clean connection to the next waiter, or let it idle."""
        if self.closed:
            self._tell_who_leaves()
        crowd = self.size > self.limits.max_size
        if self.closed or member.core.closed or crowd or self._is_old(member):
            self._drop(member)
            return
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(member)
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
        waiter = None if self.closed else self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
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
        while (waiter := self._next_waiter()) is not None:
            text = "pool is closed"
            waiter.set_exception(exceptions.InterfaceError(text))

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
