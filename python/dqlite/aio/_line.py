"""The line of those who wait for a connection of a pool."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, TypeAlias

from dqlite import _native
from dqlite._options import Timeout
from dqlite.aio import _loop

Errand: TypeAlias = tuple[_native.Projection, str, tuple[Any, ...], Timeout]
"""A statement: what is wanted of its answer, its text, its parameters, its time limit."""

YOURS: Final = object()
"""The answer to a waiter whose turn it is: its place says what it was given."""


@dataclass(eq=False, slots=True)
class Place:
    """A waiter, who is given a connection or, as None, the right to open one.

    Its errand is sent on the connection as soon as it has one, so that no round of the loop passes
    in between; the waiter then awaits the answer already.
    """

    answer: _native.Answer
    since: float
    until: float | None
    errand: Errand | None
    member: Any = None

    def waited(self) -> float:
        """Seconds since it has joined."""
        return monotonic() - self.since

    def is_served(self) -> bool:
        """Whether it was given something."""
        answer = self.answer
        return answer.done() and not answer.cancelled() and answer.exception() is None


class Line:
    """First come, first served; who waits too long gets a TimeoutError."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._places: deque[Place] = deque()
        self._timer: _loop.Timer | None = None
        self._rings = 0.0
        self._trio: bool | None = None

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._places)

    def join(self, loop: _loop.Loop, timeout: float | None, errand: Errand | None) -> Place:
        """Wait behind all others, for so many seconds at most."""
        since = monotonic()
        until = None if timeout is None else since + timeout
        if self._trio is None:
            self._trio = hasattr(loop, "wait_for")
        place = Place(_native.Answer(loop, self._trio), since, until, errand)
        self._places.append(place)
        if until is not None:
            self._alarm(loop, until)
        return place

    def leave(self, place: Place) -> None:
        """Wait no more."""
        with contextlib.suppress(ValueError):
            self._places.remove(place)

    def next(self) -> Place | None:
        """Take out the first who still waits."""
        while self._places:
            place = self._places.popleft()
            if not place.answer.done():
                return place
        return None

    def _alarm(self, loop: _loop.Loop, at: float) -> None:
        """See to it that the line is looked at by then; one timer serves all."""
        if self._timer is None or self._rings > at:
            if self._timer is not None:
                self._timer.cancel()
            self._rings = at
            self._timer = loop.call_later(max(at - monotonic(), 0.0), self._look, loop)

    def _look(self, loop: _loop.Loop) -> None:
        self._timer = None
        now, soonest = monotonic(), None
        for place in list(self._places):
            if place.until is None or place.answer.done():
                continue
            if place.until <= now:
                self._places.remove(place)
                place.answer.set_exception(TimeoutError())
            else:
                soonest = place.until if soonest is None else min(soonest, place.until)
        if soonest is not None:
            self._alarm(loop, soonest)
