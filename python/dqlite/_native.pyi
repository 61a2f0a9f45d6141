"""The native module: sockets, wire bytes, rows. Private; everything public is in `dqlite`."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextvars import ContextVar
from types import EllipsisType
from typing import Any, Literal, SupportsIndex, TypeAlias, final, overload

from dqlite.aio import _loop

__all__ = [
    "HANDSHAKE",
    "Admin",
    "Answer",
    "ArrowSchema",
    "ArrowTable",
    "Config",
    "Connection",
    "Dial",
    "Encoded",
    "Lane",
    "Loader",
    "Node",
    "NodeEvents",
    "Projection",
    "Record",
    "Result",
    "Stream",
    "__version__",
    "arrow_stream",
    "code_name",
    "code_names",
    "dial",
    "is_complete",
    "parameters",
    "split",
    "split_lines",
    "statement_kind",
    "statement_verb",
    "stop_nodes",
    "wire_decode",
    "wire_encode",
    "wire_trace",
]

__version__: str

_Take: TypeAlias = Literal["all", "first", "value", "result", "stream"]
_RowShape: TypeAlias = Literal["record", "tuple", "list", "dict"]
_Types: TypeAlias = Literal["auto", "strict", "raw", "client"]
_Kind: TypeAlias = Literal["read", "write", "begin", "commit", "rollback", "other", "empty"]

@final
class Record(Sequence[Any]):
    """One row: immutable, its values by position and by name."""

    def __new__(cls, cursor: Any, values: Sequence[Any]) -> Record: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: SupportsIndex, /) -> Any: ...
    @overload
    def __getitem__(self, key: slice, /) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, key: str, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __contains__(self, value: object, /) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def keys(self) -> list[str]: ...
    def values(self) -> list[Any]: ...
    def items(self) -> list[tuple[str, Any]]: ...
    def get(self, key: str, default: Any = None) -> Any: ...
    def _asdict(self) -> dict[str, Any]: ...
    @staticmethod
    def _restore(names: list[str], values: Sequence[Any]) -> Record: ...

@final
class Projection:
    """What a call gives back: which part of the result, as which objects.

    `take`: ``"all"`` a list of rows, ``"first"`` a row or None, ``"value"`` one cell of the first
    row or None, ``"result"`` a `Result`, ``"stream"`` a `Result` if the answer fits one message and
    else a `Stream`. `types` ``"client"`` is ``"raw"`` with every BOOLEAN cell as bool.
    """

    def __new__(
        cls,
        take: _Take,
        row: _RowShape = "record",
        types: _Types = "auto",
        *,
        column: int = 0,
        tags: bool = False,
    ) -> Projection: ...

@final
class Result:
    """Everything a statement answered."""

    @property
    def columns(self) -> list[str] | None:
        """Column names; None if the statement gives no rows."""
    @property
    def tags(self) -> list[list[int]]:
        """Wire tags: of the first row only, or of each row if the projection asked for `tags`."""
    @property
    def rows(self) -> list[Any]: ...
    @property
    def rowcount(self) -> int:
        """Rows changed, or given by RETURNING; -1 where there is no such number."""
    @property
    def lastrowid(self) -> int | None:
        """The row id of an INSERT or REPLACE, else None."""
    def arrow(self, left: int, batch_rows: int, types: list[tuple[str, str]]) -> ArrowTable:
        """The last `left` rows; only of a result that a ``"stream"`` was asked for."""

def statement_kind(sql: str) -> _Kind:
    """What one statement is; two statements are a ProgrammingError."""

def statement_verb(sql: str) -> str:
    """Its verb in lower case: ``"insert"``, ``"rollback to"``, ``"other"``, ``"empty"``."""

def is_complete(text: str) -> bool: ...
def parameters(sql: str) -> list[str | None]:
    """The names of a statement's parameters in order, None for those without one."""

def split(script: str) -> list[str]:
    """The statements of a script, without what stands between them."""

def split_lines(script: str) -> list[tuple[int, str]]:
    """The statements of a script, each with the line where it begins, from 1."""

@final
class Config:
    """Where to connect, parsed and checked; a bad target is a ProgrammingError."""

    def __new__(
        cls,
        target: str | Sequence[str | tuple[str, str]] | None,
        *,
        database: str | None = None,
        connect_timeout: float | None = None,
        tls: tuple[str | bytes | None, ...] | bool | None = None,
        statements: int = 0,
        max_rows: int | None = None,
        max_frame_bytes: int | None = None,
        max_buffered_bytes: int | None = None,
    ) -> Config: ...
    @property
    def hosts(self) -> list[str]: ...
    @property
    def database(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def connect_timeout(self) -> float: ...

def code_name(code: int) -> str | None: ...
def code_names() -> dict[str, int]: ...
def dial(config: Config, timeout: float, given_up: Callable[[], bool] | None = None) -> Connection:
    """Find the leader and open the database, with the GIL released; `given_up` may end it."""

@final
class Dial:
    """The same in a thread without Python; `fileno` turns readable when `result` is there."""

    def __new__(cls, config: Config, timeout: float) -> Dial: ...
    def fileno(self) -> int: ...
    def result(self) -> Connection: ...
    def cancel(self) -> None: ...

@final
class Answer:
    """The future of a statement, awaited once.

    Its task goes on within the wake-up that brings the answer. Made by `Lane.submit`, or before
    for a statement that is sent later.
    """

    def __new__(cls, event_loop: _loop.Loop, trio: bool) -> Answer: ...
    def __await__(self) -> Generator[Any, None, Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Answer: ...
    @property
    def _asyncio_future_blocking(self) -> bool: ...
    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, blocking: bool) -> None: ...
    def get_loop(self) -> _loop.Loop: ...
    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Any = None
    ) -> None: ...
    def remove_done_callback(self, callback: Callable[[Any], object]) -> int: ...
    def cancel(self, msg: Any = None) -> bool: ...
    def done(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def result(self) -> Any: ...
    def exception(self) -> BaseException | None: ...
    def set_result(self, value: Any) -> bool:
        """Settle it; False if it was settled or cancelled before."""
    def set_exception(self, error: BaseException) -> bool:
        """Do the same with an error."""

@final
class Lane:
    """Whose turn it is on a connection, and the short way of a statement through it."""

    def __new__(cls, blocks: ContextVar[tuple[object, ...]], timeout: float | None) -> Lane: ...
    def use(self, session: Connection | None) -> None:
        """Go on with this session."""
    def shut(self, shut: bool) -> None:
        """Let statements take the long way only, or either."""
    def set_block(self, block: object | None) -> None:
        """Enter or leave a transaction block."""
    def is_inside(self) -> bool:
        """Whether the running task is in the block."""
    def take(self, inside: bool) -> bool:
        """Take a turn if it is free."""
    def queue(self, inside: bool, place: _loop.Pending) -> None:
        """Queue up; `place` is resolved when the turn is its owner's."""
    def give(self, inside: bool) -> None:
        """Pass a turn on."""
    def age(self) -> float:
        """Seconds since a statement went the short way."""
    def is_clean(self) -> bool:
        """Whether the session is open and nothing else is: nothing due, no transaction."""
    def submit(
        self,
        projection: Projection,
        sql: str,
        args: tuple[Any, ...],
        timeout: float | EllipsisType | None,
        answer: Answer | None = None,
    ) -> Answer | None:
        """Take the turn and send a statement; None if that is not possible at once.

        `answer` is what another task awaits already. Success passes the turn on, an error leaves it
        with the caller.
        """

@final
class Stream:
    """A result that is read while it comes.

    Reading stops while many rows wait here and nothing else is due on the connection.
    """

    @property
    def columns(self) -> list[str]: ...
    @property
    def tags(self) -> list[list[int]]:
        """Wire tags of the first row."""
    @property
    def done(self) -> bool:
        """Whether the last row has come."""
    @property
    def frames(self) -> int:
        """How many messages have come."""
    def prefetch(self, rows: int) -> None:
        """Let so many rows wait before reading stops."""
    def take(self) -> list[Any]:
        """The rows that wait; raises what ended the result when there are none."""
    def to_arrow(
        self, left: int, batch_rows: int, types: list[tuple[str, str]], whole: bool
    ) -> None:
        """Gather the last `left` rows that `take` gave, and all behind them, as Arrow.

        In one table if `whole`, else batch by batch; `take` gives nothing from then on.
        """
    def take_arrow(self) -> ArrowTable | None:
        """What is ready: a batch, or the whole at the end; raises what ended the result."""

@final
class ArrowSchema:
    """Names and types of columns, for whatever knows ``__arrow_c_schema__``."""

    @property
    def names(self) -> list[str]: ...
    @property
    def types(self) -> list[str]:
        """The types in Arrow's words."""
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> Any: ...

@final
class ArrowTable:
    """Record batches in memory, for whatever knows ``__arrow_c_stream__``; read as often as wanted.

    The batches share their memory with those who read them.
    """

    @property
    def num_rows(self) -> int: ...
    @property
    def num_columns(self) -> int: ...
    @property
    def nbytes(self) -> int:
        """Bytes of memory, including what is allocated and unused."""
    @property
    def column_names(self) -> list[str]: ...
    @property
    def schema(self) -> ArrowSchema: ...
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> Any: ...
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The batches as a PyCapsule; `requested_schema` is ignored."""

@final
class Encoded:
    """A set of parameters that is encoded already; `run_many` takes it, once."""

@final
class Loader:
    """Rows on their way into a table, several to a set of parameters.

    `source` is an iterable of sequences or dicts, or has ``__arrow_c_stream__``. The first row, or
    the schema, is read at once. Iterating gives the sets of a lot.
    """

    def __new__(cls, source: Any, strict: bool) -> Loader: ...
    @property
    def columns(self) -> list[str] | None:
        """Names of dicts and schemas."""
    @property
    def width(self) -> int:
        """Values of a row; 0 if there are no rows."""
    @property
    def taken(self) -> int:
        """Rows taken from the source so far."""
    def more(self) -> bool:
        """Whether there are rows that were not taken; looks for the next one."""
    def lot(self, rows_per_set: int, rows_max: int, bytes_max: int) -> Iterator[Encoded]:
        """Begin a lot of so many rows or bytes: sets of exactly `rows_per_set` rows."""
    def rest(self) -> tuple[Encoded, int] | None:
        """What a lot left that fills no set, and of how many rows it is."""
    def __iter__(self) -> Loader: ...
    def __next__(self) -> Encoded: ...

def arrow_stream(
    first: ArrowTable, pull: Callable[[], ArrowTable | None], close: Callable[[], object]
) -> Any:
    """A stream as a PyCapsule: `first`, then what `pull()` brings until that is None.

    The reader may be in any thread. `close()` is called once, when nobody reads on.
    """

@final
class Connection:
    """One server session over one socket.

    Used from one event loop after `attach`, else blocking. Nothing is retried here.
    """

    @property
    def address(self) -> str: ...
    @property
    def closed(self) -> bool: ...
    @property
    def foreign(self) -> bool:
        """This process was forked from the one that dialled."""
    @property
    def in_transaction(self) -> bool: ...
    @property
    def doubtful(self) -> bool:
        """The transaction may have been rolled back; only a ROLLBACK settles it."""
    @property
    def draining(self) -> bool: ...
    def attach(self, event_loop: _loop.Loop) -> None:
        """Register with the running loop; from then on the connection belongs to it."""
    def submit(
        self, projection: Projection, sql: str, args: tuple[Any, ...], timeout: float | None
    ) -> Answer | None:
        """Send a statement; None if the session is closed or draining and nothing was sent."""
    def submit_many(
        self, projection: Projection, sql: str, sets: Iterable[Any], timeout: float | None
    ) -> _loop.Pending | None:
        """Prepare a statement once and run it with each set, pipelined in a bounded window.

        The future gets the number of rows changed (a `Result` if the projection takes one), or what
        the projection makes of the rows of RETURNING. After an error nothing more is sent.
        """
    def limit_replies(self, bytes: int) -> None:
        """Believe replies of at most so many bytes; a larger one is a ProtocolError."""
    def forget(self, future: Answer | _loop.Pending) -> bool:
        """Give a statement up; False if it was answered.

        A server that can is told to end it. Its reply is dropped when it comes, or the session if
        it does not.
        """
    def more(self, stream: Stream) -> _loop.Pending | None:
        """Read on for a stream; None if something waits already."""
    def wait_more(self, stream: Stream, timeout: float | None) -> None:
        """Do the same and wait, with the GIL released."""
    def leave(self, stream: Stream) -> None: ...
    def leave_all(self) -> None: ...
    def drained(self) -> _loop.Pending:
        """Resolves when no forgotten reply is due any more, or the session is closed."""
    def run(
        self, projection: Projection, sql: str, args: tuple[Any, ...], timeout: float | None
    ) -> Any:
        """Send a statement and wait for its reply with the GIL released."""
    def run_many(
        self, projection: Projection, sql: str, sets: Iterable[Any], timeout: float | None
    ) -> Any:
        """Do what `submit_many` does and wait, with the GIL released."""
    def interrupt(self) -> None:
        """Have the sync statement that waits, else the next, end with StatementTimeoutError."""
    def forgive(self) -> None: ...
    def terminate(self) -> None:
        """Drop the socket at once; what is due fails as lost. Any thread; idempotent."""

@final
class Admin:
    """Blocking cluster administration: one dialled connection to the leader per call."""

    def __new__(cls, config: Config, timeout: float) -> Admin: ...
    @property
    def hosts(self) -> list[str]: ...
    def leader(self) -> tuple[int, str]: ...
    def cluster(self) -> list[tuple[int, str, int]]: ...
    def add(self, node_id: int, address: str, role: int, force: bool) -> None: ...
    def assign(self, node_id: int, role: int) -> None: ...
    def remove(self, node_id: int, force: bool = False) -> None: ...
    def transfer(self, node_id: int) -> None: ...
    def describe(self, address: str | None) -> tuple[int, int]: ...
    def set_weight(self, weight: int, address: str | None) -> None: ...
    def dump(self, database: str, address: str | None = None) -> dict[str, bytes]: ...

@final
class Node:
    """A supervised child process; see `dqlite.Node`."""

    def __new__(cls, address: str, data_dir: str, options: str) -> Node: ...
    def start(self, timeout: float) -> None: ...
    def wait_ready(self, timeout: float) -> None: ...
    def stop(self, timeout: float) -> tuple[bool, str | None, float, bool, str]: ...
    def handover(self, timeout: float, roles: bool) -> tuple[bool, str | None]: ...
    def leave(self, timeout: float) -> None: ...
    def status(self, timeout: float) -> str: ...
    def explain(self, timeout: float) -> str: ...
    def reload_tls(self, timeout: float) -> None: ...
    def set(
        self,
        log_level: str | None,
        trace_sql: str | None,
        slow_statement_ms: int | None,
        leader_probe_limit: int | None,
        timeout: float,
    ) -> None: ...
    def set_log_level(self, level: str, timeout: float) -> None: ...
    def events(self) -> NodeEvents: ...
    def after_fork(self) -> None: ...
    @property
    def id(self) -> int: ...
    @property
    def data_dir(self) -> str: ...
    @property
    def is_running(self) -> bool: ...
    @property
    def state(self) -> str: ...
    @property
    def role(self) -> str | None: ...
    @property
    def leader(self) -> tuple[int, str] | None: ...
    @property
    def is_leader(self) -> bool: ...
    @property
    def members(self) -> list[str]: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def restarts(self) -> int: ...
    @property
    def engine(self) -> tuple[str, str, str | None] | None: ...
    @property
    def socket_path(self) -> str | None: ...
    @property
    def url(self) -> str: ...

@final
class NodeEvents:
    """What happens to a node from now on."""

    def next(self, timeout: float) -> str | None:
        """The next event as JSON, or None if there is none in time."""

def stop_nodes(nodes: Sequence[Node], timeout: float) -> None:
    """Stop nodes side by side, without a Python thread."""

HANDSHAKE: bytes
"""The word with which a client starts."""

def wire_decode(
    capture: bytes, direction: str
) -> list[tuple[int, str, int, dict[str, Any], str | None]]:
    """The messages of a capture: offset, name, schema, fields, error."""

def wire_encode(message: str, schema: int | None, fields: dict[str, Any]) -> bytes:
    """The bytes of one message."""

def wire_trace(capture: bytes, direction: str, rows: int) -> str:
    """A capture as readable text."""
