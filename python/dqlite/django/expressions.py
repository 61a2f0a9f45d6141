# pyright: basic
"""Functions that Django's SQLite backend runs in Python, as SQL; and those that cannot be.

A value that is used more than once is named in a subquery, so that it is computed once and its
parameters are given once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from django.db import NotSupportedError
from django.db.models import DecimalField, aggregates, lookups
from django.db.models.functions import comparison, math, text

Compiled: TypeAlias = tuple[str, Any]

RANDOM: Final = "((random() & 9007199254740991) / 9007199254740992.0)"

_REPEATED: Final = "replace(hex(zeroblob(max({count}, 0))), '00', {what})"
_FUNCTIONS: Final[dict[type, tuple[str, str]]] = {
    text.LPad: (
        "a b c",
        (
            "CASE WHEN a IS NULL OR b IS NULL OR c IS NULL THEN NULL "
            "WHEN length(a) >= b THEN substr(a, 1, b) "
            f"ELSE substr({_REPEATED.format(count='b', what='c')}, 1, b - length(a)) || a END"
        ),
    ),
    text.RPad: (
        "a b c",
        (
            "CASE WHEN a IS NULL OR b IS NULL OR c IS NULL THEN NULL "
            f"ELSE substr(a || {_REPEATED.format(count='b', what='c')}, 1, b) END"
        ),
    ),
    text.Repeat: (
        "a b",
        (
            "CASE WHEN a IS NULL OR b IS NULL THEN NULL "
            f"ELSE {_REPEATED.format(count='b', what='a')} END"
        ),
    ),
    math.Cot: ("a", "1.0 / tan(a)"),
}
_REVERSE: Final = (
    "(WITH RECURSIVE r(i, a, s) AS (SELECT length({a}), {a}, '' UNION ALL "
    "SELECT i - 1, a, s || substr(a, i, 1) FROM r WHERE i > 0) SELECT s FROM r WHERE i = 0)"
)
_REFUSED: Final[dict[type, str]] = {
    text.MD5: "MD5",
    text.SHA1: "SHA1",
    text.SHA224: "SHA224",
    text.SHA256: "SHA256",
    text.SHA384: "SHA384",
    text.SHA512: "SHA512",
    aggregates.StdDev: "STDDEV",
    aggregates.Variance: "VARIANCE",
    lookups.Regex: "the lookup regex",
    lookups.IRegex: "the lookup iregex",
}


def compiled(node: Any, compiler: Any, connection: Any) -> Compiled | None:
    """Return the SQL of a node that this module knows; NotSupportedError if it cannot be SQL."""
    kind = type(node)
    if kind in _REFUSED:
        what = _REFUSED[kind]
        message = f"{what} is a function in Python, which a remote database cannot be given"
        raise NotSupportedError(message)
    known = _KNOWN.get(kind)
    return None if known is None else known(node, compiler, connection)


def named(names: str, body: str, *values: str) -> str:
    """Return an expression over values that have names inside it."""
    columns = ", ".join(
        f"{value} AS {name}" for name, value in zip(names.split(), values, strict=True)
    )
    return f"(SELECT {body} FROM (SELECT {columns}))"


def _function(node: Any, compiler: Any, _connection: Any) -> Compiled:
    names, body = _FUNCTIONS[type(node)]
    sources = [compiler.compile(source) for source in node.get_source_expressions()]
    params = tuple(value for _sql, values in sources for value in values)
    sql = named(names, body, *(sql for sql, _values in sources))
    # Decimals are bound as text, which only compares with what has the affinity of numbers.
    decimal = isinstance(node.output_field, DecimalField)
    return f"CAST({sql} AS NUMERIC)" if decimal else sql, params


def _reverse(node: Any, compiler: Any, _connection: Any) -> Compiled:
    (source,) = node.get_source_expressions()
    sql, params = compiler.compile(source)
    return _REVERSE.format(a=sql), (*params, *params)


def _cast(node: Any, compiler: Any, _connection: Any) -> Compiled | None:
    form = _CASTS.get(node.output_field.get_internal_type())
    if form is None:
        return None
    (source,) = node.get_source_expressions()
    sql, params = compiler.compile(source)
    return form.format(sql), params


def _random(_node: Any, _compiler: Any, _connection: Any) -> Compiled:
    return RANDOM, ()


_CASTS: Final = {
    "DateField": "date({})",
    "DateTimeField": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', {})",
}
_KNOWN: Final[dict[type, Callable[[Any, Any, Any], Compiled | None]]] = {
    comparison.Cast: _cast,
    **dict.fromkeys(_FUNCTIONS, _function),
    text.Reverse: _reverse,
    math.Random: _random,
}
