"""Where the engine is looked for, and which one that is. No library is loaded in this process."""

from __future__ import annotations

import functools
import os
import socket
import tempfile

import dqlite
from dqlitepy._translate import node_errors

_place: str | None = None


def configure(path: str | None) -> None:
    """Set where nodes look for the engine: a bundle's directory or a library; None resets it."""
    global _place  # noqa: PLW0603 - the published function has nowhere else to keep it
    _place = path


def engine() -> str | None:
    """Return the place that was configured, or that the environment gives by an older name."""
    if _place is not None or "DQLITE_ENGINE" in os.environ:
        return _place
    return os.environ.get("DQLITEPY_LIBRARY") or os.environ.get("DQLITE_LIBRARY")


def get_version() -> tuple[int, str]:
    """Return the engine's version as number and text, such as ``(11807, "1.18.7")``.

    The first call starts a node for a moment, since only its process loads the engine.
    """
    text = _version(engine())
    major, minor, release = (int(part) for part in text.split("."))
    return major * 10000 + minor * 100 + release, text


@functools.cache
def _version(place: str | None) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (
        node_errors("get_version", 0, address),
        tempfile.TemporaryDirectory() as directory,
        dqlite.Node(address, directory, engine=place) as node,
    ):
        found = node.engine
        return "" if found is None else found.version
