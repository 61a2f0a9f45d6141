"""A mutex that is taken in the order of asking."""

from __future__ import annotations

import asyncio
from collections import deque


class Turn:
    """Whose statement may use the connection now.

    The free case costs no await: ``if turn.taken: await turn.wait(t)``, ``else: turn.taken =
    True``. `give` hands it to the next waiter directly, so nobody can slip in between.
    """

    __slots__ = ("_waiting", "taken")

    def __init__(self) -> None:
        """Start free."""
        self.taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait(self, timeout: float | None) -> None:
        """Queue up until it is ours; TimeoutError after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        self._waiting.append(place)
        timer = None if timeout is None else loop.call_later(timeout, _expire, place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.give()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def give(self) -> None:
        """Pass it on to the next who still waits."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.taken = False


def _expire(place: asyncio.Future[None]) -> None:
    if not place.done():
        place.set_exception(TimeoutError())
