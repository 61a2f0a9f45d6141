"""Results as Arrow, for data frames: made from wire bytes, without a Python object per cell.

::

    table = conn.execute("SELECT id, total FROM orders").fetch_arrow()
    polars.DataFrame(table), pyarrow.table(table)

    stream = conn.execute("SELECT * FROM log").fetch_arrow_stream()
    duckdb.from_arrow(stream).aggregate("count(*)")

Everything that knows Arrow's PyCapsule interface takes them: pyarrow, polars, pandas, duckdb,
nanoarrow. None of these needs to be installed here.

====================================  =======================================
cells                                 column
====================================  =======================================
integers                              int64
floats, also with integers among      float64
text; blobs                           large_utf8; large_binary
0 and 1 of a BOOLEAN column           bool
text of a time column, days only      date32
text of a time column                 timestamp[us], in UTC if all have offsets
seconds of a time column              timestamp[s, UTC]
only NULLs                            null
====================================  =======================================

An empty text in a time column is NULL; if one text there is no date or time, or some have an offset
and some have none, the column is large_utf8. With ``types="raw"`` the connection gives time and
BOOLEAN columns as the text and integers they are stored as. What does not go together, such as text
and numbers, is a DataError that names column and row (``.index``, from 0): CAST makes one type, or
`types` decides for one. An integer without an exact float among floats is one, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from dqlite import _native, exceptions

if TYPE_CHECKING:
    from dqlite._cursor import Gathered

ArrowTable = _native.ArrowTable
ArrowSchema = _native.ArrowSchema

ColumnType: TypeAlias = Literal["int64", "float64", "utf8", "binary", "bool", "timestamp", "date32"]
"""What a column may be asked for as; ``timestamp`` is in microseconds."""

ColumnTypes: TypeAlias = Mapping[str, ColumnType]
"""Types of columns by their names; the others are those of their cells."""

BATCH_ROWS: Final = 65_536

_Answer: TypeAlias = "_native.Result | Gathered | None"


class ArrowStream:
    """The rest of a result, batch by batch, for one reader::

    with conn.execute("SELECT * FROM log").fetch_arrow_stream() as stream:
        reader = pyarrow.RecordBatchReader.from_stream(stream)

    Batches are made when the reader asks for them, in whatever thread, and the server waits for a
    slow one. The first batch decides the types of the columns: a later cell that does not fit ends
    the stream with an error, which names its class, column and row; readers raise it as theirs.
    The stream ends, and the connection is free of it, when the reader lets go of it or at `close`.
    """

    def __init__(
        self,
        first: ArrowTable | None,
        pull: Callable[[], ArrowTable | None],
        leave: Callable[[], object],
    ) -> None:
        """Made by `Cursor.fetch_arrow_stream`."""
        self._first = first
        self._pull = pull
        self._leave = leave

    @classmethod
    def of(cls, table: ArrowTable) -> ArrowStream:
        """Return the batches of a table."""
        return cls(table, lambda: None, _nothing)

    @classmethod
    def reading(
        cls,
        stream: _native.Stream,
        session: _native.Connection,
        read_on: Callable[[], None],
    ) -> ArrowStream:
        """Return what still comes; `read_on` waits for some of it."""

        def pull() -> ArrowTable | None:
            while True:
                done = stream.done
                table = stream.take_arrow()
                if table is not None or done:
                    return table
                read_on()

        return cls(None, pull, partial(leave, stream, session))

    @property
    def schema(self) -> ArrowSchema:
        """Names and types; reads the first batch."""
        return self._begin().schema

    def __arrow_c_schema__(self) -> Any:
        """Return the schema as a PyCapsule."""
        return self._begin().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return the stream as a PyCapsule, once; `requested_schema` is ignored."""
        first, pull, leave = self._begin(), self._pull, self._leave
        self._first, self._pull, self._leave = None, _taken, _nothing
        return _native.arrow_stream(first, pull, leave)

    def close(self) -> None:
        """End the stream unless a reader has it; idempotent."""
        self._leave()
        self._first, self._pull, self._leave = None, _taken, _nothing

    def __enter__(self) -> ArrowStream:
        """Return the stream itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """End it."""
        leave = getattr(self, "_leave", _nothing)
        leave()

    def _begin(self) -> ArrowTable:
        if self._first is None:
            self._first = self._pull()
        if self._first is None:
            text = "the result ended before its first batch"
            raise exceptions.InterfaceError(text)
        return self._first


def leave(stream: _native.Stream, session: _native.Connection) -> None:
    """Drop what still comes of a result. For cursors."""
    if not (stream.done or session.closed or session.foreign):
        session.leave(stream)


def whole(answer: _Answer, left: int, batch_rows: int, types: ColumnTypes | None) -> ArrowTable:
    """Return the last `left` rows of an answer that is complete. For cursors."""
    if answer is None:
        text = "there is no result: execute a statement first"
        raise exceptions.InterfaceError(text)
    if not isinstance(answer, _native.Result):
        text = "rows of executemany cannot be fetched as Arrow"
        raise exceptions.NotSupportedError(text)
    return answer.arrow(left, batch_rows, pairs(types))


def pairs(types: ColumnTypes | None) -> list[tuple[str, str]]:
    """Return the types as the native module takes them. For cursors."""
    return [] if types is None else [(name, word) for name, word in types.items()]


def _taken() -> ArrowTable | None:
    text = "this stream was read or closed before; execute the statement again"
    raise exceptions.InterfaceError(text)


def _nothing() -> None:
    pass
