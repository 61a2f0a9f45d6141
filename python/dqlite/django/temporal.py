"""Dates and times in SQL. PURE.

They are stored as text: ``YYYY-MM-DD``, ``HH:MM:SS[.ffffff]``, or both with a space between.
SQLite's own functions know milliseconds only; so the fraction is cut off, kept, and put back.
Per cent signs are doubled: Django's placeholders are.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from typing import Final

from dqlite.django.expressions import named

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
    """A time zone whose offset changes: SQL does not know when."""


def shifted(sql: str, zone: str | None, stored: str) -> str:
    """Return a stored date and time as the clocks of `zone` show it, whole seconds only."""
    minutes = _minutes_between(zone, stored)
    value = f"substr({sql}, 1, 19)"
    return f"datetime({value}, '{minutes:+d} minutes')" if minutes else value


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


def _minutes_between(zone: str | None, stored: str) -> int:
    """Return what has to be added to what is stored in one zone to get what another one shows."""
    if zone is None or zone == stored:
        return 0
    return _offset(zone) - _offset(stored)


def _offset(zone: str) -> int:
    """Return the minutes east of UTC; UnsupportedZoneError if they change."""
    name, sign, hours, minutes = _split(zone)
    own = (int(hours) * 60 + int(minutes)) * (-1 if sign == "-" else 1) if sign else 0
    return own + (_fixed(name) if name else 0)


def _split(zone: str) -> tuple[str, str, str, str]:
    match = re.fullmatch(r"(.*?)(?:([+-])(\d{1,2}):(\d{2}))?", zone)
    assert match is not None  # noqa: S101 - every text matches
    return match[1], match[2] or "", match[3] or "0", match[4] or "0"


def _fixed(name: str) -> int:
    if name.upper() in {"UTC", "GMT", "Z"}:
        return 0
    zone = zoneinfo.ZoneInfo(name)
    moments = [
        dt.datetime(year, month, 1, tzinfo=zone) for year in (1970, 2000, 2030) for month in (1, 7)
    ]
    offsets = {moment.utcoffset() for moment in moments}
    if len(offsets) > 1 or None in offsets:
        raise UnsupportedZoneError(name)
    return int(sum((offset.total_seconds() for offset in offsets if offset), 0.0)) // 60
