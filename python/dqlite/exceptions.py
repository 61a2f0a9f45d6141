"""Every exception of this package, defined here and nowhere else.

::

    Warning                                     PEP 249; never raised
    Error
    ├── InterfaceError                          misuse: closed, other loop, thread, after fork
    └── DatabaseError
        ├── DataError                           a value cannot be bound or converted
        ├── IntegrityError                      .constraint
        │   └── AlreadyAppliedError             .token
        ├── InternalError
        │   └── ProtocolError                   bytes that break the protocol
        ├── ProgrammingError                    wrong parameters, two statements, unknown option
        │   └── AdapterLookupError              also a LookupError
        ├── NotSupportedError                   names the thing that is not supported
        └── OperationalError                    also plain SQL errors, as in stdlib sqlite3
            ├── ConnectionFailedError           .stage; nothing is in doubt
            │   └── PoolTimeoutError            also a TimeoutError
            ├── ClusterError                    membership request refused, target unreachable
            │   ├── NoLeaderError               .attempts: one reason per node asked
            │   ├── NotLeaderError              the node asked does not lead
            │   └── ClusterPolicyError          a redirect that the caller's rule forbids
            ├── BusyError                       the write lock was not to be had, or a stale read
            ├── PoisonStatementError            sessions died under this statement; not sent
            ├── OutcomeUnknownError             sent, and no answer that can be trusted
            │   ├── ConnectionLostError         also a ConnectionFailedError
            │   ├── LeadershipLostError
            │   ├── StatementTimeoutError       also a TimeoutError
            │   └── AmbiguousCommitError        the unknown statement was a COMMIT
            └── NodeError                       .node_id .node_address
                ├── NodeConfigError             also a ValueError
                ├── NodeStartError              .stage
                │   └── EngineNotFoundError     .tried
                ├── NodeStopError
                ├── NodeAlreadyRunningError
                └── NodeNotRunningError

Every :class:`Error` says what happened (``message``), which code the server gave (``code``), who
answered (``address``), whether it may have happened (``outcome``) and whether trying again is safe
(``retry``, ``retryable``). All of them can be pickled; making one has no side effect.
"""

from __future__ import annotations

import enum
import sys
from typing import Any, Final, Literal, TypeAlias

if sys.version_info >= (3, 11):
    _TimeoutError = TimeoutError
else:  # there asyncio.TimeoutError is a class of its own, and callers catch that one
    from asyncio.exceptions import TimeoutError as _AsyncioTimeoutError

    class _TimeoutError(TimeoutError, _AsyncioTimeoutError):
        """Caught by both names."""


__all__ = [
    "AdapterLookupError",
    "AlreadyAppliedError",
    "AmbiguousCommitError",
    "BusyError",
    "ClusterError",
    "ClusterPolicyError",
    "ConnectionFailedError",
    "ConnectionLostError",
    "DataError",
    "DatabaseError",
    "EngineNotFoundError",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "LeadershipLostError",
    "NoLeaderError",
    "NodeAlreadyRunningError",
    "NodeConfigError",
    "NodeError",
    "NodeNotRunningError",
    "NodeStartError",
    "NodeStopError",
    "NotLeaderError",
    "NotSupportedError",
    "OperationalError",
    "Outcome",
    "OutcomeUnknownError",
    "PoisonStatementError",
    "PoolTimeoutError",
    "ProgrammingError",
    "ProtocolError",
    "StatementTimeoutError",
    "Warning",
]

Retry: TypeAlias = Literal["no", "here", "elsewhere", "transaction"]
"""Where the same work may be tried again; ``transaction`` means the transaction as a whole."""

MESSAGE_CHARS_MAX: Final = 4096


class Outcome(str, enum.Enum):
    """May it have happened? It speaks of the transaction that the statement belongs to."""

    NOT_SENT = "not_sent"
    """Nothing reached a server."""
    REFUSED = "refused"
    """The server said no, or dropped the transaction; nothing of it was committed."""
    UNKNOWN = "unknown"
    """It was sent and nobody can tell. Nothing is ever repeated for you in this case."""

    def __str__(self) -> str:
        """Return the plain word."""
        return self.value


class Warning(Exception):  # noqa: A001, N818 - PEP 249 demands the name
    """Exists because PEP 249 lists it; never raised."""


class Error(Exception):
    """Base of everything this package raises.

    Subclasses add attributes by giving them a default in the class body; each may be passed to the
    constructor by name.
    """

    message: str = ""
    """What was tried, with whom and what came of it; control characters are escaped."""
    raw_message: str = ""
    """The server's text unescaped (at most 4096 characters); `message` if there is none."""
    code: int | None = None
    """The extended result code of the server, or None."""
    sqlite_errorname: str | None = None
    """The name of `code`, such as ``"SQLITE_CONSTRAINT_UNIQUE"``."""
    address: str | None = None
    """The node that answered or failed."""
    outcome: Outcome | None = None
    """Whether it may have happened; None where no statement was involved."""
    retry: Retry = "no"
    """Where the same work may be tried again."""
    index: int | None = None
    """``executemany``: the parameter set, ``executescript``: the statement; both from 0."""
    later_sets: bool = False
    """``executemany``: whether the server took sets behind `index`, to undo them with the rest."""
    line: int | None = None
    """``executescript``: the line of the statement, from 1."""
    rows_loaded: int | None = None
    """``bulk_load``: how many rows are surely in the table."""

    def __init__(
        self,
        message: str = "",
        code: int | None = None,
        *,
        raw_message: str | None = None,
        **attributes: Any,
    ) -> None:
        """Keep the message, the code and any attribute the class knows (else TypeError)."""
        message = str(message)[:MESSAGE_CHARS_MAX]
        super().__init__(message)
        self.message = message
        self.raw_message = (message if raw_message is None else raw_message)[:MESSAGE_CHARS_MAX]
        self.code = code
        if code is not None and "sqlite_errorname" not in attributes:
            from dqlite import _native  # noqa: PLC0415 - this module needs nothing to be imported

            self.sqlite_errorname = _native.code_name(code)
        for name, value in attributes.items():
            if name.startswith("_") or not hasattr(type(self), name):
                text = f"{type(self).__name__} has no attribute {name!r}"
                raise TypeError(text)
            setattr(self, name, value)
        if self.outcome is not None:
            self.outcome = Outcome(self.outcome)

    @property
    def sqlite_errorcode(self) -> int | None:
        """The same as `code`, under the name that stdlib ``sqlite3`` uses."""
        return self.code

    @property
    def retryable(self) -> bool:
        """True if trying again cannot do the work twice; never true of an unknown outcome."""
        return self.retry != "no" and self.outcome is not Outcome.UNKNOWN

    def __str__(self) -> str:
        """Return the message, also where another base class would add to it."""
        return self.message

    def __repr__(self) -> str:
        """Show the message, and the code if there is one."""
        code = "" if self.code is None else f", code={self.code}"
        return f"{type(self).__name__}({self.message!r}{code})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by class, arguments and attributes, not by calling the constructor."""
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[Error], args: tuple[Any, ...], state: dict[str, Any]) -> Error:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class InterfaceError(Error):
    """Misuse: closed, used from another loop or thread, after a fork, released to the pool."""


class DatabaseError(Error):
    """Anything the database or the way to it is responsible for."""


class DataError(DatabaseError):
    """A value cannot be bound or converted, or a limit of rows was exceeded."""


class IntegrityError(DatabaseError):
    """A constraint was violated; the statement did nothing."""

    outcome = Outcome.REFUSED
    constraint: str | None = None
    """``unique primary_key not_null foreign_key check rowid trigger datatype`` ..., or None."""

    def __init__(self, message: str = "", code: int | None = None, **attributes: Any) -> None:
        """Read `constraint` off the name of the code unless it is given."""
        super().__init__(message, code, **attributes)
        if self.constraint is None:
            self.constraint = _constraint(self.sqlite_errorname or "")


_CONSTRAINT_WORDS: Final = {
    "COMMITHOOK": "commit_hook",
    "FOREIGNKEY": "foreign_key",
    "NOTNULL": "not_null",
    "PRIMARYKEY": "primary_key",
}


def _constraint(errorname: str) -> str | None:
    if errorname == "SQLITE_MISMATCH":
        return "datatype"
    family, _, word = errorname.rpartition("_")
    if family != "SQLITE_CONSTRAINT":
        return None
    return _CONSTRAINT_WORDS.get(word, word.lower())


class AlreadyAppliedError(IntegrityError):
    """`run_transaction` found that somebody else had used the token before."""

    token: bytes | str | None = None


class InternalError(DatabaseError):
    """The database is out of order in itself."""


class ProtocolError(InternalError):
    """Bytes that break the protocol; the session was closed."""


class ProgrammingError(DatabaseError):
    """Wrong number of parameters, two statements in one, unknown option, unsupported type."""


class AdapterLookupError(ProgrammingError, LookupError):
    """No adapter for this type is registered."""


class NotSupportedError(DatabaseError):
    """Names the thing that is not supported."""


class OperationalError(DatabaseError):
    """The environment or the statement failed: no such table, syntax, connection, cluster, node."""


class ConnectionFailedError(OperationalError):
    """There is no usable session with a server, and nothing is in doubt."""

    outcome = Outcome.NOT_SENT
    retry: Retry = "elsewhere"
    stage: str | None = None
    """``resolve dial tls handshake open lost closed``, or None."""


class PoolTimeoutError(ConnectionFailedError, _TimeoutError):
    """No connection of the pool became free in time."""

    retry: Retry = "here"


class ClusterError(OperationalError):
    """A membership request was refused, or its target cannot be reached."""


class NoLeaderError(ClusterError):
    """No node that leads was found within the deadline."""

    outcome = Outcome.NOT_SENT
    retry: Retry = "elsewhere"
    attempts: list[tuple[str, str, str, float]] = []  # noqa: RUF012 - a default, replaced whole
    """One ``(address, kind, text, seconds)`` for each node asked."""


class NotLeaderError(ClusterError):
    """The node asked does not lead; it refused."""

    outcome = Outcome.REFUSED
    retry: Retry = "elsewhere"


class ClusterPolicyError(ClusterError):
    """A node redirected to an address that the caller's rule forbids."""

    outcome = Outcome.NOT_SENT


class BusyError(OperationalError):
    """The write lock was not to be had in time, or what was read before is out of date."""

    outcome = Outcome.REFUSED
    retry: Retry = "here"


class PoisonStatementError(OperationalError):
    """Two sessions in a row died under this statement; it was not sent a third time."""

    outcome = Outcome.NOT_SENT


class OutcomeUnknownError(OperationalError):
    """It was sent, and there is no answer that can be trusted."""

    outcome = Outcome.UNKNOWN
    retry: Retry = "no"


class ConnectionLostError(OutcomeUnknownError, ConnectionFailedError):
    """The connection ended after the statement had been sent."""


class LeadershipLostError(OutcomeUnknownError):
    """The node stopped leading while it worked; the statement may or may not stay."""


class StatementTimeoutError(OutcomeUnknownError, _TimeoutError):
    """The deadline passed; for reads and unsent statements `outcome` says that all is well."""


class AmbiguousCommitError(OutcomeUnknownError):
    """A COMMIT was sent and not answered; the cause is chained."""


class NodeError(OperationalError):
    """Something about a node of this process."""

    node_id: int | None = None
    node_address: str | None = None


class NodeConfigError(NodeError, ValueError):
    """Options were refused before anything was started; the text lists all of them."""


class NodeStartError(NodeError):
    """The node did not start."""

    stage: str | None = None
    """How far it came, such as ``config data_dir locate engine bind``, or None."""


class EngineNotFoundError(NodeStartError):
    """No usable engine library was found."""

    tried: list[tuple[str, str]] = []  # noqa: RUF012 - a default, replaced whole
    """One ``(place, reason)`` for each place searched."""

    @property
    def attempts(self) -> list[tuple[str, str]]:
        """The same as `tried`."""
        return self.tried


class NodeStopError(NodeError):
    """The process of the node survived even SIGKILL."""


class NodeAlreadyRunningError(NodeError):
    """The node runs already."""


class NodeNotRunningError(NodeError):
    """The node does not run."""
