"""Messages of the wire protocol, for people who debug captures.

A capture is the raw bytes of one direction of a connection, from its first byte on. `decode` gives
its messages with their fields, `trace` the same as text, `encode` makes the bytes of one message::

    >>> from dqlite import wire
    >>> capture = wire.HANDSHAKE + wire.encode("QUERY_SQL", sql="SELECT ?", params=[1])
    >>> message = wire.decode(capture)[1]
    >>> message.at, message.name, message.fields
    (8, 'QUERY_SQL', {'sql': 'SELECT ?', 'params': [1]})
    >>> message.encode() == capture[message.at :]
    True
    >>> print(wire.trace(capture), end="")
           0  handshake version=1
           8  QUERY_SQL sql="SELECT ?" params=[1]

Requests and their fields (those with a value may be left out)::

    HANDSHAKE   version
    LEADER      -                               INTERRUPT   -
    CLIENT      id                              CONNECT     id, address
    HEARTBEAT   timestamp                       ADD         id, address
    OPEN        name, flags=0, vfs=""           ASSIGN      id, role (the short form has no role)
    PREPARE     sql                             REMOVE      id
    EXEC        statement, params=[]            DUMP        name
    QUERY       statement, params=[]            CLUSTER     format
    FINALIZE    statement                       TRANSFER    id
    EXEC_SQL    sql, params=[]                  DESCRIBE    format
    QUERY_SQL   sql, params=[]                  WEIGHT      weight

Replies and their fields::

    FAILURE     code, name, message (code or name is enough to encode it)
    SERVER      id, address (after the legacy handshake only address)
    WELCOME     heartbeat_timeout_ms
    SERVERS     nodes: a list of (id, address, role) or of (id, address), as was asked
    DB          id=0
    STMT        id, params, tail=None (schema 1 has a tail)
    RESULT      last_insert_id, rows_affected
    ROWS        columns, rows (a list of tuples), done=True
    EMPTY       -
    FILES       files: a list of (name, content)
    METADATA    failure_domain, weight

Roles are ``"voter"``, ``"stand-by"`` and ``"spare"``. Values of parameters and rows are int, float,
str, bytes, None, and for the tags that Python has no type for `UnixTime`, `Iso8601` and `Boolean`.
A text that is not UTF-8 is a str with surrogate escapes.

Limits: a capture is read as a whole. Two replies have forms that only their request tells apart;
read is what is usual, so the legacy SERVER may come out as another id and address. Servers leave
the start of an abandoned reply in some FAILURE messages; it is passed over and not encoded again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from dqlite import _native, exceptions

__all__ = [
    "HANDSHAKE",
    "Boolean",
    "Direction",
    "Iso8601",
    "Message",
    "UnixTime",
    "Value",
    "decode",
    "encode",
    "trace",
]

HANDSHAKE = _native.HANDSHAKE
"""The word with which a client starts."""

Direction: TypeAlias = Literal["auto", "requests", "replies"]
"""Which way the bytes went; ``auto`` tells by the handshake: without one, they are replies.

A capture that begins later is read from the first byte of any message, if the direction is told.
"""


@dataclass(frozen=True, slots=True)
class UnixTime:
    """Seconds since 1970, from a DATE, DATETIME or TIMESTAMP column; never a parameter."""

    seconds: int


@dataclass(frozen=True, slots=True)
class Iso8601:
    """A time as text, from such a column; stock servers send an empty one for NULL."""

    text: str


@dataclass(frozen=True, slots=True)
class Boolean:
    """The raw integer of a BOOLEAN column; stock servers send 0 for NULL."""

    number: int


Value: TypeAlias = int | float | str | bytes | UnixTime | Iso8601 | Boolean | None
"""A parameter, or a cell of a row."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a capture.

    `at` is the offset of its first byte. `error` says what is wrong with a message that is
    malformed or cut off; its fields are then those that could be read: of ROWS the rows in front
    of the error, else none. `name` is empty where the header is cut off or impossible.
    """

    at: int
    name: str
    schema: int
    fields: dict[str, Any]
    error: str | None = None

    def encode(self) -> bytes:
        """Return its bytes; ProgrammingError if it has an error."""
        if self.error is not None:
            text = f"a message with an error cannot be encoded: {self.error}"
            raise exceptions.ProgrammingError(text)
        return encode(self.name, schema=self.schema, **self.fields)


def decode(capture: bytes, direction: Direction = "auto") -> list[Message]:
    """Return the messages of a capture; what is wrong in it is told by `Message.error`.

    A malformed message is reported and passed over. What follows a cut message or an impossible
    header cannot be found: such a message is the last. ProgrammingError: an unknown direction.

    >>> decode(encode("FAILURE", name="SQLITE_BUSY", message="database is locked"))[0].fields
    {'code': 5, 'name': 'SQLITE_BUSY', 'message': 'database is locked'}
    >>> decode(encode("EMPTY")[:-1])
    [Message(at=0, name='EMPTY', schema=0, fields={}, error='cut off: 15 of 16 bytes')]
    """
    return [Message(*message) for message in _native.wire_decode(capture, direction)]


def encode(message: str, /, *, schema: int | None = None, **fields: Any) -> bytes:
    """Return the bytes of one message, header included; `decode` gives the same fields back.

    Without `schema` it is the simplest that can carry the fields. ProgrammingError: an unknown
    message, or a field that is missing, unknown or of the wrong type; DataError: a value that the
    protocol cannot carry. Both name the field. Nothing is checked that servers check: some of what
    can be encoded kills them.

    >>> encode("LEADER").hex(" ", 8)
    '0100000000000000 0000000000000000'
    >>> decode(encode("ROWS", columns=["on"], rows=[(Boolean(1),), (None,)]))[0].fields["rows"]
    [(Boolean(number=1),), (None,)]
    >>> encode("QUERY_SQL", sql=1)
    Traceback (most recent call last):
    dqlite.exceptions.ProgrammingError: QUERY_SQL, field sql: a str is needed, not int
    """
    if schema is not None and schema not in range(256):
        text = f"schema must be a number from 0 to 255, got {schema!r}"
        raise exceptions.ProgrammingError(text)
    return _native.wire_encode(message, schema, fields)


def trace(capture: bytes, direction: Direction = "auto", rows: int = 10) -> str:
    """Return a capture as text, line by line what ``dqlite wire decode`` prints.

    At most `rows` rows of each ROWS message are written out. ProgrammingError: an unknown
    direction or a negative number of rows.

    >>> print(trace(encode("ROWS", columns=["n"], rows=[(1,), (2,)]), rows=1), end="")
           0  ROWS columns=["n"] rows=2 DONE
                1
                and 1 more
    """
    if rows < 0:
        text = f"rows must not be negative, got {rows}"
        raise exceptions.ProgrammingError(text)
    return _native.wire_trace(capture, direction, rows)
