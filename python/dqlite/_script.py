"""Scripts: many statements, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dqlite import _native, exceptions
from dqlite._lexed import readable

if TYPE_CHECKING:
    from dqlite._options import Timeout
    from dqlite.connection import Connection


def run(connection: Connection, script: str, timeout: Timeout) -> None:
    """Do `Connection.executescript`."""
    given: Any = script
    if not isinstance(given, str):
        text = f"a script must be str, not {type(given).__name__}"
        raise exceptions.ProgrammingError(text, outcome="not_sent")
    legacy = connection.autocommit is not True and connection.autocommit is not False
    if legacy:
        connection.commit()
    with readable():
        statements = _native.split_lines(script)
    for index, (line, sql) in enumerate(statements):
        try:
            connection.run_line(sql, timeout, begins=not legacy)  # as stdlib: scripts say BEGIN
        except exceptions.Error as error:
            error.index, error.line = index, line
            add_note = getattr(error, "add_note", None)
            if add_note is not None:  # Python 3.10 has none
                add_note(f"statement {index} of the script, line {line}")
            raise
