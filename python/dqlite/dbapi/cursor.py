"""The PEP 249 cursor."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dqlite import _native, cursor
from dqlite._cursor import Description, Gathered
from dqlite._options import Timeout
from dqlite._parameters import Params
from dqlite.dbapi._adapt import (
    PARSE_COLNAMES,
    PARSE_DECLTYPES,
    adapted,
    converter_of,
    has_converters,
)
from dqlite.rows import Shape, tuple_row


class Cursor(cursor.Cursor):
    """`dqlite.Cursor` with adapters applied to parameters."""

    def execute(self, sql: str, params: Params = (), /, *, timeout: Timeout = ...) -> Cursor:
        """Run one statement, forget the rows of the one before, and return this cursor."""
        super().execute(sql, adapted(params), timeout=timeout)
        return self

    def executemany(self, sql: str, sets: Iterable[Params], /, *, timeout: Timeout = ...) -> Cursor:
        """Run a statement once for each set of parameters; all or nothing."""
        super().executemany(sql, map(adapted, sets), timeout=timeout)
        return self

    def __enter__(self) -> Cursor:
        """Return the cursor itself."""
        return self

    @property
    def description(self) -> Description | None:
        """As PEP 249 says; a converter's name in brackets is not part of a column's name."""
        described = super().description
        if described is None or not self._parses & PARSE_COLNAMES:
            return described
        return tuple((column[0].partition(" [")[0], *column[1:]) for column in described)

    @property
    def _parses(self) -> int:
        return getattr(self.connection, "detect_types", 0)

    @property
    def _text(self) -> Callable[[bytes], Any]:
        return getattr(self.connection, "text_factory", str)

    def _shape(self) -> Shape | None:
        plain = self._text is str and not (self._parses and has_converters())
        return super()._shape() if plain else None

    def _made(self, rows: Iterator[Any]) -> Iterator[Any]:
        result, text = self._result, self._text
        if result is None or (text is str and not self._parses):
            return super()._made(rows)
        factory = self.row_factory or tuple_row
        to = _converters(result, self._parses)
        texts = [text] * len(to)
        return (factory(self, tuple(map(_converted, row, to, texts))) for row in rows)


def check_cursor(made: Any) -> Cursor:
    """Refuse what a cursor factory made if it is no cursor."""
    if not isinstance(made, Cursor):
        text = f"factory must return a cursor, not {type(made).__name__}"
        raise TypeError(text)
    return made


_TYPE_NAMES = {
    9: ("TIMESTAMP", "DATETIME", "DATE"),
    10: ("TIMESTAMP", "DATETIME", "DATE"),
    11: ("BOOLEAN",),
}


def _converters(
    result: _native.Result | Gathered, parses: int
) -> list[Callable[[bytes], Any] | None]:
    columns = result.columns or []
    tags = result.tags[0] if result.tags else [5] * len(columns)
    return [_converter(name, tag, parses) for name, tag in zip(columns, tags, strict=True)]


def _converter(name: str, tag: int, parses: int) -> Callable[[bytes], Any] | None:
    if parses & PARSE_COLNAMES and name.endswith("]") and " [" in name:
        return converter_of(name[name.rindex(" [") + 2 : -1].partition(" ")[0])
    if parses & PARSE_DECLTYPES:
        found = (converter_of(declared) for declared in _TYPE_NAMES.get(tag, ()))
        return next((converter for converter in found if converter is not None), None)
    return None


def _converted(
    value: Any, converter: Callable[[bytes], Any] | None, text: Callable[[bytes], Any]
) -> Any:
    if converter is None and text is not str and isinstance(value, str):
        return text(value.encode())
    if converter is None or value is None:
        return value
    if isinstance(value, bytes):
        return converter(value)
    if isinstance(value, bool):
        value = int(value)
    elif isinstance(value, dt.datetime):
        value = value.isoformat(" ")
    return converter(str(value).encode())
