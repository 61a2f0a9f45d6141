"""Scripts: many statements, one after the other."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from dqlite import _native, exceptions
from dqlite._lexed import readable

if TYPE_CHECKING:
    from dqlite._options import Timeout
    from dqlite.connection import Connection


def run(connection: Connection, script: str, timeout: Timeout) -> None:
    """Do `Connection.executescript`."""
    split = statements(script)
    legacy = is_legacy(connection.autocommit)
    with connection.one_call():
        if legacy:
            connection.commit()
        for index, (line, sql) in enumerate(split):
            with placed(index, line):
                connection.run_line(sql, timeout, begins=not legacy)  # as stdlib: scripts say BEGIN


def is_legacy(autocommit: bool | int) -> bool:
    """Whether scripts run outside the transactions that statements begin."""
    return autocommit is not True and autocommit is not False


def statements(script: str) -> list[tuple[int, str]]:
    """Return the statements of a script, each with the number of its line."""
    given: Any = script
    if not isinstance(given, str):
        text = f"a script must be str, not {type(given).__name__}"
        raise exceptions.ProgrammingError(text, outcome="not_sent")
    with readable():
        return _native.split_lines(script)


@contextlib.contextmanager
def placed(index: int, line: int) -> Generator[None, None, None]:
    """Say in an error which statement it met."""
    try:
        yield
    except exceptions.Error as error:
        error.index, error.line = index, line
        add_note = getattr(error, "add_note", None)
        if add_note is not None:  # Python 3.10 has none
            add_note(f"statement {index} of the script, line {line}")
        raise
