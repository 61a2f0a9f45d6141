"""The fixtures that `dqlite.testing` gives to other people's tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dqlite
from dqlite.testing import Cluster

SUITE = """
import dqlite

def test_a_database_of_its_own(dqlite_url):
    with dqlite.connect(dqlite_url) as conn:
        conn.execute("CREATE TABLE t(a)")

def test_another_one(dqlite_url, dqlite_node):
    assert dqlite_node.is_running
    with dqlite.connect(dqlite_url) as conn:
        conn.execute("CREATE TABLE t(a)")

def test_three_nodes(dqlite_cluster):
    with dqlite.connect(dqlite_cluster.url("shop")) as conn:
        conn.execute("CREATE TABLE orders(id INTEGER PRIMARY KEY)")
        dqlite_cluster.kill()
        assert conn.fetchval("SELECT count(*) FROM orders") == 0
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def test_a_suite_gets_nodes_by_naming_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["dqlite.testing"]\n')
    (tmp_path / "test_it.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=55, check=False
    )
    assert run.returncode == 0, run.stdout
    assert "3 passed" in run.stdout


def test_the_lead_goes_to_another_node(cluster: Cluster) -> None:
    before = cluster.wait_for_leader()
    after = cluster.flip_leader()
    assert after is not before
    assert after in cluster.nodes


def test_a_paused_leader_is_followed_by_another(cluster: Cluster) -> None:
    paused = cluster.pause()
    try:
        assert cluster.wait_for_leader(other_than=paused) is not paused
    finally:
        cluster.resume(paused)
    with dqlite.connect(cluster.url("app")) as conn:
        assert conn.fetchval("SELECT 1") == 1


def test_a_killed_node_comes_back(cluster: Cluster, until) -> None:
    dead = cluster.kill()
    until(lambda: dead.restarts > 0 and dead.is_running, 30)
    assert cluster.wait_for_leader() in cluster.nodes


def test_without_a_leader_the_wait_ends(tmp_path: Path) -> None:
    idle = Cluster(tmp_path, size=1)
    with pytest.raises(TimeoutError, match="no leader, after"):
        idle.wait_for_leader(timeout=0.1)
    with pytest.raises(dqlite.NodeNotRunningError, match="no process"):
        idle.kill(idle.nodes[0])
