"""The API for asyncio and trio: `connect`, `create_pool`, `Client`, `Node`, and what they give."""

from __future__ import annotations

from dqlite.aio.client import Client
from dqlite.aio.connection import Connection, connect
from dqlite.aio.cursor import Cursor
from dqlite.aio.node import Node
from dqlite.aio.pool import Pool, create_pool
from dqlite.aio.statement import PreparedStatement
from dqlite.aio.stores import MemoryNodeStore, NodeStore, YamlNodeStore
from dqlite.aio.transaction import Transaction

ClusterClient = Client

__all__ = [
    "Client",
    "ClusterClient",
    "Connection",
    "Cursor",
    "MemoryNodeStore",
    "Node",
    "NodeStore",
    "Pool",
    "PreparedStatement",
    "Transaction",
    "YamlNodeStore",
    "connect",
    "create_pool",
]
