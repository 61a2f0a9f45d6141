"""Exceptions of dqlitepy: old relations, old attributes, and every one ours as well."""

from __future__ import annotations

import copy
import itertools
import logging
import pickle

import pytest

import dqlitepy
from dqlite import exceptions as canonical
from dqlite._face import face, reclassify
from dqlitepy import exceptions as old

Severity = old.ErrorSeverity


def classes(module) -> list[type[canonical.Error]]:
    found = (getattr(module, name) for name in module.__all__)
    return [cls for cls in found if isinstance(cls, type) and issubclass(cls, canonical.Error)]


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        ("DqliteError", "RuntimeError"),
        ("DqliteLibraryNotFound", "DqliteError"),
        ("NodeError", "DqliteError"),
        ("NodeStartError", "NodeError"),
        ("NodeStopError", "NodeError"),
        ("NodeAlreadyRunningError", "NodeError"),
        ("NodeNotRunningError", "NodeError"),
        ("NodeShutdownError", "NodeError"),
        ("NodeAssertionError", "NodeError"),
        ("ClientError", "DqliteError"),
        ("ClientConnectionError", "ClientError"),
        ("ClientClosedError", "ClientError"),
        ("NoLeaderError", "ClientError ClusterError NodeError"),
        ("ClusterError", "DqliteError"),
        ("ClusterJoinError", "ClusterError"),
        ("ClusterConfigurationError", "ClusterError"),
        ("ClusterQuorumLostError", "ClusterError"),
        ("ResourceError", "DqliteError"),
        ("ResourceLeakWarning", "ResourceError Warning"),
        ("MemoryError", "ResourceError"),
        ("SegmentationFault", "DqliteError"),
    ],
)
def test_old_relations_hold(name, bases) -> None:
    names = {cls.__name__ for cls in getattr(old, name).__mro__}
    assert set(bases.split()) <= names
    assert getattr(dqlitepy, name) is getattr(old, name)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("DqliteLibraryNotFound", "EngineNotFoundError"),
        ("NodeError", "NodeError"),
        ("NodeStartError", "NodeStartError"),
        ("NodeStopError", "NodeStopError"),
        ("NodeAlreadyRunningError", "NodeAlreadyRunningError"),
        ("NodeNotRunningError", "NodeNotRunningError"),
        ("ClientConnectionError", "ConnectionFailedError"),
        ("ClientClosedError", "InterfaceError"),
        ("ClusterError", "ClusterError"),
        ("NoLeaderError", "NoLeaderError"),
    ],
)
def test_each_is_ours_as_well(name, ours) -> None:
    assert issubclass(getattr(old, name), getattr(canonical, ours))


@pytest.mark.parametrize(
    ("names", "severity", "recoverable"),
    [
        ("DqliteError NodeError NodeStartError ClientClosedError", Severity.ERROR, True),
        ("ClusterConfigurationError", Severity.ERROR, True),
        ("NodeStopError NodeAlreadyRunningError NodeShutdownError", Severity.WARNING, True),
        ("NoLeaderError ResourceLeakWarning", Severity.WARNING, True),
        ("NodeNotRunningError", Severity.INFO, True),
        ("ClientConnectionError ClusterJoinError MemoryError", Severity.CRITICAL, True),
        ("ClusterQuorumLostError", Severity.CRITICAL, True),
        ("DqliteLibraryNotFound NodeAssertionError SegmentationFault", Severity.FATAL, False),
    ],
)
def test_severity_and_recoverable(names, severity, recoverable) -> None:
    for name in names.split():
        cls = getattr(old, name)
        assert (cls.severity, cls.recoverable) == (severity, recoverable), name


def test_constructor_and_text() -> None:
    cause = OSError("no route")
    error = old.DqliteError(5, "client_leader", "nobody leads", cause)
    assert (error.code, error.error_code, error.context) == (
        5,
        old.ErrorCode.NOLEADER,
        error.context,
    )
    assert (error.message, error.cause) == ("nobody leads", cause)
    text = "client_leader failed with code 5 (NOLEADER): nobody leads"
    assert str(error) == f"{text}\nCaused by: no route"
    assert str(old.DqliteError(3, "find")) == "find failed with code 3 (NOTFOUND)"


@pytest.mark.parametrize(
    ("message", "node_id", "address", "text"),
    [
        ("port in use", 1, "h:1", "Node 1: port in use (h:1)"),
        ("port in use", None, None, "port in use"),
        (None, 1, "h:1", "Node 1 (h:1)"),
        (None, None, "h:1", "h:1"),
    ],
)
def test_node_errors_name_the_node(message, node_id, address, text) -> None:
    error = old.NodeError(8, "node_start", message, node_id, address)
    assert str(error) == f"node_start failed with code 8 (INTERNAL): {text}"
    assert (error.node_id, error.node_address) == (node_id, address)


def test_special_constructors() -> None:
    missing = old.DqliteLibraryNotFound([("/usr/lib", "too old"), ("/opt", "")])
    assert missing.attempts == [("/usr/lib", "too old"), ("/opt", "")]
    assert "/usr/lib (too old); /opt" in str(missing)
    assert old.SegmentationFault("step", "SIGSEGV").code == -11
    with pytest.warns(old.ResourceLeakWarning, match="possible leak of handle: x"):
        __import__("warnings").warn(old.ResourceLeakWarning("handle", "x"), stacklevel=1)


def test_error_codes() -> None:
    numbers = {code.name: code.value for code in old.ErrorCode}
    names = [
        "SUCCESS",
        "NOMEM",
        "INVALID",
        "NOTFOUND",
        "MISUSE",
        "NOLEADER",
        "SHUTDOWN",
        "STOPPED",
        "INTERNAL",
    ]
    assert numbers == dict(zip(names, range(9), strict=True)) | {"UNKNOWN": -1}
    assert old.ErrorCode.from_code(4) is old.ErrorCode.MISUSE
    assert old.ErrorCode.from_code(2067) is old.ErrorCode.UNKNOWN
    assert all(severity.value == severity.name.lower() for severity in old.ErrorSeverity)


def test_every_pair_can_be_both_and_be_pickled() -> None:
    for base, ours in itertools.product(classes(old), classes(canonical)):
        error = reclassify(ours("text", 5), base)
        assert isinstance(error, base)
        assert isinstance(error, ours)
        assert face(base, ours) is type(error)
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(twin) is type(error)
            assert twin.__dict__ == error.__dict__


def test_making_one_never_logs(caplog) -> None:
    with caplog.at_level(logging.DEBUG):
        old.SegmentationFault("x")
        old.NodeError(1, "x")
    assert not caplog.records
