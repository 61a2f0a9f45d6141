"""What a statement is, and the two statements that this driver answers or rewrites."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence, Sized
from typing import Any, Final, cast

from dqlite import _native
from dqlite.exceptions import ProgrammingError
from dqlitedbapi._adapt import adapt_bind_param

SESSION_MODES: Final = frozenset({"deferred", "exclusive", "immediate", "read_only"})
CHANGING: Final = frozenset({"delete", "insert", "replace", "update"})

_ENDING: Final = frozenset(
    {"begin", "commit", "release", "rollback", "rollback to", "savepoint"},
)
_BARE_BEGIN: Final = re.compile(r"\s*BEGIN(\s+TRANSACTION)?\s*;?\s*", re.IGNORECASE)
_BUSY_TIMEOUT: Final = re.compile(
    r"\s*PRAGMA\s+busy_timeout\s*(?:=\s*(-?\d+)|\(\s*(-?\d+)\s*\))?\s*;?\s*", re.IGNORECASE
)
_MILLISECONDS_MAX: Final = 2**31 - 1


def validate_session_mode(value: object) -> str:
    """Return the mode in lower case; TypeError or ValueError if it is none."""
    if not isinstance(value, str):
        text = f"session_mode must be a str, got {type(value).__name__}"
        raise TypeError(text)
    if value.lower() not in SESSION_MODES:
        text = f"Invalid session_mode {value!r}; valid values are {sorted(SESSION_MODES)}"
        raise ValueError(text)
    return value.lower()


def default_session_mode() -> str:
    """Return that of ``DQLITE_SESSION_MODE``, else ``immediate``."""
    return validate_session_mode(os.environ.get("DQLITE_SESSION_MODE", "").strip() or "immediate")


def verb_of(operation: object) -> str:
    """Return the verb of the one statement; ProgrammingError if there is none, or another."""
    if not isinstance(operation, str):
        text = f"operation must be a str SQL statement, got {type(operation).__name__}"
        raise ProgrammingError(text)
    if "\0" in operation:
        text = "the query contains a null character"
        raise ProgrammingError(text)
    verb = _native.statement_verb(operation)
    if verb == "empty":
        text = "empty statement"
        raise ProgrammingError(text)
    return verb


def check_many(verb: str, sets: object) -> None:
    """Refuse what `executemany` does not take."""
    if sets is None:
        text = "executemany() seq_of_parameters must be an iterable, not None"
        raise ProgrammingError(text)
    if isinstance(sets, (str, bytes, bytearray, memoryview, set, frozenset, dict)):
        text = (
            "executemany seq_of_parameters must be an iterable of parameter sets "
            f"(e.g. a list of tuples), not {type(cast('object', sets)).__name__}"
        )
        raise ProgrammingError(text)
    if verb in _ENDING:
        text = f"executemany() does not accept {verb.upper()}; use execute()"
        raise ProgrammingError(text)
    if verb not in CHANGING:
        text = "executemany() only accepts INSERT / UPDATE / DELETE / REPLACE; use execute()"
        raise ProgrammingError(text)


def bound(sql: str, params: object) -> tuple[Any, ...]:
    """Return the values to send; ProgrammingError if they are no sequence or too many or few."""
    values = () if params is None else _sequence(params)
    named = _native.parameters(sql)  # which only this style's placeholders may be
    wanted = sum(name is None or name.startswith("?") for name in named)
    if wanted != len(values):
        text = (
            f"Incorrect number of bindings supplied. The current statement uses {wanted}, "
            f"and there are {len(values)} supplied."
        )
        raise ProgrammingError(text)
    return tuple(map(adapt_bind_param, values))


def _sequence(params: object) -> Sequence[Any]:
    kind = type(params).__name__
    if isinstance(params, (str, bytes, bytearray, memoryview)):
        text = (
            f"parameters must be a sequence of values, not {kind!r}; "
            "did you mean a one-element tuple like (value,)?"
        )
        raise ProgrammingError(text)
    if hasattr(params, "keys"):
        text = "qmark paramstyle requires a sequence; got a mapping"
        raise ProgrammingError(text)
    if isinstance(params, (set, frozenset)):
        text = "qmark paramstyle requires an ordered sequence; got a set"
        raise ProgrammingError(text)
    if not isinstance(params, Sized):
        text = f"qmark paramstyle requires a sized sequence (tuple/list); got {kind!r}"
        raise ProgrammingError(text)
    return cast("Sequence[Any]", params)


def rewrite_begin(sql: str, session_mode: str) -> str:
    """Say how a bare BEGIN begins, if the mode says so."""
    if session_mode in {"immediate", "exclusive"} and _BARE_BEGIN.fullmatch(sql):
        return f"BEGIN {session_mode.upper()}"
    return sql


def busy_timeout_pragma(sql: str) -> tuple[bool, int | None]:
    """Whether it is ``PRAGMA busy_timeout``, and the milliseconds that it sets, if it does."""
    found = _BUSY_TIMEOUT.fullmatch(sql)
    if found is None:
        return False, None
    given = found[1] or found[2]
    if given is None:
        return True, None
    return True, int(given) if 0 < int(given) <= _MILLISECONDS_MAX else 0
