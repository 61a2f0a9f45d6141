"""Exceptions under older names: one class that is both, made once per pair.

Code written for an older package catches that package's classes; new code catches ours. Where the
two trees cut differently, what a face raises is an instance of both.
"""

from __future__ import annotations

import functools
from typing import Any, TypeVar, cast

from dqlite.exceptions import Error

E = TypeVar("E", bound=Error)


def face(base: type[E], canonical: type[Error]) -> type[E]:
    """Return the class that derives from both; one of the two if it does so already."""
    if issubclass(canonical, base):
        return canonical
    return base if issubclass(base, canonical) else cast("type[E]", _composed(base, canonical))


@functools.cache
def _composed(base: type[Error], canonical: type[Error]) -> type[Error]:
    body = {
        "__doc__": canonical.__doc__,
        "__module__": base.__module__,
        "__reduce__": functools.partialmethod(_reduce, base, canonical),
    }
    return type(canonical.__name__, (base, canonical), body)


def reclassify(error: Error, base: type[E]) -> E:
    """Return the same error as an instance of `base`, too."""
    if isinstance(error, base):
        return error
    return _restore(face(base, type(error)), error.args, error.__dict__)


def _reduce(error: Error, base: type[Error], canonical: type[Error]) -> tuple[Any, ...]:
    return _restore_both, (base, canonical, error.args, error.__dict__)


def _restore_both(
    base: type[Error], canonical: type[Error], args: tuple[Any, ...], state: dict[str, Any]
) -> Error:
    return _restore(face(base, canonical), args, state)


def _restore(cls: type[E], args: tuple[Any, ...], state: dict[str, Any]) -> E:
    # Another built-in base may come first in the order of lookup, and its `__new__` refuses.
    new = OSError.__new__ if issubclass(cls, OSError) else cls.__new__
    error = cast("E", new(cls))
    error.args = args
    error.__dict__.update(state)
    return error
