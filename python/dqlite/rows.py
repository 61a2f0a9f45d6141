"""Row factories: what a cursor makes of a row.

The first group is built by the decoder itself, without a tuple in between. Anything else is called
with the cursor and the tuple of values, as stdlib ``sqlite3`` does::

    conn.row_factory = dqlite.rows.dict_row
    conn.row_factory = dqlite.rows.class_row(User)
    conn.row_factory = lambda cursor, row: row[0]
"""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar

from dqlite._native import Record
from dqlite.exceptions import ProgrammingError

T = TypeVar("T")
Shape: TypeAlias = Literal["record", "tuple", "list", "dict"]


class HasDescription(Protocol):
    """What a factory needs of a cursor."""

    @property
    def description(self) -> Any:
        """One sequence per column, its name first; None without columns."""
        ...


RowFactory: TypeAlias = Callable[[Any, tuple[Any, ...]], Any]
"""Called with the cursor and the values of a row; its result is the row."""


def record_row(cursor: HasDescription, row: tuple[Any, ...]) -> Record:
    """Make a `Record`: values by index and by name."""
    return Record(cursor, row)


def tuple_row(cursor: HasDescription, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Make a tuple."""
    return row


def list_row(cursor: HasDescription, row: tuple[Any, ...]) -> list[Any]:
    """Make a list."""
    return list(row)


def dict_row(cursor: HasDescription, row: tuple[Any, ...]) -> dict[str, Any]:
    """Make a dict; of columns with one name the last wins."""
    return dict(zip(_names(cursor), row, strict=True))


def scalar_row(cursor: HasDescription, row: tuple[Any, ...]) -> Any:
    """Give the first column."""
    return row[0]


def namedtuple_row(cursor: HasDescription, row: tuple[Any, ...]) -> Any:
    """Make a named tuple; characters that a field name cannot have become ``_``."""
    return _namedtuple(tuple(_names(cursor)))._make(row)


def class_row(cls: Callable[..., T]) -> Callable[[HasDescription, tuple[Any, ...]], T]:
    """Call `cls` with the columns as keyword arguments."""

    def factory(cursor: HasDescription, row: tuple[Any, ...]) -> T:
        return cls(**dict(zip(_names(cursor), row, strict=True)))

    return factory


kwargs_row = class_row
"""The same for a function."""


def args_row(function: Callable[..., T]) -> Callable[[HasDescription, tuple[Any, ...]], T]:
    """Call `function` with the values in order."""

    def factory(cursor: HasDescription, row: tuple[Any, ...]) -> T:
        return function(*row)

    return factory


def per_cursor(
    make: Callable[[Any], Callable[[tuple[Any, ...]], T]],
) -> Callable[[Any, tuple[Any, ...]], T]:
    """Adapt psycopg's shape: ``make(cursor)`` gives what is called with the values."""

    def factory(cursor: Any, row: tuple[Any, ...]) -> T:
        return make(cursor)(row)

    return factory


_SHAPES: Final[dict[Any, Shape]] = {
    None: "tuple",
    tuple: "tuple",
    tuple_row: "tuple",
    list_row: "list",
    dict_row: "dict",
    record_row: "record",
    Record: "record",
}


def shape_of(factory: RowFactory | None) -> Shape | None:
    """Return what the decoder must build for `factory`; None if it must be called."""
    if factory is not None and not callable(factory):
        text = f"row_factory must be callable or None, got {type(factory).__name__}"
        raise ProgrammingError(text)
    try:
        return _SHAPES.get(factory)
    except TypeError:  # a callable that cannot be hashed
        return None


def _names(cursor: HasDescription) -> list[str]:
    return [column[0] for column in cursor.description]


@functools.lru_cache(64)
def _namedtuple(names: tuple[str, ...]) -> Any:
    fields = [re.sub(r"\W", "_", name) for name in names]
    make: Any = collections.namedtuple  # noqa: PYI024 - the fields are known at run time
    return make("Row", fields, rename=True)
