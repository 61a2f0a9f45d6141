"""Parameter sets: what may be one, and how it reaches the encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from dqlite import exceptions

Params: TypeAlias = Sequence[Any] | Mapping[str, Any]
"""Values by position for ``?`` and ``?NNN``, by name for ``:name``, ``@name`` and ``$name``."""


def one_set(params: object) -> tuple[Any, ...]:
    """Return the arguments of a native call for one parameter set; else ProgrammingError."""
    if isinstance(params, (tuple, list, dict)):
        return (cast("Any", params),)
    if isinstance(params, Mapping):
        return (dict(cast("Mapping[str, Any]", params)),)
    if isinstance(params, (str, bytes, bytearray, memoryview)) or not isinstance(params, Sequence):
        kind = type(cast("Any", params)).__name__
        text = f"parameters must be a sequence or a mapping, not {kind}"
        raise exceptions.ProgrammingError(text)
    return (tuple(cast("Sequence[Any]", params)),)
