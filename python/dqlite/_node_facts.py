"""What a node tells of itself, and how it is told what it needs."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from dqlite import exceptions


class Stopped(NamedTuple):
    """How a node stopped."""

    handed_over: bool
    """Whether it gave leadership away first."""
    leader: str | None
    """Who leads afterwards, as far as the node knew."""
    seconds: float
    killed: bool
    """Whether the process had to be killed."""
    ending: str
    """How the process ended; empty if there was none."""


class Engine(NamedTuple):
    """The engine that a node runs on."""

    path: str
    version: str
    bundle: str | None


def options_json(options: dict[str, Any]) -> str:
    """Return the options as the supervisor reads them; paths become text."""
    try:
        return json.dumps(options, default=os.fspath)
    except (TypeError, ValueError) as error:
        text = f"options of a node must be numbers, text, paths, lists: {error}"
        raise exceptions.NodeConfigError(text) from error
