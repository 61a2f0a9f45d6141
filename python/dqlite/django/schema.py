# pyright: basic
"""Changes of the schema."""

from __future__ import annotations

from django.db.backends.sqlite3 import schema as sqlite


class DatabaseSchemaEditor(sqlite.DatabaseSchemaEditor):
    """SQLite's: tables are rebuilt inside one transaction."""
