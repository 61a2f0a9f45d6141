"""Who gets which connection of a sync pool: the books, safe for threads; nothing here dials."""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic

from dqlite import exceptions
from dqlite._options import Options
from dqlite._pooling import Counters, Limits, crowded, full
from dqlite._state import State


class Member:
    """A connection of the pool, lent or idle."""

    def __init__(self, state: State, expires: float) -> None:
        """Start with no session."""
        self.state = state
        self.expires = expires
        self.idle_since = 0.0
        self.initialised = 0


class _Place:
    """A waiter; served with a member, or with None: the right to open one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.served = False
        self.member: Member | None = None

    def serve(self, member: Member | None) -> None:
        self.served, self.member = True, member
        self.lock.release()


class Books:
    """The idle, the lent and the waiting, in the order in which they came.

    Who waits is handed a connection or the right to open one, so nobody who comes later can take
    what it waited for.
    """

    def __init__(self, limits: Limits, options: Options) -> None:
        """Start empty; the options are those of its connections."""
        self.limits = limits
        self._options = options
        self.counters = Counters()
        self.closed = False
        self.size = 0
        # The collector may end a borrower that forgot its connection while this thread is in here.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._idle: list[Member] = []
        self._lent: set[Member] = set()
        self._waiting: deque[_Place] = deque()
        self._lost_address: str | None = None

    def lend(self, timeout: float | None) -> Member:
        """Give out an idle member or a new one; wait for one if there must be no more."""
        with self._lock:
            self._check()
            if self._idle and not self._waiting:
                return self._give(self._idle.pop())
            if self.size < self.limits.max_size:
                self.size += 1
                return self._give(self._make())
            if 0 < self.limits.max_waiting <= len(self._waiting):
                raise crowded(len(self._waiting))
            place = _Place()
            self._waiting.append(place)
        return self._wait(place, timeout)

    def take_back(self, member: Member) -> None:
        """Hand a clean member to the next waiter, or let it idle."""
        with self._lock:
            self._lent.discard(member)
            self._settle(member)
            dropped = self._surplus()
            self._changed.notify_all()
        for one in dropped:
            close(one)

    def write_off(self, member: Member) -> None:
        """Take a lent member out of the books; it was closed, or lost."""
        with self._lock:
            self._lent.discard(member)
            self._drop(member)
            self._changed.notify_all()
        close(member)

    def expire(self) -> None:
        """Let every session be renewed: idle ones at once, lent ones when they return."""
        with self._lock:
            for member in (*self._idle, *self._lent):
                member.expires = 0.0
            idle = list(self._idle)
        for member in idle:
            terminate(member)

    def resize(self, min_size: int, max_size: int | None) -> None:
        """Change the sizes; what is too many goes when it is idle."""
        limits = self.limits.resized(min_size, max_size)
        with self._lock:
            self.limits = limits
            dropped: list[Member] = []
            while self._idle and self.size > limits.max_size:
                dropped.append(self._idle.pop(0))
                self._drop(dropped[-1])
            self._serve_rights()
        for member in dropped:
            close(member)

    def leader_lost(self, address: str) -> None:
        """Drop the idle sessions with a node that does not lead any more."""
        with self._lock:
            if address != self._lost_address:
                self._lost_address = address
                self.counters.leader_changes += 1
            stale = [member for member in self._idle if member.state.address == address]
        for member in stale:
            terminate(member)

    def idle(self) -> list[Member]:
        """Return the idle members."""
        with self._lock:
            return list(self._idle)

    def missing(self) -> list[Member]:
        """Return new members, as lent, for the places up to `min_size` that are empty."""
        with self._lock:
            self._check()
            made = [self._make() for _ in range(self.limits.min_size - self.size)]
            self.size += len(made)
            self._lent.update(made)
            return made

    def sizes(self) -> dict[str, float]:
        """How many members are in which state now."""
        with self._lock:
            return {
                "pool_size": self.size,
                "idle": len(self._idle),
                "in_use": len(self._lent),
                "waiting": len(self._waiting),
            }

    def refuse(self) -> None:
        """Lend nothing any more; waiters are told."""
        with self._lock:
            self.closed = True
            waiting, self._waiting = self._waiting, deque()
            for place in waiting:
                place.serve(None)

    def wait_for_all(self, timeout: float | None) -> bool:
        """Wait until nothing is lent; whether it came to that."""
        with self._lock:
            return self._changed.wait_for(lambda: not self._lent, timeout)

    def take_everything(self) -> list[Member]:
        """Empty the books."""
        with self._lock:
            members = [*self._idle, *self._lent]
            self._idle.clear()
            self._lent.clear()
            self.size = 0
            return members

    def _wait(self, place: _Place, timeout: float | None) -> Member:
        begun = monotonic()
        try:
            place.lock.acquire(timeout=-1 if timeout is None else max(timeout, 0.0))
        except BaseException:
            with self._lock:
                self._pass_on(place)
            raise
        with self._lock:
            self.counters.wait_seconds_total += monotonic() - begun
            self._check()
            if not place.served:
                self._waiting.remove(place)
                self.counters.timeouts += 1
                raise full(self.limits, len(self._lent), timeout)
            return self._give(self._make() if place.member is None else place.member)

    def _make(self) -> Member:
        state = State(self._options)
        state.on_leader_lost = self.leader_lost
        return Member(state, self.limits.expires(monotonic()))

    def _pass_on(self, place: _Place) -> None:
        """Somebody gave up waiting, perhaps at the moment when it was served."""
        if not place.served:
            if place in self._waiting:
                self._waiting.remove(place)
        elif place.member is not None:
            self._settle(place.member)
        elif not self.closed:
            self._free_place()

    def _check(self) -> None:
        if self.closed:
            text = "pool is closed"
            raise exceptions.InterfaceError(text)

    def _give(self, member: Member) -> Member:
        self._lent.add(member)
        self.counters.acquired += 1
        return member

    def _settle(self, member: Member) -> None:
        if self.closed or member.state.closed or self.size > self.limits.max_size:
            self._drop(member)
            return
        if self._waiting:
            self._waiting.popleft().serve(member)
            return
        member.idle_since = monotonic()
        self._idle.append(member)

    def _surplus(self) -> list[Member]:
        """Take out what idled too long; the longest idle are the first."""
        found: list[Member] = []
        longest = monotonic() - self.limits.max_idle
        while (
            self.size > self.limits.min_size and self._idle and self._idle[0].idle_since < longest
        ):
            found.append(self._idle.pop(0))
            self._drop(found[-1])
        return found

    def _drop(self, member: Member) -> None:
        if member.state.session_number:
            self.counters.closed += 1
        self._free_place()

    def _free_place(self) -> None:
        self.size = max(self.size - 1, 0)
        self._serve_rights()

    def _serve_rights(self) -> None:
        while self._waiting and self.size < self.limits.max_size:
            self.size += 1
            self._waiting.popleft().serve(None)


def terminate(member: Member) -> None:
    """Drop the session; the next use makes another."""
    if member.state.session is not None:
        member.state.session.terminate()


def close(member: Member) -> None:
    """Drop the session for good."""
    member.state.closed = True
    terminate(member)
