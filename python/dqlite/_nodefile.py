"""The YAML file of nodes as go-dqlite writes it: a list of ``ID``, ``Address`` and ``Role``."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

from dqlite import exceptions

Entry: TypeAlias = tuple[int, str, int]
"""Id, address and role of a node."""

BYTES_MAX: Final = 1 << 20
_ROLES: Final = {"voter": 0, "standby": 1, "spare": 2}
_ROLE_MAX: Final = 2
_FIELD: Final = re.compile(
    r"(- +|  +)([A-Za-z]+): *(?:\"([^\"]*)\"|'([^']*)'|([^\"'#]+?))\s*(?:#.*)?"
)
_NOTHING: Final = re.compile(r"\s*(?:#.*)?|---|\[\]")


def read(path: Path) -> list[Entry]:
    """Return what the file lists; no file is no nodes, anything unreadable a ClusterError."""
    try:
        if path.stat().st_size > BYTES_MAX:
            raise bad(path, f"exceeds {BYTES_MAX} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise bad(path, f"cannot be read: {error}") from error
    entries: list[dict[str, str]] = []
    for number, line in enumerate(lines, 1):
        if _NOTHING.fullmatch(line):
            continue
        field = _FIELD.fullmatch(line)
        if field is None or not (entries or field[1].startswith("-")):
            raise bad(path, f"line {number} is not a field of a list of nodes: {line[:80]!r}")
        if field[1].startswith("-"):
            entries.append({})
        entries[-1][field[2].lower()] = field[3] or field[4] or field[5] or ""
    try:
        return [_entry(entry) for entry in entries]
    except (KeyError, ValueError) as error:
        raise bad(path, f"has a bad entry: {error!r}") from error


def write(path: Path, nodes: Iterable[Entry]) -> None:
    """Replace the file as a whole or not at all; nobody but its owner may read it."""
    text = "".join(f"- Address: {a}\n  ID: {n}\n  Role: {role}\n" for n, a, role in nodes)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        try:
            file.write(text or "[]\n")
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def bad(path: Path, what: str) -> exceptions.ClusterError:
    """Return the error for a file that is not what it should be."""
    return exceptions.ClusterError(f"YamlNodeStore: {path} {what}")


def _entry(entry: dict[str, str]) -> Entry:
    word = entry.get("role", "0").lower().replace("-", "")
    role = _ROLES[word] if word in _ROLES else int(word)
    if not 0 <= role <= _ROLE_MAX:
        text = f"role {role} is none of 0, 1 and 2"
        raise ValueError(text)
    return int(entry["id"]), entry["address"], role
