"""Calls that block and are no data path: a thread waits, the event loop goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dqlite.aio import _loop

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Return what `call` returns; who is cancelled does not wait for its end."""
    return await _loop.in_thread(call)
