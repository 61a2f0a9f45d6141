"""The native module: sockets, wire bytes, rows. Private; everything public is in `dqlite`."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Literal, SupportsIndex, TypeAlias, final, overload

__all__ = [
    "HANDSHAKE",
    "Admin",
    "Config",
    "Connection",
    "Dial",
    "Node",
    "Projection",
    "Record",
    "Result",
    "__version__",
    "dial",
    "is_complete",
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

_Take: TypeAlias = Literal["all", "first", "value", "result"]
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
    row or None, ``"result"`` a `Result`. `types` ``"client"`` is ``"raw"`` with every BOOLEAN cell
    as bool.
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

def statement_kind(sql: str) -> _Kind:
    """What one statement is; two statements are a ProgrammingError."""

def statement_verb(sql: str) -> str:
    """Its verb in lower case: ``"insert"``, ``"rollback to"``, ``"other"``, ``"empty"``."""

def is_complete(text: str) -> bool:
    """Whether the text ends with a finished statement."""

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
    ) -> Config: ...
    @property
    def hosts(self) -> list[str]: ...
    @property
    def database(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def connect_timeout(self) -> float: ...

def dial(config: Config, timeout: float) -> Connection:
    """Find the leader and open the database; blocks with the GIL released, Ctrl-C works."""

@final
class Dial:
    """The same in a thread without Python; `fileno` turns readable when `result` is there."""

    def __new__(cls, config: Config, timeout: float) -> Dial: ...
    def fileno(self) -> int: ...
    def result(self) -> Connection: ...
    def cancel(self) -> None: ...

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
    def attach(self, event_loop: asyncio.AbstractEventLoop) -> None:
        """Register with the running loop; from then on the connection belongs to it."""
    def submit(
        self, projection: Projection, sql: str, args: tuple[Any, ...], timeout: float | None
    ) -> asyncio.Future[Any] | None:
        """Send a statement; None if the session is closed or draining and nothing was sent."""
    def forget(self, future: asyncio.Future[Any]) -> None:
        """Drop the reply of a cancelled future when it comes, or the session if it does not."""
    def drained(self) -> asyncio.Future[None]:
        """Resolves when no forgotten reply is due any more, or the session is closed."""
    def run(
        self, projection: Projection, sql: str, args: tuple[Any, ...], timeout: float | None
    ) -> Any:
        """Send a statement and wait for its reply with the GIL released."""
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
    def remove(self, node_id: int) -> None: ...
    def transfer(self, node_id: int) -> None: ...
    def describe(self, address: str | None) -> tuple[int, int]: ...
    def set_weight(self, weight: int, address: str | None) -> None: ...
    def dump(self, database: str) -> dict[str, bytes]: ...

@final
class Node:
    """A supervised child process; see `dqlite.Node`."""

    def __new__(cls, address: str, data_dir: str, options: str) -> Node: ...
    def start(self, timeout: float) -> None: ...
    def wait_ready(self, timeout: float) -> None: ...
    def stop(self, timeout: float) -> tuple[bool, str | None, float, bool, str]: ...
    def handover(self, timeout: float, roles: bool) -> tuple[bool, str | None]: ...
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
