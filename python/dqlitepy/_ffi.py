"""Where the engine is looked for, and which one that is. No library is loaded in this process."""

from __future__ import annotations

import functools
import os

from dqlite import engine_info
from dqlite.exceptions import EngineNotFoundError
from dqlitepy.exceptions import DqliteLibraryNotFound

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

    DqliteLibraryNotFound lists every place searched.
    """
    text = _version(engine(), os.environ.get("DQLITE_ENGINE"))
    major, minor, release = (int(part) for part in text.split("."))
    return major * 10000 + minor * 100 + release, text


@functools.cache
def _version(place: str | None, _environment: str | None) -> str:
    try:
        return engine_info(place).version
    except EngineNotFoundError as error:
        raise DqliteLibraryNotFound(error.tried) from error
