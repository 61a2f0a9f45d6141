"""The asyncio API: `connect`, `create_pool`, and what they give."""

from __future__ import annotations

from dqlite.aio.connection import Connection, connect
from dqlite.aio.cursor import Cursor
from dqlite.aio.pool import Pool, create_pool
from dqlite.aio.statement import PreparedStatement
from dqlite.aio.transaction import Transaction

__all__ = [
    "Connection",
    "Cursor",
    "Pool",
    "PreparedStatement",
    "Transaction",
    "connect",
    "create_pool",
]
