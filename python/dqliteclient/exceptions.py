"""The exceptions of dqlite-client: ours under its names, and two of its own.

There an OperationalError means that the server answered FAILURE, whatever the code. Such an error
is one of these and, at the same time, the exception of `dqlite` that the code stands for.
"""

from __future__ import annotations

import re
from typing import Final

from dqlite import exceptions as canonical
from dqlite.exceptions import (
    ClusterError,
    ClusterPolicyError,
    DataError,
    InterfaceError,
    ProtocolError,
)
from dqlite.exceptions import ConnectionFailedError as DqliteConnectionError
from dqlite.exceptions import Error as DqliteError

__all__ = [
    "AmbiguousCommitError",
    "ClusterError",
    "ClusterPolicyError",
    "DataError",
    "DqliteConnectionError",
    "DqliteError",
    "InterfaceError",
    "OperationalError",
    "ProtocolError",
]

MESSAGE_CHARS_MAX: Final = 1024
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What could forge lines of a log; line feeds and tabs are left alone."""


class OperationalError(canonical.DatabaseError):
    """The server refused a statement; `code` says why, `raw_message` is its text in full."""

    def __init__(self, message: str, code: int, *, raw_message: str | None = None) -> None:
        """Keep the text, at most 1024 characters of it, and the code."""
        shown = shortened(_CONTROL.sub(_escaped, message))
        super().__init__(shown, code, raw_message=raw_message or message)

    def __repr__(self) -> str:
        """Show the code, too."""
        return f"{type(self).__name__}({self.message!r}, code={self.code!r})"


class AmbiguousCommitError(OperationalError, canonical.AmbiguousCommitError):
    """Nobody knows whether a COMMIT took effect."""


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def shortened(message: str) -> str:
    """Return at most 1024 characters and how many were cut."""
    cut = len(message) - MESSAGE_CHARS_MAX
    return f"{message[:MESSAGE_CHARS_MAX]}... [truncated, {cut} chars]" if cut > 0 else message
