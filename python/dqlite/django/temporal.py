# pyright: basic
"""Dates and times in SQL. PURE.

They are stored as text: ``YYYY-MM-DD``, ``HH:MM:SS[.ffffff]``, or both with a space between.
SQLite's own functions know milliseconds only; so the fraction is cut off, kept, and put back.
Per cent signs are doubled: Django's placeholders are.
"""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo
from typing import Final

from django.db.backends.utils import split_tzname_delta

from dqlite.django.expressions import named

_STEP: Final = 7 * 86_400
_UNTIL: Final = 80 * 365 * 86_400
_THURSDAY: Final = "date({0}, '-3 days', 'weekday 4')"

_EXTRACT: Final = {
    "year": "CAST(strftime('%%Y', v) AS INTEGER)",
    "month": "CAST(strftime('%%m', v) AS INTEGER)",
    "day": "CAST(strftime('%%d', v) AS INTEGER)",
    "hour": "CAST(strftime('%%H', v) AS INTEGER)",
    "minute": "CAST(strftime('%%M', v) AS INTEGER)",
    "second": "CAST(strftime('%%S', v) AS INTEGER)",
    "week_day": "CAST(strftime('%%w', v) AS INTEGER) + 1",
    "iso_week_day": "(CAST(strftime('%%w', v) AS INTEGER) + 6) %% 7 + 1",
    "week": f"(CAST(strftime('%%j', {_THURSDAY.format('v')}) AS INTEGER) - 1) / 7 + 1",
    "quarter": "(CAST(strftime('%%m', v) AS INTEGER) + 2) / 3",
    "iso_year": f"CAST(strftime('%%Y', {_THURSDAY.format('v')}) AS INTEGER)",
}
_DATE: Final = {
    "year": "strftime('%%Y-01-01', v)",
    "quarter": (
        "strftime('%%Y-', v) || "
        "printf('%%02d-01', (CAST(strftime('%%m', v) AS INTEGER) - 1) / 3 * 3 + 1)"
    ),
    "month": "strftime('%%Y-%%m-01', v)",
    "week": "date(v, 'weekday 0', '-6 days')",
    "day": "date(v)",
}
_TIME: Final = {
    "hour": "strftime('%%H:00:00', v)",
    "minute": "strftime('%%H:%%M:00', v)",
    "second": "strftime('%%H:%%M:%%S', v)",
}

# Microseconds since 1970 of a stored date and time, since midnight of a time.
_MICROSECONDS: Final = (
    "(CAST(strftime('%%s', substr({v}, 1, 19)) AS INTEGER) * 1000000"
    " + CAST(substr(substr({v}, 21) || '000000', 1, 6) AS INTEGER))"
)
_OF_DAY: Final = (
    "(CAST(strftime('%%s', substr({v}, 1, 8)) AS INTEGER) * 1000000"
    " + CAST(substr(substr({v}, 10) || '000000', 1, 6) AS INTEGER))"
)


class UnsupportedZoneError(Exception):
    """Dates are stored in a time zone whose offset changes: some exist twice, others never."""


def shifted(sql: str, zone: str | None, stored: str) -> str:
    """Return a stored date and time as the clocks of `zone` show it, whole seconds only."""
    value = f"substr({sql}, 1, 19)"
    if zone is None or zone == stored:
        return value
    first, changes = _offsets(zone)
    home = _fixed(stored)
    if not changes:
        seconds = first - home
        return f"datetime({value}, '{seconds:+d} seconds')" if seconds else value
    steps: list[str] = []
    offset = first
    for moment, following in changes:
        steps.append(f"WHEN v < '{_text(moment + home)}' THEN '{offset - home:+d} seconds'")
        offset = following
    steps.append(f"ELSE '{offset - home:+d} seconds'")
    return named("v", f"datetime(v, CASE {' '.join(steps)} END)", value)


def extract(lookup: str, sql: str) -> str:
    """Return a part of a date or time as an integer; KeyError for a part that is none."""
    return named("v", _EXTRACT[lookup], sql)


def truncate_date(lookup: str, sql: str) -> str:
    """Return the first day of the period, as a date."""
    return named("v", _DATE[lookup], sql)


def truncate_time(lookup: str, sql: str) -> str:
    """Return the beginning of the period, as a time."""
    return named("v", _TIME[lookup], sql)


def truncate(lookup: str, sql: str) -> str:
    """Return the beginning of the period, as a date and time."""
    if lookup in _DATE:
        return named("v", f"{_DATE[lookup]} || ' 00:00:00'", sql)
    return named("v", f"date(v) || ' ' || {_TIME[lookup]}", sql)


def time_of(sql: str, zone: str | None, stored: str) -> str:
    """Return the time of a stored date and time, with its fraction."""
    return named(
        "v", f"strftime('%%H:%%M:%%S', {shifted('v', zone, stored)}) || substr(v, 20)", sql
    )


def difference(left: str, right: str, *, of_day: bool) -> str:
    """Return the microseconds from the right to the left."""
    form = _OF_DAY if of_day else _MICROSECONDS
    return named("a b", f"{form.format(v='a')} - {form.format(v='b')}", left, right)


def moved(connector: str, left: str, right: str) -> str:
    """Return a stored date, or date and time, moved by microseconds; either may be the left."""
    swapped = "typeof(a) = 'integer' AND typeof(b) = 'text'"
    when, by = f"CASE WHEN {swapped} THEN b ELSE a END", f"CASE WHEN {swapped} THEN a ELSE b END"
    sum_of = f"{_MICROSECONDS.format(v='d')} {connector} n"
    seconds, rest = (
        "(m - ((m %% 1000000) + 1000000) %% 1000000) / 1000000",
        "((m %% 1000000) + 1000000) %% 1000000",
    )
    shown = (
        "CASE WHEN length(d) = 10 THEN date(s, 'unixepoch') "
        "WHEN r = 0 THEN datetime(s, 'unixepoch') "
        "ELSE datetime(s, 'unixepoch') || printf('.%%06d', r) END"
    )
    return (
        f"(SELECT {shown} FROM (SELECT d, {seconds} AS s, {rest} AS r FROM "
        f"(SELECT d, {sum_of} AS m FROM (SELECT {when} AS d, {by} AS n FROM "
        f"(SELECT {left} AS a, {right} AS b)))))"
    )


def _fixed(zone: str) -> int:
    """Return the seconds east of UTC; UnsupportedZoneError if they change."""
    first, changes = _offsets(zone)
    if changes:
        raise UnsupportedZoneError(zone)
    return first


@functools.lru_cache(64)
def _offsets(zone: str) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return the seconds east of UTC in 1970, and when they became what until 2050.

    Moments are in seconds since 1970. Django's names may end with an offset of their own.
    """
    name, sign, away = split_tzname_delta(zone)
    hours, minutes = map(int, away.split(":")) if away else (0, 0)
    own = (hours * 3600 + minutes * 60) * (-1 if sign == "-" else 1)
    clock = zoneinfo.ZoneInfo(name or "UTC")
    offset = first = _offset_at(clock, 0)
    changes: list[tuple[int, int]] = []
    for day in range(_STEP, _UNTIL, _STEP):
        following = _offset_at(clock, day)
        if following != offset:
            changes.append((_when(clock, day - _STEP, day, following), following + own))
            offset = following
    return first + own, tuple(changes)


def _when(clock: zoneinfo.ZoneInfo, before: int, after: int, offset: int) -> int:
    """Return the moment at which an offset came into force."""
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (before, middle) if _offset_at(clock, middle) == offset else (middle, after)
    return after


def _offset_at(clock: zoneinfo.ZoneInfo, moment: int) -> int:
    offset = dt.datetime.fromtimestamp(moment, clock).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _text(moment: int) -> str:
    return dt.datetime.fromtimestamp(moment, dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
