# pyright: basic
"""What the backend can do, and which of Django's own tests ask for what it cannot."""

from __future__ import annotations

from typing import Any

from django.db import InterfaceError
from django.db.backends.sqlite3 import features as sqlite
from django.utils.functional import cached_property

from dqlite.django.skips import SKIPS


class DatabaseFeatures(sqlite.DatabaseFeatures):
    """SQLite's, judged by the server's version and not by that of Python's own SQLite."""

    minimum_database_version = (3, 40)
    test_db_allows_multiple_connections = True
    can_alter_table_drop_column = True
    can_return_columns_from_insert: Any = True
    can_return_rows_from_bulk_insert = True
    supports_json_field: Any = True
    can_introspect_json_field = True
    has_json_object_function = True
    has_select_for_update = False
    closed_cursor_error_class = InterfaceError
    supports_regex_backreferencing = False

    @cached_property
    def django_test_skips(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return reasons and the tests they hold for."""
        inherited: Any = super().django_test_skips
        return {**inherited, **SKIPS}
