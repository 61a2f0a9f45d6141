"""SQL and DDL where dqlite differs from a local SQLite."""

from __future__ import annotations

from typing import Any, NoReturn

from sqlalchemy import exc
from sqlalchemy.dialects.sqlite import base as sqlite


class DqliteCompiler(sqlite.SQLiteCompiler):
    """SQLite's, without functions that only a local SQLite can be given."""

    def visit_regexp_match_op_binary(self, binary: Any, operator: Any, **kw: Any) -> NoReturn:
        """Refuse REGEXP."""
        _no_regexp("regexp_match")

    def visit_not_regexp_match_op_binary(self, binary: Any, operator: Any, **kw: Any) -> NoReturn:
        """Refuse NOT REGEXP."""
        _no_regexp("regexp_match")

    def visit_regexp_replace_op_binary(self, binary: Any, operator: Any, **kw: Any) -> NoReturn:
        """Refuse REGEXP_REPLACE."""
        _no_regexp("regexp_replace")


class DqliteTypeCompiler(sqlite.SQLiteTypeCompiler):
    """SQLite's, with names that keep NULL and any value exact on every server.

    Servers read columns declared exactly BOOLEAN, DATE, DATETIME or TIMESTAMP by that declaration;
    released engines lose NULL in them, and a value of another kind can end a stock node.
    """

    def visit_BOOLEAN(self, type_: Any, **kw: Any) -> str:  # noqa: N802 - SQLAlchemy's name
        """Declare ``BOOL``."""
        return "BOOL" if self._safe() else super().visit_BOOLEAN(type_, **kw)

    def visit_DATE(self, type_: Any, **kw: Any) -> str:  # noqa: N802 - SQLAlchemy's name
        """Declare ``DATE_CHAR``."""
        return "DATE_CHAR" if self._safe() else super().visit_DATE(type_, **kw)

    def visit_DATETIME(self, type_: Any, **kw: Any) -> str:  # noqa: N802 - SQLAlchemy's name
        """Declare ``DATETIME_CHAR``."""
        return "DATETIME_CHAR" if self._safe() else super().visit_DATETIME(type_, **kw)

    def visit_TIMESTAMP(self, type_: Any, **kw: Any) -> str:  # noqa: N802 - SQLAlchemy's name
        """Declare ``TIMESTAMP_CHAR``."""
        return "TIMESTAMP_CHAR" if self._safe() else super().visit_TIMESTAMP(type_, **kw)

    def _safe(self) -> bool:
        return getattr(self.dialect, "ddl_types", "safe") == "safe"


def _no_regexp(name: str) -> NoReturn:
    text = f"{name}: SQLite's REGEXP is a user function, which a remote database cannot be given"
    raise exc.CompileError(text)
