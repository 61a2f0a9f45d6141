"""`Connection` and `connect`: the synchronous API."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dqlite import _native, _rerun, _script, exceptions
from dqlite._beside import Beside
from dqlite._control import Control, SessionMode
from dqlite._core import RUN
from dqlite._cursor import Gathered
from dqlite._lexed import lexed
from dqlite._options import BYTES_MAX, TLS, Options, Target, Timeout, Types, options
from dqlite._parameters import Params, one_set
from dqlite.cursor import Cursor
from dqlite.rows import RowFactory, Shape, record_row
from dqlite.statement import PreparedStatement
from dqlite.transaction import Mode, Transaction, begin

if TYPE_CHECKING:
    from dqlite import bulk

T = TypeVar("T")

_MANY: Final = frozenset({"insert", "replace", "update", "delete"})


class Connection(Beside):
    """A connection to whichever node leads; threads may share it and take turns.

    A session that is lost outside a transaction is replaced at the next call. Reads are tried again
    then; a write that may have happened raises OutcomeUnknownError and is never sent twice.

    Each statement stands by itself unless `transaction` groups it with others. `timeout` is in
    seconds for the call as a whole; None for no deadline; the connection's own if not given. Any
    call may raise what `dqlite.exceptions` lists under Error.
    """

    def __init__(self, checked: Options, control: Control | None = None) -> None:
        """Made by `connect`."""
        super().__init__(checked, control)
        self._row_factory: RowFactory | None = record_row
        self._total_changes = 0
        self._begun = False

    @property
    def autocommit(self) -> bool | int:
        """Whether each statement stands by itself; see `dqlite.dbapi.connect` for the others.

        Going from False to True commits an open transaction.
        """
        return self._control.autocommit

    @autocommit.setter
    def autocommit(self, value: bool | int) -> None:
        was_manual = self._control.manual
        self._control.autocommit = value
        if was_manual and not self._control.manual and self.in_transaction:
            self._end("COMMIT")

    @property
    def isolation_level(self) -> str | None:
        """The mode of a transaction that begins by itself with a write; None: none does.

        Setting None commits an open transaction, as in stdlib ``sqlite3``.
        """
        return self._control.isolation_level

    @isolation_level.setter
    def isolation_level(self, value: str | None) -> None:
        self._control.isolation_level = value
        if value is None and self._control.manual:
            self.commit()

    @property
    def session_mode(self) -> SessionMode:
        """How transactions begin under ``autocommit=False``."""
        return self._control.session_mode

    @session_mode.setter
    def session_mode(self, value: SessionMode) -> None:
        self._control.session_mode = value

    @property
    def row_factory(self) -> RowFactory | None:
        """What cursors make of a row: see `dqlite.rows`; None for tuples."""
        return self._row_factory

    @row_factory.setter
    def row_factory(self, value: RowFactory | None) -> None:
        self._row_factory = value

    @property
    def total_changes(self) -> int:
        """Rows that INSERT, UPDATE and DELETE changed through cursors of this connection."""
        return self._total_changes

    def execute(self, sql: str, params: Params = (), /, *, timeout: Timeout = ...) -> Cursor:
        """Run one statement and return its `Cursor`::

        conn.execute("INSERT INTO users(name) VALUES (?)", ["ann"]).lastrowid
        """
        return self.cursor().execute(sql, params, timeout=timeout)

    def executemany(self, sql: str, sets: Iterable[Params], /, *, timeout: Timeout = ...) -> Cursor:
        """Run a statement once for each set of parameters; `rowcount` is the sum.

        All or nothing: outside a transaction it makes one. The first error ends it, with `.index`
        the number of the set. `timeout` is that of each statement.
        """
        return self.cursor().executemany(sql, sets, timeout=timeout)

    def executescript(self, script: str, /, *, timeout: Timeout = ...) -> Cursor:
        """Run the statements of a script one after the other; their rows are dropped.

        An error carries `.index`, the number of the statement from 0, and `.line`; what came before
        it stays. Under `LEGACY_TRANSACTION_CONTROL` an open transaction is committed first.
        `timeout` is that of each statement.
        """
        _script.run(self, script, timeout)
        return self.cursor()

    def fetch(self, sql: str, *args: Any, timeout: Timeout = ...) -> list[_native.Record]:
        """Return all rows::

        rows = conn.fetch("SELECT id, name FROM users WHERE age > ?", 30)
        """
        rows: list[_native.Record] = self.perform(self._state.projections.all, sql, args, timeout)
        return rows

    def fetchrow(self, sql: str, *args: Any, timeout: Timeout = ...) -> _native.Record | None:
        """Return the first row, or None if there is none."""
        row: _native.Record | None = self.perform(self._state.projections.first, sql, args, timeout)
        return row

    def fetchval(self, sql: str, *args: Any, column: int = 0, timeout: Timeout = ...) -> Any:
        """Return one cell of the first row, or None if there is no row."""
        return self.perform(self._state.projections.cell(column), sql, args, timeout)

    def fetchmany(
        self, sql: str, sets: Iterable[Params], *, timeout: Timeout = ...
    ) -> list[_native.Record]:
        """Run a statement with each set of parameters, and return all rows of its RETURNING.

        All or nothing, as `executemany`.
        """
        cursor = self.cursor().with_row_factory(record_row)
        return cursor.executemany(sql, sets, timeout=timeout).fetchall()

    def prepare(self, sql: str) -> PreparedStatement:
        """Return a statement to run again and again; ProgrammingError if it is none."""
        return PreparedStatement(self, sql)

    def with_row_factory(self, row_factory: RowFactory | None) -> Connection:
        """Set what cursors make of rows, and return this connection."""
        self.row_factory = row_factory
        return self

    def bulk_load(
        self,
        table: str,
        source: bulk.Source,
        *,
        columns: Sequence[str] | None = None,
        progress: bulk.Progress | None = None,
        atomic: bool = False,
        timeout: Timeout = ...,
    ) -> int:
        """Insert many rows, as fast as the server takes them; return how many::

        conn.bulk_load("orders", rows, columns=["id", "total"])
        conn.bulk_load("orders", polars_frame, progress=print)

        `source` is an iterable of sequences or dicts, all alike, or anything with
        ``__arrow_c_stream__``: a table of pyarrow, polars, pandas, duckdb. `columns` are the
        table's, in the order of the source; without it those of the dicts or the schema, else all
        of the table.

        Rows go in in transactions of some 4 to 8 MiB, because one of much more cannot be committed
        in the time of an election: after an error the rows of earlier ones stay, its
        ``.rows_loaded`` says how many these are, and ``.index`` is near the row that failed. With
        `atomic` it is one transaction; inside an open one it is part of that. `progress` is called
        about once in a MiB with the number of rows that the server has taken; what it raises ends
        the load. `timeout` is that of each MiB.
        """
        from dqlite import bulk  # noqa: PLC0415 - few programs want it

        strict = self._state.options.types == "strict"
        plan = bulk.Plan(table, source, columns, strict=strict, progress=progress)
        commits = not self._control.manual
        with self.one_call():
            return bulk.bulk_load(self, plan, commits=commits, atomic=atomic, timeout=timeout)

    def cursor(self) -> Cursor:
        """Return a cursor without a result, for code that executes on cursors."""
        return Cursor(self)

    def transaction(
        self,
        mode: Mode = "immediate",
        *,
        readonly: bool = False,
        savepoint_name: str | None = None,
        force_rollback: bool = False,
        timeout: Timeout = ...,
    ) -> Transaction:
        """Return a block that commits at its end and rolls back after an exception.

        `mode` is that of BEGIN: ``"immediate"`` takes the write lock at once, ``"deferred"`` with
        the first write. Inside another block it is a savepoint, called `savepoint_name` if that is
        given. With `readonly` it is deferred, and a write in it a ProgrammingError.
        """
        return Transaction(
            self,
            "deferred" if readonly else mode,
            readonly=readonly,
            savepoint_name=savepoint_name,
            force_rollback=force_rollback,
            timeout=timeout,
        )

    def run_transaction(
        self,
        fn: Callable[..., T],
        /,
        *args: Any,
        mode: Mode = "immediate",
        attempts: int = 8,
        timeout: float = 30.0,
        token: str | bytes | None = None,
        if_applied: Any = _rerun.UNSET,
    ) -> T:
        """Run ``fn(connection, *args)`` inside a transaction and return its result.

        It may run several times, so its effects must be in the database only: it runs again after
        BUSY, a lost leader or a lost session, at most `attempts` times within `timeout` seconds.
        With a `token` that is unique for the intended effect (`dqlite.new_token` makes one), it
        also runs again when the answer to COMMIT was lost, and takes effect exactly once; without,
        that is an AmbiguousCommitError. If somebody else used the token before:
        AlreadyAppliedError, or `if_applied` where that is given.
        """
        done: T = _rerun.run_transaction(
            self,
            lambda: fn(self, *args),
            mode=mode,
            attempts=attempts,
            timeout=timeout,
            token=token,
            if_applied=if_applied,
        )
        return done

    def begin(self, mode: Mode = "immediate") -> None:
        """Begin a transaction that `commit` or `rollback` ends."""
        self._end(begin(mode))
        self._begun = True

    def commit(self) -> None:
        """Commit the open transaction; nothing happens without one.

        If the answer is lost: AmbiguousCommitError.
        """
        if self._ends_by_hand():
            self._end("COMMIT")
            self._begun = False

    def rollback(self) -> None:
        """Roll the open transaction back; success also if its session is gone."""
        if not self._ends_by_hand():
            return
        try:
            self._end("ROLLBACK")
        except exceptions.OperationalError:
            if self.in_transaction:  # else a statement with OR ROLLBACK has done it
                raise
        self._begun = False

    def ping(self, timeout: Timeout = ...) -> bool:
        """Whether the node of this connection still answers and leads; False once it is closed."""
        if self.closed:
            return False
        try:
            return bool(self.fetchval("SELECT 1", timeout=timeout) == 1)
        except (exceptions.OperationalError, exceptions.ProtocolError):
            return False

    def close(self) -> None:
        """Drop the session; an open transaction is rolled back by that. Idempotent."""
        self._state.closed = True
        if self._state.session is not None:
            self._state.session.terminate()

    def __enter__(self) -> Connection:
        """Return the connection itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Name the database and the node."""
        if self.closed:
            return "<dqlite.Connection closed>"
        return f"<dqlite.Connection {self.name!r} at {self.address}>"

    def __reduce__(self) -> Any:
        """Refuse: a socket cannot be pickled."""
        text = "cannot pickle 'Connection': it owns a socket"
        raise TypeError(text)

    def __del__(self) -> None:
        """Warn if nobody closed it."""
        state = getattr(self, "_state", None)
        if state is None or state.closed or state.session is None:
            return
        self.close()
        if state.session.foreign:  # a copy by fork, which its owner closes
            return
        warnings.warn(
            f"{state.options.name!r} was garbage-collected open; use close() or 'with'",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )

    # What transactions, cursors, nodes and the faces stand on.

    def _ends_by_hand(self) -> bool:
        """Whether a transaction is open that `commit` and `rollback` are for."""
        return self.in_transaction

    def run(
        self, sql: str, params: Params, shape: Shape, timeout: Timeout
    ) -> tuple[_native.Result | _native.Stream | None, _native.Connection | None]:
        """Run one statement; its answer, and the session that reads the rest. For cursors."""
        projection = self._state.projections.streamed(shape)
        answer = self.perform(projection, sql, one_set(params), timeout)
        if isinstance(answer, _native.Result) and answer.rowcount > 0:
            self._total_changes += answer.rowcount
        return answer, self._state.session

    def run_line(self, sql: str, timeout: Timeout, *, begins: bool) -> None:
        """Run one statement and drop its rows. For scripts."""
        answer = self.perform(RUN, sql, (), timeout, begins=begins)
        if isinstance(answer, _native.Result) and answer.rowcount > 0:
            self._total_changes += answer.rowcount

    def run_each(
        self, sql: str, sets: Iterable[Params], shape: Shape, timeout: Timeout
    ) -> Gathered:
        """Run one statement with each set of parameters, all or nothing. For cursors."""
        if lexed(sql)[0] not in _MANY:
            text = "executemany() takes INSERT, REPLACE, UPDATE and DELETE"
            raise exceptions.ProgrammingError(text, outcome="not_sent")
        projection = self._state.projections.shaped(shape)
        with self.one_call():
            return self._all_or_nothing(projection, sql, sets, timeout)

    def _all_or_nothing(
        self, projection: _native.Projection, sql: str, sets: Iterable[Params], timeout: Timeout
    ) -> Gathered:
        gathered = Gathered()
        if self._control.manual and (begin_first := self._implied(sql)) is not None:
            self._end(begin_first)
        block = self.transaction(timeout=timeout)
        block.start()
        try:
            gathered.add(self.perform_many(projection, sql, sets, timeout))
        except BaseException as error:
            block.undo(error)
            raise
        block.commit()
        self._total_changes += gathered.rowcount
        return gathered


def connect(
    target: Target | None = None,
    /,
    *,
    hosts: Sequence[str] | None = None,
    database: str | None = None,
    timeout: Timeout = ...,
    tls: TLS | bool | None = None,
    connect_timeout: float | EllipsisType = ...,
    busy_timeout: float = 5.0,
    autocommit: bool | int = True,
    isolation_level: str | None = "IMMEDIATE",
    row_factory: RowFactory | None = record_row,
    types: Types = "auto",
    reconnect: bool = True,
    on_connect: Callable[[Connection], object] | None = None,
    name: str | None = None,
    statement_cache_size: int = 128,
    max_rows: int | None = None,
    max_frame_bytes: int = BYTES_MAX,
    max_buffered_bytes: int = BYTES_MAX,
) -> Connection:
    """Find the leader, open the database, and return a `Connection`::

        conn = dqlite.connect("dqlite://h1:9001,h2:9001/app")
        with dqlite.connect(["h1:9001", "h2:9001"], database="app") as conn: ...

    `target` is a URL, ``host:port``, a list of these, a `Node` or a `Client`; without it `hosts`,
    else the environment (``DQLITE_URL``, ``DQLITE_HOSTS``), else ``localhost:9001``. `timeout` is
    the deadline of each call (default: the URL's, else 60), `connect_timeout` that of the leader
    search including dial and OPEN (10); `busy_timeout` says how long to try again when the write
    lock is taken; all in seconds. `autocommit` and `isolation_level` are those of
    `dqlite.dbapi.connect`, `row_factory` is what cursors make of rows. With `reconnect` off the
    connection ends with its first session. `on_connect` is called with each new session, as a
    connection of its own, before anything else is sent: the place for ``PRAGMA foreign_keys = ON``.

    A statement that succeeds a second time is kept prepared in the session, up to
    `statement_cache_size` of them. A result of more than `max_rows` rows is a DataError, a message
    of more than `max_frame_bytes` a ProtocolError, and ends the session; an unread result of more
    than `max_buffered_bytes` that is in the way of another statement is an OperationalError. A
    cluster without a leader is a NoLeaderError, a bad argument a ProgrammingError.
    """
    connection = Connection(
        options(
            hosts if target is None else target,
            database=database,
            timeout=timeout,
            tls=tls,
            connect_timeout=connect_timeout,
            busy_timeout=busy_timeout,
            types=types,
            reconnect=reconnect,
            name=name,
            statement_cache_size=statement_cache_size,
            max_rows=max_rows,
            max_frame_bytes=max_frame_bytes,
            max_buffered_bytes=max_buffered_bytes,
        ),
        Control(autocommit, isolation_level),
    )
    connection.row_factory = row_factory
    connection.on_connect = on_connect
    connection.open()
    return connection
