# pyright: basic
"""Compilers that know what Django's expressions are here; see `expressions`."""

from __future__ import annotations

from typing import Any

from django.db.models.sql import compiler

from dqlite.django.expressions import compiled


class SQLCompiler(compiler.SQLCompiler):
    """Django's, with the functions of a remote database."""

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
