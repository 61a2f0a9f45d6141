"""Tell a node's events to a function, in a thread of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, Final

from dqlite import _native

_WAIT_S: Final = 0.5
_ENDS: Final = frozenset({"stopped", "failed", "removed"})


class Teller:
    """Tells the events of one run, from before its start to its end."""

    def __init__(self, node: _native.Node, tell: Callable[[dict[str, Any]], object]) -> None:
        """Begin."""
        self._tell = tell
        self._events = node.events()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dqlite-on-event", daemon=True)
        self._thread.start()

    def end(self, timeout: float) -> None:
        """Wait until what has happened is told, unless this is asked from within the telling."""
        self._over.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            text = self._events.next(_WAIT_S)
            if text is None:
                if self._over.is_set():
                    return
                continue
            event: dict[str, Any] = json.loads(text)
            try:
                self._tell(event)
            except Exception:
                import logging  # noqa: PLC0415 - importing dqlite does not

                logging.getLogger("dqlite.node").exception("on_event raised")
            if event["type"] == "state" and event["to"] in _ENDS:
                return
