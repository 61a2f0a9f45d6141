"""Names, signatures and versions of dqlitepy, as recorded from the package and its pages."""

from __future__ import annotations

import inspect
import re

import pytest

import dqlite
import dqlitepy
from dqlitepy import _ffi

NAMES = """connect dbapi Node Client NodeInfo get_version __version__ DqliteError
DqliteLibraryNotFound NodeError NodeStartError NodeStopError NodeAlreadyRunningError
NodeNotRunningError NodeShutdownError NodeAssertionError ClientError ClientConnectionError
ClientClosedError NoLeaderError ClusterError ClusterJoinError ClusterConfigurationError
ClusterQuorumLostError ResourceError ResourceLeakWarning MemoryError SegmentationFault
SafeErrorHandler safe_operation safe_cleanup handle_c_errors ShutdownSafetyGuard ErrorCode
ErrorSeverity DatabaseError"""


def test_every_name_is_there() -> None:
    assert set(NAMES.split()) == set(dqlitepy.__all__)
    assert all(hasattr(dqlitepy, name) for name in dqlitepy.__all__)
    assert dqlitepy.__dqlite_face__ is True


def test_version_says_what_it_stands_for() -> None:
    assert dqlitepy.__version__ == f"0.2.0+dqlite.{dqlite.__version__}"


@pytest.mark.parametrize(
    ("function", "recorded"),
    [
        (
            dqlitepy.Node.__init__,
            (
                "(self, address: str, data_dir: str | Path, *, node_id: int | None = None, "
                "bind_address: str | None = None, cluster: list[str] | None = None, "
                "auto_recovery: bool | None = True, busy_timeout_ms: int | None = None, "
                "snapshot_compression: bool | None = None, network_latency_ms: int | None = None) "
                "-> None"
            ),
        ),
        (dqlitepy.Node.start, "(self) -> None"),
        (dqlitepy.Node.stop, "(self) -> None"),
        (dqlitepy.Node.close, "(self) -> None"),
        (dqlitepy.Node.handover, "(self) -> None"),
        (dqlitepy.Node.begin, "(self) -> None"),
        (dqlitepy.Node.commit, "(self) -> None"),
        (dqlitepy.Node.rollback, "(self) -> None"),
        (dqlitepy.Node.open_db, "(self, db_name: str = 'db.sqlite') -> None"),
        (dqlitepy.Node.exec, "(self, sql: str, params: Any = ()) -> tuple[int, int]"),
        (dqlitepy.Node.query, "(self, sql: str, params: Any = ()) -> list[dict[str, Any]]"),
        (dqlitepy.Node.__enter__, "(self) -> Node"),
        (
            dqlitepy.Node.__exit__,
            (
                "(self, exc_type: type[BaseException] | None, exc: BaseException | None, "
                "tb: TracebackType | None) -> None"
            ),
        ),
        (dqlitepy.Client.__init__, "(self, cluster: list[str]) -> None"),
        (dqlitepy.Client.add, "(self, node_id: int, address: str) -> None"),
        (dqlitepy.Client.remove, "(self, node_id: int) -> None"),
        (dqlitepy.Client.cluster, "(self) -> list[NodeInfo]"),
        (dqlitepy.Client.leader, "(self) -> LeaderAddress"),
        (dqlitepy.Client.close, "(self) -> None"),
        (dqlitepy.Client.__enter__, "(self) -> Client"),
        (
            dqlitepy.Client.__exit__,
            (
                "(self, exc_type: type[BaseException] | None, exc_val: BaseException | None, "
                "exc_tb: TracebackType | None) -> None"
            ),
        ),
        (dqlitepy.get_version, "() -> tuple[int, str]"),
        (
            dqlitepy.DqliteError.__init__,
            (
                "(self, code: int, context: str, message: str | None = None, "
                "cause: BaseException | None = None) -> None"
            ),
        ),
        (
            dqlitepy.NodeError.__init__,
            (
                "(self, code: int, context: str, message: str | None = None, "
                "node_id: int | None = None, node_address: str | None = None) -> None"
            ),
        ),
        (
            dqlitepy.safe_operation,
            (
                "(context: str, suppress_errors: bool = False, default_return: Any = None) "
                "-> Generator[None, None, None]"
            ),
        ),
    ],
)
def test_signatures(function, recorded) -> None:
    shown = str(inspect.signature(function)).replace("'", "")
    assert shown == recorded.replace("'", "")


def test_properties_are_documented_properties() -> None:
    for name in ("address", "bind_address", "data_dir", "id", "is_running"):
        assert isinstance(inspect.getattr_static(dqlitepy.Node, name), property)
    assert isinstance(dqlitepy.Client.cluster_addresses, property)


def test_node_info() -> None:
    info = dqlitepy.NodeInfo(1, "h:1", 0)
    assert (info.id, info.address, info.role, info.role_name) == (1, "h:1", 0, "Voter")
    assert repr(info) == "NodeInfo(id=1, address='h:1', role=Voter)"
    assert [dqlitepy.NodeInfo(1, "h:1", n).role_name for n in (1, 2)] == ["StandBy", "Spare"]


def test_get_version_tells_the_engine() -> None:
    number, text = dqlitepy.get_version()
    major, minor, release = map(int, text.split("."))
    assert number == major * 10000 + minor * 100 + release
    assert re.fullmatch(r"\d+\.\d+\.\d+", text)


def test_a_missing_engine_lists_the_places(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("DQLITE_ENGINE", str(tmp_path / "nowhere"))
    with pytest.raises(dqlitepy.DqliteLibraryNotFound) as info:
        dqlitepy.get_version()
    assert str(tmp_path / "nowhere") in info.value.attempts[0][0]


def test_the_engine_may_be_configured(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("DQLITE_ENGINE", raising=False)
    monkeypatch.setenv("DQLITE_LIBRARY", "older")
    assert _ffi.engine() == "older"
    monkeypatch.setenv("DQLITEPY_LIBRARY", "old")
    assert _ffi.engine() == "old"
    _ffi.configure("configured")
    try:
        assert _ffi.engine() == "configured"
    finally:
        _ffi.configure(None)
    monkeypatch.setenv("DQLITE_ENGINE", "ours")
    assert _ffi.engine() is None
