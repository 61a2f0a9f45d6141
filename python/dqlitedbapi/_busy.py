"""How long to wait before a statement that met a taken lock is tried again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Final

_DELAYS_MS: Final = (1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100)
"""SQLite's own table; the last one repeats."""


def delays(budget: float) -> Iterator[float]:
    """Yield seconds to sleep until `budget` seconds have passed since the first was asked for."""
    until = time.monotonic() + budget
    for milliseconds in chain(_DELAYS_MS, repeat(_DELAYS_MS[-1])):
        left = until - time.monotonic()
        if left <= 0:
            return
        yield min(milliseconds / 1000, left)
