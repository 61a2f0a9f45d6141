"""Alembic does for dqlite what it does for SQLite: batch mode."""

from __future__ import annotations

from alembic.ddl.sqlite import SQLiteImpl


class DqliteImpl(SQLiteImpl):
    """Registers itself by being defined."""

    __dialect__ = "dqlite"
