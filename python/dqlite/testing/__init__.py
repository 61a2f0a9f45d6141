"""Fixtures for tests of programs that use dqlite: real nodes in temporary directories.

In ``conftest.py``::

    pytest_plugins = ["dqlite.testing"]

and in a test::

    def test_orders_survive_a_dead_leader(dqlite_cluster):
        with dqlite.connect(dqlite_cluster.url("shop")) as conn:
            conn.execute("CREATE TABLE orders(id INTEGER PRIMARY KEY)")
            dqlite_cluster.kill()
            assert conn.fetchval("SELECT count(*) FROM orders") == 0

`Cluster` needs no pytest, so that other runners can use it, too.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dqlite.testing._cluster import Cluster, free_addresses

if TYPE_CHECKING:
    from dqlite.testing._fixtures import dqlite_cluster as dqlite_cluster
    from dqlite.testing._fixtures import dqlite_node as dqlite_node
    from dqlite.testing._fixtures import dqlite_url as dqlite_url

__all__ = ["Cluster", "dqlite_cluster", "dqlite_node", "dqlite_url", "free_addresses"]

_FIXTURES = ("dqlite_cluster", "dqlite_node", "dqlite_url")


def __getattr__(name: str) -> Any:
    """Import pytest when a fixture is asked for."""
    if name in _FIXTURES:
        return getattr(import_module("dqlite.testing._fixtures"), name)
    text = f"module 'dqlite.testing' has no attribute {name!r}"
    raise AttributeError(text)


def __dir__() -> list[str]:
    """Name the fixtures as well, which pytest looks for."""
    return sorted({*globals(), *_FIXTURES})
