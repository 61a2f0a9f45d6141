"""`Node`: a dqlite node as a supervised child process of this one."""

from __future__ import annotations

import atexit
import json
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from dqlite import _native, exceptions
from dqlite._node_events import Teller
from dqlite._node_facts import Engine, Stopped, options_json
from dqlite._node_options import NodeOptions, own_tls, present
from dqlite._options import TLS, Host
from dqlite._parameters import Params
from dqlite.connection import Connection, connect
from dqlite.transaction import Mode, begin

if TYPE_CHECKING:
    from typing_extensions import Unpack

EXECUTABLE: Final = Path(__file__).parent / "_bin" / "dqlite"
"""The executable that comes with this package."""

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
EXIT_TIMEOUT_S: Final = 5.0
HANDOVER_TIMEOUT_S: Final = 3.0
LEAVE_TIMEOUT_S: Final = 30.0
ANSWER_TIMEOUT_S: Final = 5.0
TOLD_TIMEOUT_S: Final = 1.0

_DICTS: Final = _native.Projection("all", "dict")
_running: Final[weakref.WeakSet[Node]] = weakref.WeakSet()


class Node:
    """A dqlite node: data, raft and the engine in a child process, supervised from here.

    ::

        node = dqlite.Node("127.0.0.1:9001", "data/n1")
        node.start()
        node.open_db("app")
        node.exec("INSERT INTO users(name) VALUES (?)", ["ann"])
        print(node.query("SELECT * FROM users"))
        node.stop()

    With `cluster`, the addresses of all nodes and the same list on each, the first of the list
    forms the cluster and the others join it, in any order of starting. A crashed process is
    started again; when this process ends, however it ends, so does the node. Threads may share a
    node. Further options by keyword are those of ``dqlite node``; an unknown one is refused with
    the nearest known name.
    """

    def __init__(
        self,
        address: str,
        data_dir: str | os.PathLike[str],
        *,
        node_id: int | None = None,
        bind_address: str | None = None,
        cluster: Sequence[str] | None = None,
        auto_recovery: bool | None = None,
        busy_timeout_ms: int | None = 5000,
        snapshot_compression: bool | None = None,
        network_latency_ms: int | None = 20,
        on_damage: Literal["rejoin", "fail"] | None = None,
        on_event: Callable[[dict[str, Any]], object] | None = None,
        **options: Unpack[NodeOptions],
    ) -> None:
        """Check the arguments: NodeConfigError lists everything wrong. Starts nothing.

        `address` is ``HOST:PORT`` as others dial it, `bind_address` what to listen on where that
        differs. `busy_timeout_ms` says how long writers queue, `network_latency_ms` how long a
        message takes between nodes; elections take about 15 times as long. A member whose own data
        is damaged moves it aside and joins again; with ``on_damage="fail"`` it does not start.

        `on_event` is called with each event as a dict, in a thread of its own: ``type`` is
        ``state leader members role roles_adjusted warn`` ... What it raises is logged::

            dqlite.Node("127.0.0.1:9001", "data/n1", on_event=lambda event: print(event["type"]))
        """
        self._handle: _native.Node | None = None
        named = {
            "node_id": node_id,
            "bind_address": bind_address,
            "cluster": None if cluster is None else list(cluster),
            "auto_recovery": auto_recovery,
            "busy_timeout_ms": busy_timeout_ms,
            "snapshot_compression": snapshot_compression,
            "network_latency_ms": network_latency_ms,
            "on_damage": on_damage,
        }
        if EXECUTABLE.exists() and "DQLITE_EXECUTABLE" not in os.environ:
            options.setdefault("executable", str(EXECUTABLE))
        given = present(named | dict(options))
        self._address = address
        self._bind_address = bind_address
        self._cluster = list(cluster or ())
        self._data_dir = Path(data_dir)
        self._start_timeout: float = options.get("start_timeout") or START_TIMEOUT_S
        self._stop_timeout: float = options.get("stop_timeout") or STOP_TIMEOUT_S
        self._handle = _native.Node(address, os.fspath(data_dir), options_json(given))
        self._tls = own_tls(given)
        self._on_event = on_event
        self._teller: Teller | None = None
        self._lock = threading.RLock()
        self._databases: dict[str, Connection] = {}
        self._current: Connection | None = None
        self._begun: set[Connection] = set()  # with a transaction that nobody has ended here
        self._entered = False
        self._closed = False
        self._stopping = False
        self._pid = os.getpid()

    @property
    def id(self) -> int:
        """The node's id; 0 before the first start if it is not certain which it will get."""
        return self.native.id

    @property
    def address(self) -> str:
        """The address that others dial."""
        return self._address

    @property
    def bind_address(self) -> str | None:
        """What it listens on, or None if that is `address`."""
        return self._bind_address

    @property
    def data_dir(self) -> Path:
        """The directory that stores everything."""
        return self._data_dir

    @property
    def is_running(self) -> bool:
        """True between start and stop, also while a crashed process is started again."""
        return self.native.is_running

    @property
    def state(self) -> str:
        """The state in one word: ``stopped starting forming joining ready failed`` ..."""
        return self.native.state

    @property
    def role(self) -> str | None:
        """The role in the cluster in one word, once it is a member."""
        return self.native.role

    @property
    def leader(self) -> str | None:
        """The leader's address, as this node sees it."""
        leader = self.native.leader
        return None if leader is None else leader[1]

    @property
    def is_leader(self) -> bool:
        """Whether this node leads, as far as it knows."""
        return self.native.is_leader

    @property
    def pid(self) -> int | None:
        """The id of the child process, while there is one."""
        return self.native.pid

    @property
    def restarts(self) -> int:
        """How often the process was started again since `start`."""
        return self.native.restarts

    @property
    def engine(self) -> Engine | None:
        """The engine, once it is loaded."""
        engine = self.native.engine
        return None if engine is None else Engine(*engine)

    @property
    def socket_path(self) -> str | None:
        """The Unix socket for programs on this machine."""
        return self.native.socket_path

    @property
    def url(self) -> str:
        """Where to connect, for `dqlite.connect`; with TLS by the node's own certificate."""
        return self.native.url

    def start(self, timeout: float | None = None) -> None:
        """Start the node; returns when it serves, after up to one second more until it is ready.

        NodeAlreadyRunningError if it runs; NodeStartError with `.stage` and the node's own words,
        EngineNotFoundError with every place tried. After an error nothing is left behind. `timeout`
        in seconds (default: the option `start_timeout`, 30).
        """
        if self._closed:
            text = f"node {self._address} is closed"
            raise exceptions.NodeNotRunningError(text, node_address=self._address)
        if self._entered and self.is_running:
            self._entered = False
            return
        self._stopping = False
        if self._on_event is not None and not self.is_running:
            self._teller = Teller(self.native, self._on_event)
        try:
            self.native.start(self._start_timeout if timeout is None else timeout)
        except BaseException:
            if not self.is_running:
                self._end_telling()
            raise
        _running.add(self)

    def wait_ready(self, timeout: float = START_TIMEOUT_S) -> None:
        """Wait until the node is a member that knows the leader.

        NoLeaderError with the reason for each missing node; the node keeps running.
        """
        self.native.wait_ready(timeout)

    def stop(self, timeout: float | None = None) -> Stopped:
        """Hand leadership over, let clients go, stop the engine; return how it went.

        Takes at most `timeout` seconds (default: the option `stop_timeout`, 10), then the process
        is killed: no acknowledged write is lost by that. Idempotent, from any thread.
        """
        self._check_owner()
        self._stopping = True
        self._close_databases()
        _running.discard(self)
        bound = self._stop_timeout if timeout is None else timeout
        stopped = Stopped(*self.native.stop(bound))
        self._end_telling()
        return stopped

    def handover(self, timeout: float = HANDOVER_TIMEOUT_S, *, roles: bool = False) -> None:
        """Give leadership to another voter; nothing to do if this node does not lead.

        With `roles` the seat of a voter, too. NodeNotRunningError; NodeError if nobody takes it.
        """
        self.native.handover(timeout, roles)

    def leave(self, timeout: float = LEAVE_TIMEOUT_S) -> None:
        """Take the node out of its cluster for good, within `timeout` seconds, and stop it.

        Leadership and seat go to others first; its directory does not start again. NodeError if
        the others cannot do without it or do not agree in time; then it stays and keeps running.
        """
        self.native.leave(timeout)
        self.stop()

    def status(self, timeout: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Return the node's account of itself, asked within `timeout` seconds.

        Ids are text. NodeNotRunningError, also while its process is started again::

            print(node.status()["node"]["state"], node.status()["disk"]["free_bytes"])
        """
        status: dict[str, Any] = json.loads(self.native.status(timeout))
        return status

    def explain(self, timeout: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Return the node's ``last`` role decisions in words, and what the rules say ``now``.

        `timeout` in seconds. Errors as for `status`.
        """
        grounds: dict[str, Any] = json.loads(self.native.explain(timeout))
        return grounds

    def reload_tls(self, timeout: float = ANSWER_TIMEOUT_S) -> None:
        """Read the certificates again at once, not only when the files are next looked at.

        NodeError names the check that failed; the old ones stay in use then. `timeout` in seconds.
        """
        self.native.reload_tls(timeout)

    def set(
        self,
        *,
        log_level: str | None = None,
        trace_sql: str | None = None,
        slow_statement_ms: int | None = None,
        leader_probe_limit: int | None = None,
        timeout: float = ANSWER_TIMEOUT_S,
    ) -> None:
        """Change options of the running process: all that are given or, with NodeError, none.

        A process that is started again begins with the options of the constructor. `timeout` in
        seconds::

            node.set(slow_statement_ms=250, trace_sql="off")
        """
        native = self.native
        native.set(log_level, trace_sql, slow_statement_ms, leader_probe_limit, timeout)

    def set_log_level(self, level: str, timeout: float = ANSWER_TIMEOUT_S) -> None:
        """Log ``error warn info debug`` or ``trace`` from now until the process ends.

        NodeError for another word. `timeout` in seconds::

            node.set_log_level("debug")
        """
        self.native.set_log_level(level, timeout)

    def connect(self, database: str = "db.sqlite", **options: Any) -> Connection:
        """Open a connection that starts at this node and follows the leader.

        Options as for `dqlite.connect`.
        """
        self._check_running()
        return connect(self, database=database, **options)

    def open_db(self, db_name: str = "db.sqlite") -> None:
        """Open a database, creating it if there is none, and make it the current one.

        Each database keeps its own connection; opening one again makes it current again.
        """
        self._check_running()
        with self._lock:
            if db_name not in self._databases:
                self._databases[db_name] = self.connect(db_name)
            self._current = self._databases[db_name]

    def exec(self, sql: str, params: Params = ()) -> tuple[int, int]:
        """Run a statement in the current database; return last insert id and rows changed."""
        with self._lock, self._unless_stopped():
            cursor = self._database().execute(sql, params)
            return cursor.lastrowid or 0, max(cursor.rowcount, 0)

    def query(self, sql: str, params: Params = ()) -> list[dict[str, Any]]:
        """Run a statement in the current database; return its rows as dicts."""
        with self._lock, self._unless_stopped():
            rows: list[dict[str, Any]] = self._database().perform(_DICTS, sql, (params,))
            return rows

    def begin(self, mode: Mode = "immediate") -> None:
        """Begin a transaction, which all threads that use this node share."""
        with self._lock:
            database = self._database()
            database.execute(begin(mode))
            self._begun.add(database)

    def commit(self) -> None:
        """Commit it."""
        with self._lock:
            database = self._database()
            database.execute("COMMIT")
            self._begun.discard(database)

    def rollback(self) -> None:
        """Roll it back; success also if the server did, or if the session is lost."""
        with self._lock:
            database = self._database()
            expected = database.in_transaction or database in self._begun
            self._begun.discard(database)
            try:
                database.execute("ROLLBACK")
            except exceptions.OperationalError:
                if not expected:
                    raise

    def connection_targets(self) -> list[Host]:
        """Addresses in the order in which to try them: this node's socket, `cluster`, members."""
        process = self.native
        socket = process.socket_path
        local = [(socket, self._address)] if socket is not None else []
        return [*local, *dict.fromkeys([self._address, *self._cluster, *process.members])]

    def connection_tls(self) -> TLS | None:
        """Certificates to connect with: the node's own, if it speaks TLS."""
        return self._tls

    def close(self) -> None:
        """Stop it and refuse further use; idempotent, and never raises what `stop` would."""
        self._closed = True
        with suppress(exceptions.Error):
            self.stop()

    def __enter__(self) -> Node:
        """Start it if it does not run; one `start` inside the block is accepted."""
        if not self.is_running:
            self.start()
        self._entered = True
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Stop it; what goes wrong then never hides an exception of the block."""
        self._entered = False
        try:
            self.stop()
        except exceptions.Error:
            if exc is None:
                raise

    def __repr__(self) -> str:
        """Name the address and the state."""
        return f"Node(address={self._address!r}, id={self.id}, state={self.state})"

    def __reduce__(self) -> Any:
        """Refuse: a process cannot be pickled."""
        text = "cannot pickle 'Node': it owns a process"
        raise TypeError(text)

    def __del__(self) -> None:
        """Warn and stop if nobody did."""
        process = getattr(self, "_handle", None)
        if process is None or os.getpid() != getattr(self, "_pid", None) or not process.is_running:
            return
        warnings.warn(
            f"node {self._address} was garbage-collected running; use stop() or 'with'",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )
        self.close()

    @property
    def native(self) -> _native.Node:
        """The supervisor's handle. Private."""
        if self._handle is None:
            text = "this node was not made"
            raise exceptions.InterfaceError(text)
        return self._handle

    def _check_owner(self) -> None:
        current = os.getpid()
        if current != self._pid:
            text = (
                f"node {self._address} used after fork; reconstruct it in the child process "
                f"(created in pid {self._pid}, current pid {current})"
            )
            raise exceptions.InterfaceError(text)

    def _check_running(self) -> None:
        self._check_owner()
        if not self.is_running:
            text = f"node {self._address} is not running"
            raise exceptions.NodeNotRunningError(text, node_address=self._address)

    def _database(self) -> Connection:
        self._check_running()
        if self._current is None:
            text = "no database is open: call open_db first"
            raise exceptions.ProgrammingError(text)
        return self._current

    @contextmanager
    def _unless_stopped(self) -> Generator[None]:
        """Say that the node was stopped, not that its connection ended; the outcome stays."""
        try:
            yield
        except (exceptions.InterfaceError, exceptions.ConnectionFailedError) as error:
            if not self._stopping:
                raise
            text = f"node {self._address} is not running: it was stopped meanwhile"
            raise exceptions.NodeNotRunningError(
                text, node_address=self._address, outcome=error.outcome
            ) from error

    def _end_telling(self) -> None:
        teller, self._teller = self._teller, None
        if teller is not None:
            teller.end(TOLD_TIMEOUT_S)

    def _close_databases(self) -> None:
        """End what runs in them, too: without the lock, which a statement holds while it runs."""
        databases, self._databases, self._current = self._databases, {}, None
        self._begun.clear()
        for database in databases.values():
            database.close()


@atexit.register
def _stop_all() -> None:
    """Stop what still runs when the interpreter exits, side by side, within one bound."""
    running = list(_running)
    for node in running:
        node._close_databases()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    _native.stop_nodes([node.native for node in running], EXIT_TIMEOUT_S)


def _forget_parents_nodes() -> None:
    """In a forked process: let go of the control channels, so that nodes see their owner die."""
    for node in list(_running):
        node.native.after_fork()
    _running.clear()


os.register_at_fork(after_in_child=_forget_parents_nodes)
