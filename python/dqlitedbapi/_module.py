"""PEP 249's attributes of a module, the same for the sync and the asyncio one."""

from __future__ import annotations

from typing import Final

from dqlite import __version__ as _version
from dqlite.dbapi import complete_statement, enable_callback_tracebacks, register_converter

__all__ = [
    "LEGACY_TRANSACTION_CONTROL",
    "MAX_CONTINUATION_FRAMES_UPPER_BOUND",
    "PARSE_COLNAMES",
    "PARSE_DECLTYPES",
    "__version__",
    "apilevel",
    "complete_statement",
    "enable_callback_tracebacks",
    "paramstyle",
    "register_converter",
    "sqlite_version",
    "sqlite_version_info",
    "threadsafety",
]

__version__: Final = f"0.8.0+dqlite.{_version}"

apilevel: Final = "2.0"
threadsafety: Final = 2
paramstyle: Final = "qmark"
sqlite_version_info: Final = (3, 35, 0)
sqlite_version: Final = "3.35.0"
LEGACY_TRANSACTION_CONTROL: Final = -1
PARSE_DECLTYPES: Final = 1
PARSE_COLNAMES: Final = 2
MAX_CONTINUATION_FRAMES_UPPER_BOUND: Final = 1_000_000
