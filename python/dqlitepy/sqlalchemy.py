"""The published names of dqlitepy's dialect: `dqlite.sqlalchemy`'s.

``dqlite:///app.db`` means the node registered as ``"default"``, ``?node=name`` another one.
"""

from __future__ import annotations

from sqlalchemy.dialects.sqlite import JSON

import dqlite
from dqlite.sqlalchemy import DqliteCompiler as DQLiteCompiler
from dqlite.sqlalchemy import DqliteDialect as DQLiteDialect
from dqlite.sqlalchemy._address import register_node, registered_node
from dqlite.sqlalchemy.compiler import DqliteTypeCompiler as DQLiteTypeCompiler

JSONB = JSON


def register_dqlite_node(node: dqlite.Node, name: str = "default") -> None:
    """Let URLs without a host mean this node's cluster."""
    register_node(node, name)


def get_registered_node(name: str = "default") -> dqlite.Node:
    """Return the node registered under a name; ValueError if there is none."""
    node = registered_node(name)
    if not isinstance(node, dqlite.Node):
        text = f"no node was registered as {name!r}"
        raise ValueError(text)  # noqa: TRY004 - the published exception
    return node


__all__ = [
    "JSON",
    "JSONB",
    "DQLiteCompiler",
    "DQLiteDialect",
    "DQLiteTypeCompiler",
    "get_registered_node",
    "register_dqlite_node",
]
