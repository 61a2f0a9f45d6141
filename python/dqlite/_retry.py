"""What a call does after an error: raise, or wait and try again. Data and time in, data out."""

from __future__ import annotations

from typing import Final

from dqlite import exceptions

BUSY_PAUSE_S_MAX: Final = 0.1
SEARCH_PAUSE_S_MAX: Final = 0.25
LOST_RETRIES_MAX: Final = 1
"""A statement under which a session died is sent once more at most, and only a harmless one."""


class Attempts:
    """The history of one call outside a transaction; BEGIN and COMMIT are its edges.

    What may have happened is never tried again: errors say so by their `retry`.
    """

    __slots__ = ("_busy_until", "_kind", "_lost", "_tried")

    def __init__(self, kind: str, *, busy_until: float) -> None:
        """Start with nothing tried; BUSY is waited out until `busy_until`."""
        self._kind = kind
        self._busy_until = busy_until
        self._lost = 0
        self._tried = 0

    def pause_after(self, error: exceptions.Error, now: float) -> float | None:
        """Seconds to wait before the next attempt; None if there must be none."""
        self._tried += 1
        if isinstance(error, exceptions.BusyError):
            return self._busy_pause(error, now)
        if self._kind == "commit" or error.retry != "elsewhere" or _has_searched(error):
            return None
        if isinstance(error, exceptions.OutcomeUnknownError):
            self._lost += 1
            if self._lost > LOST_RETRIES_MAX:
                return None
        if self._tried == 1:
            return 0.0
        return _jitter(min(0.01 * 2 ** min(self._tried, 10), SEARCH_PAUSE_S_MAX), now)

    def _busy_pause(self, error: exceptions.Error, now: float) -> float | None:
        if error.retry != "here" or now >= self._busy_until:
            return None
        longest = min(0.001 * 2 ** min(self._tried, 10), BUSY_PAUSE_S_MAX)
        return min(_jitter(longest, now), self._busy_until - now)


def _has_searched(error: exceptions.Error) -> bool:
    """Whether the search for a leader itself failed, or time is up."""
    if isinstance(error, exceptions.NoLeaderError | exceptions.StatementTimeoutError):
        return True
    return isinstance(error, exceptions.ConnectionFailedError) and error.stage != "lost"


def _jitter(longest: float, now: float) -> float:
    """Half to all of `longest`; the clock's last digits are random enough to part callers."""
    return longest * (0.5 + now * 1e6 % 1 / 2)
