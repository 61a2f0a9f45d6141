"""The exception tree: shape, attributes, pickling."""

from __future__ import annotations

import asyncio
import builtins
import copy
import importlib.util
import logging
import pickle
import re
import sys
from pathlib import Path

import pytest

from dqlite import exceptions as ex

CLASSES = [
    value
    for name in ex.__all__
    if isinstance(value := getattr(ex, name), type) and issubclass(value, ex.Error)
]


def drawn_tree() -> dict[str, str]:
    """Child to parent, as the module's own drawing has it."""
    parents: dict[str, str] = {}
    stack = ["Error"]
    for line in (ex.__doc__ or "").splitlines():
        if found := re.match(r"    ([ │]*)[├└]── (\w+)", line):
            depth = len(found[1]) // 4 + 1
            del stack[depth:]
            parents[found[2]] = stack[-1]
            stack.append(found[2])
    return parents


def test_the_drawing_is_the_tree() -> None:
    parents = drawn_tree()
    assert set(parents) | {"Error"} == {cls.__name__ for cls in CLASSES}
    for child, parent in parents.items():
        assert getattr(ex, parent) in getattr(ex, child).__mro__[1:3]


@pytest.mark.parametrize(
    ("name", "also"),
    [
        ("AdapterLookupError", LookupError),
        ("PoolTimeoutError", TimeoutError),
        ("StatementTimeoutError", TimeoutError),
        ("StatementTimeoutError", asyncio.TimeoutError),
        ("ConnectionLostError", ex.ConnectionFailedError),
        ("NodeConfigError", ValueError),
    ],
)
def test_some_are_two_things(name: str, also: type[BaseException]) -> None:
    with pytest.raises(also, match=r"^the text$"):
        raise getattr(ex, name)("the" + " text")


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_survives_pickle_and_copy(cls: type[ex.Error]) -> None:
    error = cls("it broke", 2067, raw_message="it\0broke", address="h1:9001", outcome="refused")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is cls
        assert twin.args == error.args == ("it broke",)
        assert twin.__dict__ == error.__dict__
        assert str(twin) == "it broke"
        assert twin.outcome is ex.Outcome.REFUSED


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_attributes_have_defaults(cls: type[ex.Error]) -> None:
    error = cls()
    assert (error.message, error.raw_message, str(error)) == ("", "", "")
    assert error.code is error.sqlite_errorcode is error.sqlite_errorname is error.address is None
    assert error.index is error.line is None
    assert error.retryable == (error.retry != "no")


def test_code_and_message_are_positional() -> None:
    error = ex.OperationalError("no such table: t", 1)
    assert (error.message, error.code, error.sqlite_errorcode) == ("no such table: t", 1, 1)


def test_raw_message_is_bounded() -> None:
    assert len(ex.Error("short", raw_message="x" * 10_000).raw_message) == 4096


def test_unknown_attributes_are_refused() -> None:
    with pytest.raises(TypeError, match="constrain"):
        ex.IntegrityError("x", constrain="unique")
    with pytest.raises(ValueError, match="perhaps"):
        ex.Error("x", outcome="perhaps")


@pytest.mark.parametrize(
    ("errorname", "constraint"),
    [
        ("SQLITE_CONSTRAINT_UNIQUE", "unique"),
        ("SQLITE_CONSTRAINT_PRIMARYKEY", "primary_key"),
        ("SQLITE_CONSTRAINT_NOTNULL", "not_null"),
        ("SQLITE_CONSTRAINT_FOREIGNKEY", "foreign_key"),
        ("SQLITE_CONSTRAINT_CHECK", "check"),
        ("SQLITE_CONSTRAINT_ROWID", "rowid"),
        ("SQLITE_CONSTRAINT_TRIGGER", "trigger"),
        ("SQLITE_CONSTRAINT_DATATYPE", "datatype"),
        ("SQLITE_MISMATCH", "datatype"),
        ("SQLITE_CONSTRAINT", None),
        (None, None),
    ],
)
def test_constraint_is_read_off_the_name(errorname: str | None, constraint: str | None) -> None:
    assert ex.IntegrityError("x", sqlite_errorname=errorname).constraint == constraint


def test_an_unknown_outcome_is_never_retryable() -> None:
    assert not ex.ConnectionLostError("gone").retryable
    assert not ex.BusyError("x", outcome="unknown").retryable
    assert ex.BusyError("x").retryable
    assert ex.NotLeaderError("x", retry="transaction").retryable


def test_outcome_is_its_word() -> None:
    assert ex.Outcome.NOT_SENT == "not_sent"
    assert f"{ex.Outcome.UNKNOWN}" == str(ex.Outcome.UNKNOWN) == "unknown"


def test_making_one_never_logs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for cls in CLASSES:
            cls("x", 5)
    assert not caplog.records


def test_builtins_are_untouched() -> None:
    assert ex.Warning is not builtins.Warning


def test_the_module_stands_alone() -> None:
    """The definition needs nothing of the package, so that anything may import it first."""
    path = Path(ex.__file__)
    spec = importlib.util.spec_from_file_location("exceptions_alone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["exceptions_alone"] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["exceptions_alone"]
    assert module.__all__ == ex.__all__
