"""How values are bound, and what DATE, DATETIME and TIMESTAMP columns become."""

from __future__ import annotations

import datetime as dt
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, cast

from dqlite.dbapi._adapt import PrepareProtocol, adapters
from dqlite.exceptions import AdapterLookupError, DataError, ProgrammingError

_BINDABLE: Final = (int, float, str, bytes, bytearray, memoryview, type(None))
_TEXT_SHOWN_MAX: Final = 200
_UNIX_SECONDS_MAX: Final = 253402300799
"""The last second of the year 9999."""

ISO8601: Final = 10
UNIXTIME: Final = 9

Offset: TypeAlias = dt.timedelta


def register_adapter(type_: type, adapter: Callable[[Any], Any], /) -> None:
    """Have values of exactly this type replaced by ``adapter(value)`` before they are bound."""
    given: Any = adapter
    if not callable(given):
        text = f"adapter must be callable, got {type(given).__name__}"
        raise ProgrammingError(text)
    named: Any = type_
    if not isinstance(named, type):
        text = f"type_ must be a class, got {type(named).__name__}"
        raise ProgrammingError(text)
    adapters[type_] = adapter


def unregister_adapter(type_: type, /) -> None:
    """Forget the adapter of a type; AdapterLookupError if there is none."""
    if adapters.pop(type_, None) is None:
        text = f"no adapter registered for {getattr(type_, '__name__', type_)}"
        raise AdapterLookupError(text)


def adapt_bind_param(value: Any) -> Any:
    """Return what is sent for a value: by its adapter, its ``__conform__``, or as it is."""
    kind = cast("type[Any]", type(value))
    adapted = _by_registry(value, kind)
    changed = adapted is not value
    if isinstance(adapted, dt.date):
        return iso8601_from_datetime(adapted)
    if isinstance(adapted, dt.time):
        return iso8601_from_time(adapted)
    if not issubclass(type(adapted), _BINDABLE):
        name = type(adapted).__name__
        if changed:
            text = f"adapter for {kind.__name__} produced {name}, which is not supported"
            raise DataError(text)
        text = f"type {name} is not supported: register an adapter for it"
        raise ProgrammingError(text)
    if isinstance(adapted, str) and "\0" in adapted:
        place = adapted.index("\0")
        text = f"text with an embedded NUL at offset {place} cannot be bound; use a BLOB"
        raise DataError(text)
    return adapted


def _by_registry(value: Any, kind: type[Any]) -> Any:
    adapter = adapters.get(kind)
    if adapter is not None:
        try:
            return adapter(value)
        except Exception as error:
            text = f"adapter for {kind.__name__} failed: {error}"
            raise DataError(text) from error
    conform = getattr(value, "__conform__", None)
    conformed = None if conform is None else conform(PrepareProtocol)
    return value if conformed is None else conformed


def iso8601_from_datetime(value: dt.datetime | dt.date) -> str:
    """Return ``YYYY-MM-DD`` or ``YYYY-MM-DD HH:MM:SS[.ffffff][±HH:MM[:SS]]``."""
    if not isinstance(value, dt.datetime):
        return value.isoformat()
    return f"{value.date().isoformat()} {iso8601_from_time(value.timetz(), value)}"


def iso8601_from_time(value: dt.time, moment: dt.datetime | None = None) -> str:
    """Return ``HH:MM:SS[.ffffff][±HH:MM[:SS]]``; the offset is that of `moment` if given."""
    text = value.replace(tzinfo=None).isoformat()
    dated = value if moment is None else moment
    if dated.tzinfo is None:
        return text
    try:
        offset = dated.utcoffset()
    except Exception as error:
        text = f"tzinfo.utcoffset() raised {type(error).__name__} for {dated!r}: {error}"
        raise DataError(text) from error
    if offset is None:
        text = f"{dated!r} is tz-aware but tzinfo.utcoffset() returned None"
        raise DataError(text)
    return text + format_utc_offset(offset)


def format_utc_offset(offset: Offset) -> str:
    """Return ``±HH:MM``, or ``±HH:MM:SS``; DataError for what is below a second."""
    given: Any = offset
    if not isinstance(given, dt.timedelta):
        text = f"tzinfo.utcoffset() returned {type(given).__name__}; expected timedelta or None"
        raise DataError(text)
    if abs(given) >= dt.timedelta(days=1):
        text = f"tzinfo offset out of range: {given!r} (|offset| must be < 24h)"
        raise DataError(text)
    if given.microseconds:
        text = f"tzinfo offset has sub-second precision: {given!r}"
        raise DataError(text)
    seconds = given.days * 86400 + given.seconds
    hours, rest = divmod(abs(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{'-' if seconds < 0 else '+'}{hours:02d}:{minutes:02d}"
    return f"{text}:{rest:02d}" if rest else text


def datetime_from_iso8601(text: str) -> dt.datetime | dt.time | None:
    """Return the moment or time of day that a cell says; None for an empty text."""
    if not text:
        return None
    spelt = text if sys.version_info >= (3, 11) else _as_python_310_reads(text)
    for kind in (dt.datetime, dt.time):
        try:
            return kind.fromisoformat(spelt)
        except ValueError:
            continue
    shown = text[:_TEXT_SHOWN_MAX]
    if shown != text:
        shown += f"... [truncated, {len(text) - len(shown)} chars]"
    told = f"Cannot parse ISO 8601 datetime from server: {shown!r}"
    raise DataError(told)


def datetime_from_unixtime(value: int) -> dt.datetime:
    """Return the moment, so many seconds after 1970, in UTC; DataError before that."""
    given: Any = value
    if isinstance(given, bool) or not isinstance(given, int):
        text = f"UNIXTIME value {given!r} must be int, got {type(given).__name__}"
        raise DataError(text)
    if not 0 <= given <= _UNIX_SECONDS_MAX:
        text = f"UNIXTIME value {given!r} out of representable range (0..{_UNIX_SECONDS_MAX})"
        raise DataError(text)
    return dt.datetime.fromtimestamp(given, tz=dt.timezone.utc)


_FROM_TAG: Final[dict[int, Callable[[Any], Any]]] = {
    ISO8601: datetime_from_iso8601,
    UNIXTIME: datetime_from_unixtime,
}


def converted(row: tuple[Any, ...], tags: Sequence[int]) -> tuple[Any, ...]:
    """Return a row with its DATE, DATETIME and TIMESTAMP cells as Python has them."""
    if _FROM_TAG.keys().isdisjoint(tags):
        return row
    return tuple(
        _FROM_TAG[tag](value) if tag in _FROM_TAG and value is not None else value
        for value, tag in zip(row, tags, strict=True)
    )


def _as_python_310_reads(text: str) -> str:
    """Spell it as that Python wants it: no ``Z``, three or six digits of a fraction."""
    spelt = re.sub(r"[Zz]$", "+00:00", text)
    return re.sub(r"\.(\d+)", lambda found: "." + found[1][:6].ljust(6, "0"), spelt)
