"""The doors of dqlitepy: `dqlitepy.connect`, `dqlitepy.dbapi`, `dqlitepy.sqlalchemy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import dqlite
import dqlitepy
import dqlitepy.sqlalchemy
from dqlitepy import dbapi


def test_connect_makes_a_node_that_ends_with_the_connection(
    addresses: Any, tmp_path: Path, no_children_left: None
) -> None:
    conn = dqlitepy.connect(addresses(1)[0], tmp_path / "n")
    with conn:
        conn.execute("CREATE TABLE t(a)")
        conn.cursor().execute("INSERT INTO t VALUES (?)", (1,))
    assert conn.closed
    assert not conn.node.is_running


def test_statements_stand_by_themselves_until_begin(server: dqlite.Node, database: str) -> None:
    conn = dbapi.connect(server, database)
    conn.execute("CREATE TABLE t(a)")
    conn.execute("INSERT INTO t VALUES (1)")
    assert not conn.in_transaction
    conn.begin()
    conn.execute("INSERT INTO t VALUES (2)")
    conn.rollback()
    conn.begin()
    conn.execute("INSERT INTO t VALUES (3)")
    conn.commit()
    assert conn.execute("SELECT a FROM t ORDER BY a").fetchall() == [(1,), (3,)]
    conn.close()


def test_with_commits_or_rolls_back_and_closes(server: dqlite.Node, database: str) -> None:
    with dbapi.connect(server, database) as conn:
        conn.execute("CREATE TABLE t(a UNIQUE)")
        conn.begin()
        conn.execute("INSERT INTO t VALUES (1)")
    assert conn.closed
    with pytest.raises(dbapi.IntegrityError), dbapi.connect(server, database) as conn:
        conn.begin()
        conn.execute("INSERT INTO t VALUES (2)")
        conn.execute("INSERT INTO t VALUES (1)")
    conn = dbapi.connect(server, database)
    assert conn.execute("SELECT a FROM t").fetchall() == [(1,)]
    conn.close()


def test_a_registered_node_is_found_by_its_name(server: dqlite.Node, database: str) -> None:
    dqlitepy.sqlalchemy.register_dqlite_node(server, "shared")
    assert dqlitepy.sqlalchemy.get_registered_node("shared") is server
    with pytest.raises(ValueError, match="unheard"):
        dqlitepy.sqlalchemy.get_registered_node("unheard")
    engine = sa.create_engine(f"dqlite:///{database}?node=shared")
    with engine.connect() as conn:
        assert conn.execute(sa.text("SELECT 1")).scalar_one() == 1
    engine.dispose()
