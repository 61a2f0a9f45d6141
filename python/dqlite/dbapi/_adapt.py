"""Adapters and converters: the registries of stdlib ``sqlite3``, for this process."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, cast

from dqlite import exceptions

PARSE_DECLTYPES: Final = 1
PARSE_COLNAMES: Final = 2

_AS_THEY_ARE: Final = frozenset(
    {type(None), bool, int, float, str, bytes, bytearray, memoryview}
) | {dt.datetime, dt.date, dt.time}

adapters: Final[dict[type, Callable[[Any], Any]]] = {}
_converters: Final[dict[str, Callable[[bytes], Any]]] = {}


class PrepareProtocol:
    """What ``__conform__`` is asked for when a value is to be bound."""


def register_adapter(type_: type, adapter: Callable[[Any], Any], /) -> None:
    """Have values of exactly this type replaced by ``adapter(value)`` before they are bound."""
    adapters[type_] = adapter


def unregister_adapter(type_: type, /) -> None:
    """Forget the adapter of a type; nothing happens if there is none."""
    adapters.pop(type_, None)


def register_converter(name: str, converter: Callable[[bytes], Any], /) -> None:
    """Have cells of a type replaced by ``converter(bytes)`` when they are fetched.

    `name` is what stands in brackets in a column name (``PARSE_COLNAMES``), or BOOLEAN, DATE,
    DATETIME, TIMESTAMP (``PARSE_DECLTYPES``): other declared types do not cross the wire.
    """
    _converters[name.upper()] = converter


def converter_of(name: str) -> Callable[[bytes], Any] | None:
    """Return the converter of a type name, or None."""
    return _converters.get(name.upper())


def has_converters() -> bool:
    """Whether any converter is registered."""
    return bool(_converters)


def adapt(value: Any, proto: type = PrepareProtocol, alt: Any = ..., /) -> Any:
    """Return what is bound for a value; AdapterLookupError (or `alt`) if nothing knows how."""
    adapter = adapters.get(_type(value))
    if adapter is not None:
        return adapter(value)
    conform = getattr(value, "__conform__", None)
    if conform is not None and (adapted := conform(proto)) is not None:
        return adapted
    if alt is not ...:
        return alt
    if _type(value) in _AS_THEY_ARE:
        return value
    text = f"can't adapt type {type(value).__name__!r}"
    raise exceptions.AdapterLookupError(text)


def adapted(params: Any) -> Any:
    """Return a parameter set with adapters applied; the same object if none applies."""
    if isinstance(params, dict):
        named = cast("dict[str, Any]", params)
        if any(_adapts(value) for value in named.values()):
            return {name: _bindable(value) for name, value in named.items()}
        return named
    if isinstance(params, (tuple, list)):
        values = cast("tuple[Any, ...]", params)
        return tuple(map(_bindable, values)) if any(map(_adapts, values)) else values
    return params


def _type(value: Any) -> type[Any]:
    return cast("type[Any]", type(value))


def _adapts(value: Any) -> bool:
    kind = _type(value)
    return kind in adapters or (kind not in _AS_THEY_ARE and hasattr(value, "__conform__"))


def _bindable(value: Any) -> Any:
    return adapt(value, PrepareProtocol, value)
