"""What a statement is, by the lexer; for those who must know before it is sent."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from dqlite import _native, exceptions


def lexed(sql: str) -> tuple[str, bool]:
    """Return the verb of a statement, and whether it may write."""
    with readable():
        return _native.statement_verb(sql), _native.statement_kind(sql) != "read"


@contextmanager
def readable() -> Generator[None, None, None]:
    """Say as a ProgrammingError that a text is none: half of a surrogate pair has no bytes."""
    try:
        yield
    except UnicodeEncodeError as error:
        text = f"the SQL text holds a lone surrogate at position {error.start}"
        raise exceptions.ProgrammingError(text, outcome="not_sent") from error
