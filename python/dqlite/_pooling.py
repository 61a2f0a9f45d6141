"""What the pools for threads and for tasks have in common: limits and counters."""

from __future__ import annotations

from typing import NamedTuple

from dqlite import exceptions

LIFETIME_JITTER: float = 0.1
"""The share of its lifetime by which a connection may be renewed earlier than others."""


class Limits(NamedTuple):
    """How many connections, and how long; times in seconds."""

    min_size: int
    max_size: int
    max_waiting: int
    max_idle: float
    max_lifetime: float

    def checked(self) -> Limits:
        """Return them; ProgrammingError if the sizes contradict each other."""
        if not 0 <= self.min_size <= self.max_size or self.max_size < 1:
            text = (
                "sizes must satisfy 0 <= min_size <= max_size >= 1, "
                f"got {self.min_size} and {self.max_size}"
            )
            raise exceptions.ProgrammingError(text)
        return self

    def resized(self, min_size: int, max_size: int | None) -> Limits:
        """Return them with other sizes."""
        largest = max(min_size, self.max_size) if max_size is None else max_size
        return self._replace(min_size=min_size, max_size=largest).checked()

    def expires(self, now: float) -> float:
        """Return when a session that begins now is to be renewed; not all in one moment."""
        return now + self.max_lifetime * (1 - now * 1e6 % 1 * LIFETIME_JITTER)


class Counters:
    """What happened since a pool was made."""

    def __init__(self) -> None:
        """Start at zero."""
        self.acquired = 0
        self.timeouts = 0
        self.opened = 0
        self.closed = 0
        self.leader_changes = 0
        self.wait_seconds_total = 0.0

    def stats(self) -> dict[str, float]:
        """Return them by name."""
        return dict(vars(self))


def full(limits: Limits, in_use: int, timeout: float | None) -> exceptions.PoolTimeoutError:
    """Return the error of a caller who waited in vain."""
    text = (
        f"no connection of the pool became free within {timeout} s "
        f"(max_size={limits.max_size}, in use={in_use})"
    )
    return exceptions.PoolTimeoutError(text)


def crowded(waiting: int) -> exceptions.PoolTimeoutError:
    """Return the error of a caller who may not even wait."""
    text = f"{waiting} callers wait for a connection of the pool already"
    return exceptions.PoolTimeoutError(text, stage="closed")
