"""What those who watch a connection are told of its statements."""

from __future__ import annotations

from collections.abc import Callable, Sized
from time import monotonic
from typing import Any, NamedTuple, TypeAlias, cast

from dqlite import _native, exceptions


class LoggedQuery(NamedTuple):
    """One statement that was run, for those who watch; never its parameters."""

    sql: str
    params_count: int
    """How many parameters it was given."""
    rows: int
    """How many rows it gave, or changed; -1 where nobody knows yet."""
    elapsed: float
    """Seconds from the call to its answer."""
    wait: float
    """Seconds of these that went by before its turn."""
    address: str | None
    """The node that answered."""
    exception: exceptions.Error | None
    """What was raised."""


Logger: TypeAlias = Callable[[LoggedQuery], object]


def check_callback(callback: object) -> None:
    """Refuse what cannot be called, while it is known who gave it."""
    if not callable(callback):
        text = f"a callback must be callable, not {type(callback).__name__}"
        raise exceptions.ProgrammingError(text, outcome="not_sent")


class Watch:
    """The statement that runs, for its watchers."""

    def __init__(self, sql: str, args: tuple[Any, ...], begun: float) -> None:
        """Begin: its turn has come, for which it asked at `begun`."""
        self._sql = sql
        self._count = count(args)
        self._begun = begun
        self._wait = monotonic() - begun

    def over(
        self,
        loggers: list[Logger],
        address: str | None,
        answer: object = None,
        error: exceptions.Error | None = None,
    ) -> None:
        """Tell that it was answered, or what was raised."""
        query = LoggedQuery(
            self._sql,
            self._count,
            -1 if error is not None else rows(answer),
            monotonic() - self._begun,
            self._wait,
            address if error is None else error.address,
            error,
        )
        for logger in list(loggers):
            logger(query)


def count(args: tuple[Any, ...]) -> int:
    """Return how many parameters the arguments of a native call are."""
    alone = len(args) == 1 and isinstance(args[0], (list, tuple, dict))
    return len(cast("Sized", args[0]) if alone else args)


def rows(answer: object) -> int:
    """Return how many rows an answer has, or the statement changed; -1 where nobody knows yet."""
    if isinstance(answer, _native.Result):
        return len(answer.rows) if answer.columns is not None else answer.rowcount
    if isinstance(answer, _native.Stream):
        return -1
    return len(cast("Sized", answer)) if isinstance(answer, list) else int(answer is not None)
