"""Whose turn it is on a sync connection: one statement, one transaction block at a time."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

from dqlite import exceptions


class Gate:
    """A lock that the thread inside a transaction block holds until the block ends."""

    def __init__(self, name: str) -> None:
        """Start free."""
        self._name = name
        self._lock = threading.Lock()
        self._block: object | None = None
        self._owner: int | None = None

    def is_inside(self) -> bool:
        """Whether this thread is in a block."""
        return self._block is not None and self._owner == threading.get_ident()

    def take(self, timeout: float | None) -> bool:
        """Wait for the turn of one statement; StatementTimeoutError after `timeout` seconds.

        Whether it must be given back with `give`: inside a block it is the block's.
        """
        if self.is_inside():
            return False
        self._take(timeout)
        return True

    def give(self) -> None:
        """Give a turn back."""
        self._lock.release()

    @contextmanager
    def turn(self, timeout: float | None) -> Generator[None]:
        """Do `take` and `give` around a block of code."""
        taken = self.take(timeout)
        try:
            yield
        finally:
            if taken:
                self.give()

    def enter_block(self, timeout: float | None) -> object | None:
        """Keep other threads away; None if this thread is in a block already."""
        if self.is_inside():
            return None
        self._take(timeout)
        self._owner = threading.get_ident()
        self._block = block = object()
        return block

    def leave_block(self) -> None:
        """Let the others in again."""
        self._block = self._owner = None
        self._lock.release()

    def _take(self, timeout: float | None) -> None:
        wait = -1 if timeout is None else timeout
        if self._lock.acquire(blocking=False) or self._lock.acquire(timeout=wait):
            return
        whom = "a transaction" if self._block is not None else "another call"
        text = f"waited {timeout} s for {whom} on connection {self._name!r}"
        raise exceptions.StatementTimeoutError(text, outcome="not_sent")
