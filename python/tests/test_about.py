"""Result codes by name, and what `diagnostics` and `engine_info` find."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys

import pytest

import dqlite
from dqlite import _native, codes, exceptions


def test_codes_are_those_that_the_client_knows():
    named = {name: getattr(codes, name) for name in codes.__all__ if name.isupper()}
    assert named == _native.code_names()
    assert dqlite.codes is codes


def test_codes_are_those_of_stdlib():
    theirs = {name: value for name, value in vars(sqlite3).items() if name.startswith("SQLITE_")}
    known = _native.code_names()
    for name in known.keys() & theirs.keys():
        assert known[name] == theirs[name]


def test_codes_have_names():
    for name, code in _native.code_names().items():
        assert codes.name_of(code) == name
        assert exceptions.Error("", code).sqlite_errorname == name
    assert codes.name_of(123456) is codes.name_of(-1) is None
    assert codes.Role is dqlite.Role


def test_type_codes_are_tags(conn):
    conn.execute("create table t(i, f, x, b, w datetime, o boolean)")
    conn.execute("insert into t values (1, 1.5, 'x', x'00', '2001-02-03', 1)")
    described = conn.execute("select i, f, x, b, w, o from t").description
    tags = [codes.Tag(column[1]).name for column in described]
    assert tags == ["INTEGER", "FLOAT", "TEXT", "BLOB", "ISO8601", "BOOLEAN"]


def test_engine_info(server):
    engine = dqlite.engine_info()
    assert engine.version == server.engine.version
    assert engine.path == server.engine.path
    assert dqlite.engine_info(engine.bundle) == engine


def test_engine_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(dqlite.EngineNotFoundError, match="nowhere") as caught:
        dqlite.engine_info(tmp_path / "nowhere")
    assert caught.value.stage == "locate"
    assert "nowhere" in caught.value.tried[0][0]
    monkeypatch.setenv("DQLITE_EXECUTABLE", "/bin/true")
    with pytest.raises(dqlite.EngineNotFoundError, match="/bin/true"):
        dqlite.engine_info()


def test_diagnostics_of_a_healthy_installation(conn, monkeypatch):
    monkeypatch.setenv("DQLITE_SESSION_MODE", "deferred")
    about = json.loads(json.dumps(dqlite.diagnostics(conn)))
    assert about["versions"]["dqlite"] == dqlite.__version__
    assert about["engine"]["version"] == dqlite.engine_info().version
    assert about["engine_tried"] == []
    assert about["environment"]["DQLITE_SESSION_MODE"] == "deferred"
    assert {name for name, face in about["faces"].items() if face["ours"]} == {
        *("dqliteclient", "dqlitedbapi", "dqlitepy")
    }
    assert about["loop"] is None
    server = about["server"]
    assert server["address"] == conn.address
    assert server["keeps_null_boolean"] is True
    assert server["sqlite"] == ".".join(map(str, conn.server_version))
    assert not conn.in_transaction


def test_diagnostics_of_a_broken_one(tmp_path, monkeypatch):
    """A package that brings the same import name, and no engine."""
    foreign = tmp_path / "dqliteclient"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.setenv("DQLITE_ENGINE", str(tmp_path / "nowhere"))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import json, dqlite; print(json.dumps(dqlite.diagnostics()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    about = json.loads(told.stdout)
    assert about["engine"] is None
    assert "nowhere" in about["engine_tried"][0][0]
    assert about["faces"]["dqliteclient"] == {"ours": False, "file": str(foreign / "__init__.py")}
    assert about["faces"]["dqlitepy"]["ours"]


async def test_diagnostics_names_the_loop():
    kind = type(asyncio.get_running_loop())
    assert dqlite.diagnostics()["loop"] == f"{kind.__module__}.{kind.__qualname__}"
