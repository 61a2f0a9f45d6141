# pyright: basic
"""The connection of the backend."""

from __future__ import annotations

import decimal
from collections.abc import Iterable, Mapping
from itertools import tee
from typing import Any, ClassVar, Final, cast

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.sqlite3 import base as sqlite
from django.utils.asyncio import async_unsafe

from dqlite import dbapi
from dqlite._control import LEGACY_TRANSACTION_CONTROL, Control
from dqlite._options import options
from dqlite.django.client import DatabaseClient
from dqlite.django.creation import DatabaseCreation
from dqlite.django.features import DatabaseFeatures
from dqlite.django.introspection import DatabaseIntrospection
from dqlite.django.operations import DatabaseOperations

_OPTIONS: Final = frozenset(
    {
        *("transaction_mode", "init_command", "timeout", "connect_timeout", "busy_timeout"),
        *("name", "tls", "statement_cache_size", "max_rows", "max_frame_bytes"),
        "max_buffered_bytes",
    }
)
_OF_A_FILE: Final = frozenset({"cached_statements", "check_same_thread", "detect_types", "uri"})
"""Options of Python's own SQLite that settings may keep; they mean nothing here."""


class DatabaseWrapper(sqlite.DatabaseWrapper):
    """One connection to a cluster."""

    display_name = "dqlite"
    data_types: ClassVar[Any] = {
        **sqlite.DatabaseWrapper.data_types,
        # Columns declared exactly BOOLEAN, DATE or DATETIME lose NULL on released engines.
        "BooleanField": "BOOL",
        "DateField": "DATE_CHAR",
        "DateTimeField": "DATETIME_CHAR",
    }
    Database = dbapi
    client_class = DatabaseClient
    creation_class = DatabaseCreation
    features_class = DatabaseFeatures
    introspection_class = DatabaseIntrospection
    ops_class = DatabaseOperations

    def get_connection_params(self) -> dict[str, Any]:
        """Return what `get_new_connection` takes; ImproperlyConfigured names what is wrong."""
        settings = self.settings_dict
        if not settings["NAME"]:
            text = f"settings.DATABASES[{self.alias!r}] needs a NAME, the name of a database"
            raise ImproperlyConfigured(text)
        if settings["USER"] or settings["PASSWORD"]:
            text = f"settings.DATABASES[{self.alias!r}]: dqlite has no USER and no PASSWORD"
            raise ImproperlyConfigured(text)
        params = {k: v for k, v in settings["OPTIONS"].items() if k not in _OF_A_FILE}
        if unknown := sorted(params.keys() - _OPTIONS):
            text = (
                f"settings.DATABASES[{self.alias!r}]['OPTIONS'] has unknown names: "
                f"{', '.join(unknown)}; known are {', '.join(sorted(_OPTIONS))}"
            )
            raise ImproperlyConfigured(text)
        mode = str(params.pop("transaction_mode", None) or "IMMEDIATE").upper()
        if mode not in self.transaction_modes:
            known = ", ".join(repr(mode) for mode in sorted(self.transaction_modes))
            text = (
                f"settings.DATABASES[{self.alias!r}]['OPTIONS']['transaction_mode'] is improperly "
                f"configured to '{settings['OPTIONS']['transaction_mode']}'. Use one of {known}, "
                "or None."
            )
            raise ImproperlyConfigured(text)
        self.transaction_mode = mode
        self.init_commands = str(params.pop("init_command", "")).split(";")
        params["database"] = str(settings["NAME"])
        params["target"] = self._target(settings["HOST"], settings["PORT"])
        return params

    @staticmethod
    def _target(host: str, port: str | int) -> list[str] | None:
        hosts = [part.strip() for part in host.split(",") if part.strip()]
        if port:
            hosts = [part if part.rpartition(":")[1] else f"{part}:{port}" for part in hosts]
        return hosts or None

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> dbapi.Connection:
        """Connect to the leader."""
        params = dict(conn_params)
        target = params.pop("target", None)
        checked = options(
            target,
            database=params.pop("database"),
            timeout=params.pop("timeout", ...),
            connect_timeout=params.pop("connect_timeout", ...),
            busy_timeout=params.pop("busy_timeout", 5.0),
            types="raw",
            reconnect=True,
            name=params.pop("name", self.alias),
            **params,
        )
        connection = dbapi.Connection(checked, Control(LEGACY_TRANSACTION_CONTROL, None))
        commands = [command.strip() for command in self.init_commands if command.strip()]
        if commands:  # which every session needs, also one that replaces a lost one
            connection.on_connect = lambda session: session.executescript(";".join(commands))
        connection.open()
        return connection

    def get_database_version(self) -> tuple[int, ...]:
        """Return SQLite's version at the server."""
        self.ensure_connection()
        return self._driver.server_version

    def create_cursor(self, name: str | None = None) -> CursorWrapper:
        """Return a cursor that takes Django's placeholders."""
        return cast("CursorWrapper", self._driver.cursor(CursorWrapper))

    def is_usable(self) -> bool:
        """Ask whether the node still answers and leads."""
        return self._driver.ping()

    def is_in_memory_db(self) -> bool:
        """Return False: a database of a cluster is nobody's memory."""
        return False

    def _set_autocommit(self, autocommit: bool) -> None:
        wrapped: Any = self.wrap_database_errors
        with wrapped:
            self._driver.isolation_level = None if autocommit else self.transaction_mode

    @property
    def _driver(self) -> dbapi.Connection:
        return cast("dbapi.Connection", self.connection)


class CursorWrapper(dbapi.Cursor):
    """A cursor that takes Django's placeholders, ``%s`` and ``%(name)s``."""

    def execute(self, query: str, params: Any = None, **_: Any) -> Any:
        """Run one statement; without parameters the text is taken as it is."""
        if params is None:
            return super().execute(query)
        if isinstance(params, Mapping):
            text = query % {name: f":{name}" for name in params}
            return super().execute(text, {name: _bindable(v) for name, v in params.items()})
        return super().execute(_converted(query), [_bindable(value) for value in params])

    def executemany(self, query: str, param_list: Iterable[Any], **_: Any) -> Any:
        """Run one statement with each set of parameters."""
        peeked, sets = tee(iter(param_list))
        first = next(peeked, None)
        if isinstance(first, Mapping):
            text = query % {name: f":{name}" for name in first}
            return super().executemany(
                text, ({name: _bindable(v) for name, v in params.items()} for params in sets)
            )
        return super().executemany(
            _converted(query), ([_bindable(value) for value in params] for params in sets)
        )


def _converted(query: str) -> str:
    return sqlite.FORMAT_QMARK_REGEX.sub("?", query).replace("%%", "%")


def _bindable(value: Any) -> Any:
    return str(value) if isinstance(value, decimal.Decimal) else value
