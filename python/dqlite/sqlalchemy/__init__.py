"""SQLAlchemy 2.0 and 2.1: ``dqlite://`` and ``dqlite+aio://``.

::

    engine = sqlalchemy.create_engine("dqlite://h1:9001/app?host=h2:9001&host=h3:9001")
    engine = create_async_engine("dqlite+aio://h1:9001/app")

Transactions are real and begin with the first statement: immediate if that writes, else deferred.
A session that reads first and writes later should say so: ``?session_mode=immediate``, or
``execution_options(dqlite_session_mode="immediate")``.

Date, DateTime and Boolean are declared as ``DATE_CHAR``, ``DATETIME_CHAR`` and ``BOOL``, which keep
NULL and any value exact on every server; ``?ddl_types=native`` declares the standard words.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy.dialects.sqlite import Insert, insert

from dqlite.sqlalchemy._address import register_node, url
from dqlite.sqlalchemy.aio import DqliteDialect_aio
from dqlite.sqlalchemy.base import DqliteDialect
from dqlite.sqlalchemy.compiler import DqliteCompiler

with suppress(ImportError):  # only where Alembic is installed
    from dqlite.sqlalchemy import _alembic as _alembic

dialect = DqliteDialect
dialect_aio = DqliteDialect_aio

__all__ = [
    "DqliteCompiler",
    "DqliteDialect",
    "DqliteDialect_aio",
    "Insert",
    "dialect",
    "dialect_aio",
    "insert",
    "register_node",
    "url",
]
