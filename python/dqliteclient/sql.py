"""What the text of a statement tells."""

from __future__ import annotations

import re
from typing import Final

from dqlite import _native

__all__ = ["leading_keyword", "split_statements", "strip_leading_comments"]

_COMMENTS: Final = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$))*", re.DOTALL)
_WORD: Final = re.compile(r"[(\s]*(\w*)")


def split_statements(sql: str) -> list[str]:
    """Return the statements of a text; semicolons in literals and trigger bodies do not count."""
    return [statement.removesuffix(";").rstrip() for statement in _native.split(sql)]


def strip_leading_comments(sql: str) -> str:
    """Return the text from its first token on."""
    found = _COMMENTS.match(sql)
    return sql[found.end() :] if found else sql


def leading_keyword(sql: str) -> str:
    """Return the first word in capitals, "" if there is none."""
    found = _WORD.match(strip_leading_comments(sql))
    return found[1].upper() if found else ""
