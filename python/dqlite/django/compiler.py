# pyright: basic
"""Compilers that know what Django's expressions are here; see `expressions`."""

from __future__ import annotations

from typing import Any

from django.db import NotSupportedError
from django.db.models.sql import compiler
from django.db.transaction import TransactionManagementError

from dqlite.django.expressions import compiled


class SQLCompiler(compiler.SQLCompiler):
    """Django's, with the functions of a remote database."""

    def get_from_clause(self) -> Any:
        """Refuse to lock single rows, or anything without a transaction, which locks everything."""
        query = self.query
        for word in ("nowait", "skip_locked", "of"):
            if query.select_for_update and getattr(query, f"select_for_update_{word}"):
                text = (
                    f"select_for_update({word}=...) is not possible with dqlite: atomic() takes "
                    "the write lock of the whole database, no rows are locked"
                )
                raise NotSupportedError(text)
        if query.select_for_update and self.connection.get_autocommit():
            text = "select_for_update() needs atomic(), which takes the write lock with dqlite"
            raise TransactionManagementError(text)
        return super().get_from_clause()

    def compile(self, node: Any) -> Any:
        """Return the SQL of an expression and its parameters."""
        done = compiled(node, self, self.connection)
        return super().compile(node) if done is None else done


class SQLInsertCompiler(compiler.SQLInsertCompiler, SQLCompiler):
    """INSERT."""


class SQLDeleteCompiler(compiler.SQLDeleteCompiler, SQLCompiler):
    """DELETE."""


class SQLUpdateCompiler(compiler.SQLUpdateCompiler, SQLCompiler):
    """UPDATE."""


class SQLAggregateCompiler(compiler.SQLAggregateCompiler, SQLCompiler):
    """Aggregates over a subquery."""
