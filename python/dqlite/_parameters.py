"""Parameter sets: what may be one, and how it reaches the encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from dqlite import exceptions

Params: TypeAlias = Sequence[Any] | Mapping[str, Any]
"""Values by position for ``?`` and ``?NNN``, by name for ``:name``, ``@name`` and ``$name``."""


def one_set(params: Params) -> tuple[Any, ...]:
    """The arguments of a native call for one parameter set; ProgrammingError if it is none."""
    if isinstance(params, (tuple, list, dict)):
        return (params,)
    if isinstance(params, Mapping):
        return (dict(params),)
    if isinstance(params, (str, bytes, bytearray, memoryview)) or not isinstance(params, Sequence):
        kind = type(params).__name__
        text = f"parameters must be a sequence or a mapping, not {kind}"
        raise exceptions.ProgrammingError(text)
    return (tuple(params),)


def many_sets(sets: Iterable[Params]) -> Iterable[tuple[Any, ...]]:
    """The same for each set of an `executemany`, taken when it is needed."""
    return map(one_set, sets)
