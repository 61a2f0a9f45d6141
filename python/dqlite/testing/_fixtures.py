"""The fixtures of pytest."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from dqlite.node import Node
from dqlite.testing._cluster import Cluster, free_addresses

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def dqlite_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node that all tests share; `dqlite_url` names a database of its own for each."""
    with Node(free_addresses(1)[0], tmp_path_factory.mktemp("dqlite-node")) as node:
        node.wait_ready()
        yield node


@pytest.fixture
def dqlite_url(dqlite_node: Node) -> str:
    """Where to connect to an empty database, on the node that all tests share."""
    return f"dqlite://{dqlite_node.address}/test{next(_numbers)}"


@pytest.fixture
def dqlite_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that belong to one test, which may kill them."""
    with Cluster(tmp_path / "dqlite-cluster") as cluster:
        yield cluster
