"""The helpers of dqlitepy around code that may fail."""

from __future__ import annotations

import pytest

from dqlitepy import (
    ClientConnectionError,
    ClientError,
    ClusterError,
    ClusterJoinError,
    DqliteError,
    MemoryError,  # noqa: A004 - the published name
    NodeError,
    NodeStartError,
    NodeStopError,
    NoLeaderError,
    SafeErrorHandler,
    SegmentationFault,
    ShutdownSafetyGuard,
    handle_c_errors,
    safe_cleanup,
    safe_operation,
)


def fail() -> None:
    text = "it broke"
    raise OSError(text)


def test_safe_error_handler_cleans_up_and_keeps_the_error() -> None:
    calls = []
    handler = SafeErrorHandler("x", lambda: calls.append(1))
    with pytest.raises(OSError, match="it broke"), handler:
        fail()
    assert isinstance(handler.error, OSError)
    assert calls == [1]


def test_safe_error_handler_suppresses_on_request() -> None:
    with SafeErrorHandler("x", suppress_errors=True) as handler:
        fail()
    assert isinstance(handler.error, OSError)
    with pytest.raises(KeyboardInterrupt), SafeErrorHandler("x", suppress_errors=True):
        raise KeyboardInterrupt


def test_a_failing_cleanup_never_hides_the_error() -> None:
    with pytest.raises(ValueError, match="first"), SafeErrorHandler("x", fail):
        raise ValueError("fir" + "st")
    with SafeErrorHandler("x", fail) as handler:
        pass
    assert isinstance(handler.error, OSError)


def test_safe_operation_converts_foreign_exceptions() -> None:
    with pytest.raises(DqliteError, match="it broke") as info, safe_operation("copy"):
        fail()
    assert (info.value.code, info.value.context) == (-1, "copy")
    assert isinstance(info.value.__cause__, OSError)
    with pytest.raises(NodeError), safe_operation("copy"):
        raise NodeError(1, "x")
    with safe_operation("copy", suppress_errors=True):
        fail()


def test_safe_cleanup_returns_the_default() -> None:
    assert safe_cleanup(lambda: 5, "x") == 5
    assert safe_cleanup(fail, "x", default=7) == 7


@pytest.mark.parametrize(
    ("context", "rc", "cls"),
    [
        ("node_start", 8, NodeStartError),
        ("node_stop", 8, NodeStopError),
        ("node_handover", 8, NodeError),
        ("client_leader", 5, NoLeaderError),
        ("client_create", 8, ClientConnectionError),
        ("client_add", 8, ClientError),
        ("cluster_join", 8, ClusterJoinError),
        ("cluster", 8, ClusterError),
        ("malloc", 1, MemoryError),
        ("other", 8, DqliteError),
    ],
)
def test_return_codes_become_exceptions(context, rc, cls) -> None:
    handle_c_errors(None, 0, context)
    with pytest.raises(DqliteError) as info:
        handle_c_errors(None, rc, context)
    assert type(info.value) is cls


def test_return_codes_of_nodes_take_the_node() -> None:
    with pytest.raises(NodeError, match=r"Node 7"):
        handle_c_errors(None, 8, "node_x", node_id=7)


def test_shutdown_guard() -> None:
    guard = ShutdownSafetyGuard("n")
    assert not guard.shutdown_attempted
    assert not guard.attempt_shutdown(fail)
    calls = []
    guard.force_cleanup(lambda: calls.append(1))
    assert guard.attempt_shutdown(lambda: None)
    guard.force_cleanup(lambda: calls.append(2))
    assert (calls, guard.shutdown_attempted, guard.shutdown_succeeded) == ([1], True, True)
    with pytest.raises(SegmentationFault):
        guard.attempt_shutdown(lambda: (_ for _ in ()).throw(SegmentationFault("x")))
