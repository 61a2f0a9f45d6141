# pyright: basic
"""SQL where Django's SQLite backend calls functions in Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import DatabaseError, NotSupportedError, OperationalError
from django.db.backends.sqlite3 import operations as sqlite

from dqlite.django import temporal
from dqlite.django.expressions import named


class DatabaseOperations(sqlite.DatabaseOperations):
    """SQLite's, in plain SQL."""

    compiler_module = "dqlite.django.compiler"

    def date_extract_sql(self, lookup_type: str, sql: str, params: Any) -> Any:
        """Return a part of a date."""
        return _part(temporal.extract, lookup_type, sql), params

    def date_trunc_sql(
        self, lookup_type: str, sql: str, params: Any, tzname: str | None = None
    ) -> Any:
        """Return the first day of a period."""
        return _part(temporal.truncate_date, lookup_type, self._shown(sql, tzname)), params

    def time_trunc_sql(
        self, lookup_type: str, sql: str, params: Any, tzname: str | None = None
    ) -> Any:
        """Return the beginning of an hour, minute or second."""
        return _part(temporal.truncate_time, lookup_type, self._shown(sql, tzname)), params

    def datetime_cast_date_sql(self, sql: str, params: Any, tzname: str | None) -> Any:
        """Return the date."""
        return f"date({self._shown(sql, tzname)})", params

    def datetime_cast_time_sql(self, sql: str, params: Any, tzname: str | None) -> Any:
        """Return the time of day with its fraction."""
        return self._in_zone(temporal.time_of, sql, tzname), params

    def datetime_extract_sql(
        self, lookup_type: str, sql: str, params: Any, tzname: str | None
    ) -> Any:
        """Return a part of a date and time."""
        return _part(temporal.extract, lookup_type, self._shown(sql, tzname)), params

    def datetime_trunc_sql(
        self, lookup_type: str, sql: str, params: Any, tzname: str | None
    ) -> Any:
        """Return the beginning of a period."""
        return _part(temporal.truncate, lookup_type, self._shown(sql, tzname)), params

    def time_extract_sql(self, lookup_type: str, sql: str, params: Any) -> Any:
        """Return a part of a time."""
        return _part(temporal.extract, lookup_type, sql), params

    def combine_expression(self, connector: str, sub_expressions: list[str]) -> str:
        """Return an operation on two values."""
        if connector == "#":
            return named("a b", "(a | b) - (a & b)", *sub_expressions)
        return super().combine_expression(connector, sub_expressions)

    def combine_duration_expression(self, connector: str, sub_expressions: list[str]) -> str:
        """Return a date and time moved by a duration, or a duration multiplied or divided."""
        if connector not in {"+", "-", "*", "/"}:
            text = f"Invalid connector for timedelta: {connector}."
            raise DatabaseError(text)
        if len(sub_expressions) != 2:  # noqa: PLR2004 - an operation has two sides
            text = "Too many params for timedelta operations."
            raise ValueError(text)
        left, right = sub_expressions
        if connector in {"+", "-"}:
            return temporal.moved(connector, left, right)
        return f"({left} {connector} CAST({right} AS REAL))"

    def subtract_temporals(self, internal_type: str, lhs: Any, rhs: Any) -> Any:
        """Return the microseconds between two dates or times."""
        (left, left_params), (right, right_params) = lhs, rhs
        sql = temporal.difference(left, right, of_day=internal_type == "TimeField")
        return sql, (*left_params, *right_params)

    def force_group_by(self) -> list[str]:
        """Return nothing: every supported server groups constants."""
        return []

    def _references_graph(self, table_name: str) -> list[str]:
        """Return the tables that refer to a table, directly or not, and the table itself."""
        with self.connection.cursor() as cursor:
            tables = cursor.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql IS NOT NULL"
            ).fetchall()
        found = [table_name]
        for target in found:
            refers = re.compile(
                rf"\sreferences\s+[\"']?{re.escape(target)}[\"']?\s*\(", re.IGNORECASE
            )
            found += [name for name, sql in tables if name not in found and refers.search(sql)]
        return found

    def _quote_params_for_last_executed_query(self, params: Any) -> Any:
        return tuple(map(_quoted, params))

    def _shown(self, sql: str, tzname: str | None) -> str:
        return self._in_zone(temporal.shifted, sql, tzname)

    def _in_zone(
        self, form: Callable[[str, str | None, str], str], sql: str, tzname: str | None
    ) -> str:
        stored = self.connection.timezone_name if settings.USE_TZ else "UTC"
        try:
            return form(sql, tzname if settings.USE_TZ else None, stored)
        except temporal.UnsupportedZoneError as error:
            text = f"dates stored in the time zone {error}, whose offset changes, have no order"
            raise NotSupportedError(text) from None


def _part(form: Callable[[str, str], str], lookup: str, sql: str) -> str:
    try:
        return form(lookup.lower(), sql)
    except KeyError:
        text = f"Unsupported lookup type: {lookup!r}"
        raise OperationalError(text) from None


def _quoted(value: Any) -> str:
    """Return a value as SQL shows it. For logs only."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"X'{bytes(value).hex().upper()}'"
    text = str(value).replace("'", "''")
    return f"'{text}'"
