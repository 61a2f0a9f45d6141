"""Copies of a whole database. Only Python's own ``sqlite3`` opens files here."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from dqlite import exceptions


class HasFiles(Protocol):
    """What can be copied."""

    def dump_files(self) -> dict[str, bytes]:
        """Fetch the files of its database."""
        ...


BackupTarget: TypeAlias = sqlite3.Connection | str | os.PathLike[str]

# Where a file's header says which journal it uses: 2 is WAL, 1 is none.
_WRITE_VERSION: Final = 18
_READ_VERSION: Final = 19
_SIGNATURE: Final[str | None] = getattr(sqlite3.Connection.iterdump, "__text_signature__", None)


def backup(
    connection: HasFiles,
    target: BackupTarget,
    *,
    pages: int,
    progress: Callable[[int, int, int], object] | None,
    name: str,
    sleep: float,
) -> None:
    """Do `Connection.backup`."""
    if isinstance(target, sqlite3.Connection):
        with _local(connection, name) as source:
            source.backup(target, pages=pages, progress=progress, sleep=sleep)
        return
    place = Path(target)
    handle, beside = tempfile.mkstemp(prefix=f".{place.name}-", dir=place.parent)
    os.close(handle)
    try:
        with _local(connection, name) as source, closing(sqlite3.connect(beside)) as copy:
            source.backup(copy, pages=pages, progress=progress, sleep=sleep)
        Path(beside).replace(place)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def serialize(connection: HasFiles, name: str) -> bytes:
    """Do `Connection.serialize`."""
    main, wal = _dump(connection, name)
    if not wal:
        return bytes(main)
    with tempfile.TemporaryDirectory(prefix="dqlite-") as directory:
        file = _write(Path(directory), main, wal)
        with closing(sqlite3.connect(file)) as source:
            source.execute("PRAGMA journal_mode = DELETE")
        return file.read_bytes()


def iterdump(connection: HasFiles, name_filter: str | None) -> Iterator[str]:
    """Do `Connection.iterdump`."""
    options: dict[str, Any] = {}
    if name_filter is not None:
        if "filter" not in (_SIGNATURE or ""):
            text = "iterdump(filter=...): this Python's sqlite3 has no such option (3.13 has)"
            raise exceptions.NotSupportedError(text)
        options["filter"] = name_filter
    return _lines(connection, options)


def _lines(connection: HasFiles, options: dict[str, Any]) -> Iterator[str]:
    with _local(connection, "main") as source:
        yield from source.iterdump(**options)


@contextmanager
def _local(connection: HasFiles, name: str) -> Generator[sqlite3.Connection]:
    """Open a private copy of the committed state."""
    main, wal = _dump(connection, name)
    with tempfile.TemporaryDirectory(prefix="dqlite-") as directory:
        file = _write(Path(directory), main, wal)
        with closing(sqlite3.connect(file)) as source:
            yield source


def _write(directory: Path, main: bytearray, wal: bytes) -> Path:
    file = directory / "copy.db"
    file.write_bytes(main)
    if wal:
        (directory / "copy.db-wal").write_bytes(wal)
    return file


def _dump(connection: HasFiles, name: str) -> tuple[bytearray, bytes]:
    """Fetch the file, marked as one without a WAL if there is none, and its WAL."""
    if name != "main":
        text = f"there is no attached database {name!r}: only main can be copied"
        raise exceptions.OperationalError(text, outcome="not_sent")
    files = connection.dump_files()
    wal = next((content for file, content in files.items() if file.endswith("-wal")), b"")
    main = bytearray(next(content for file, content in files.items() if not file.endswith("-wal")))
    if not wal and main:
        main[_WRITE_VERSION] = main[_READ_VERSION] = 1
    return main, wal
