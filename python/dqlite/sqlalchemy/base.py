"""The dialect ``dqlite://``."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from sqlalchemy import exc, pool, types
from sqlalchemy.dialects.sqlite import base as sqlite
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL
from sqlalchemy.engine.characteristics import ConnectionCharacteristic

from dqlite import __version__, dbapi, exceptions
from dqlite._control import Control, SessionMode
from dqlite._options import options
from dqlite.sqlalchemy._address import arguments, target_of
from dqlite.sqlalchemy.compiler import DqliteCompiler, DqliteTypeCompiler
from dqlite.sqlalchemy.types import Date, DateTime, Time

_LOST = (
    exceptions.ConnectionFailedError,
    exceptions.ProtocolError,
    exceptions.NotLeaderError,
    exceptions.LeadershipLostError,
)


class _SessionMode(ConnectionCharacteristic):
    """The execution option ``dqlite_session_mode``."""

    transactional = True

    def reset_characteristic(self, dialect: Any, dbapi_conn: Any) -> None:
        dbapi_conn.session_mode = dialect.session_mode

    def set_characteristic(self, dialect: Any, dbapi_conn: Any, value: Any) -> None:
        check_session_mode(value)
        dbapi_conn.session_mode = value

    def get_characteristic(self, dialect: Any, dbapi_conn: Any) -> Any:
        return dbapi_conn.session_mode


class DqliteDialect(SQLiteDialect_pysqlite):
    """SQLite's dialect over connections that follow the leader of a cluster."""

    name = "dqlite"
    driver = "native"
    supports_statement_cache = True
    supports_sane_rowcount = True
    supports_sane_multi_rowcount = True
    insert_executemany_returning = True  # pyright: ignore[reportAssignmentType]
    update_executemany_returning = True
    delete_executemany_returning = True
    has_terminate = True
    default_paramstyle = "qmark"
    statement_compiler = DqliteCompiler
    type_compiler_cls = DqliteTypeCompiler
    colspecs: ClassVar[Any] = {
        **SQLiteDialect_pysqlite.colspecs,
        types.Date: Date,
        types.DateTime: DateTime,
        types.Time: Time,
        types.TIMESTAMP: DateTime,
    }
    ischema_names: ClassVar[Any] = {
        **sqlite.ischema_names,
        "TIMESTAMP_CHAR": types.TIMESTAMP,
    }
    connection_characteristics: ClassVar[Any] = {
        **SQLiteDialect_pysqlite.connection_characteristics,
        "dqlite_session_mode": _SessionMode(),
    }

    def __init__(
        self, ddl_types: str = "safe", session_mode: SessionMode = "auto", **kw: Any
    ) -> None:
        """Take what ``create_engine`` was given; the URL may say the same."""
        super().__init__(**kw)
        self.ddl_types = ddl_types
        self.session_mode: SessionMode = check_session_mode(session_mode)

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return the PEP 249 module."""
        return dbapi

    @classmethod
    def get_pool_class(cls, url: URL) -> type[pool.Pool]:
        """Return a pool for threads."""
        return pool.QueuePool

    def create_connect_args(self, url: URL) -> Any:
        """Return the target and the options of a connection."""
        target, opts = target_of(url)
        self.ddl_types = opts.pop("ddl_types", self.ddl_types)
        self.session_mode = opts.pop("session_mode", self.session_mode)
        return [target], opts

    def connect(self, *cargs: Any, **cparams: Any) -> Any:
        """Open a connection; ``connect_args`` may carry ``creator_fn``."""
        creator = cparams.pop("creator_fn", None)
        mode = check_session_mode(cparams.pop("session_mode", self.session_mode))
        made = creator(*cargs, **cparams) if creator else _open(*cargs, **cparams)
        made.session_mode = mode
        return made

    def on_connect(self) -> Any:
        """Do nothing: functions cannot be registered."""
        return None

    def get_isolation_level_values(self, dbapi_connection: Any) -> Any:
        """Return the levels there are."""
        return ["SERIALIZABLE", "AUTOCOMMIT"]

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> None:
        """Choose between transactions and autocommit."""
        dbapi_connection.autocommit = level == "AUTOCOMMIT"

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        """Tell which of the two it is."""
        return "AUTOCOMMIT" if dbapi_connection.autocommit is True else "SERIALIZABLE"

    def detect_autocommit_setting(self, dbapi_conn: Any) -> bool:
        """Tell whether statements stand by themselves."""
        return dbapi_conn.autocommit is True

    def get_default_isolation_level(self, dbapi_conn: Any) -> Any:
        """Return what a new connection has."""
        return "SERIALIZABLE"

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Ask whether the node still answers and leads."""
        return bool(dbapi_connection.ping())

    def do_terminate(self, dbapi_connection: Any) -> None:
        """Drop the socket."""
        dbapi_connection.close()

    def do_begin_twophase(self, connection: Any, xid: Any) -> None:
        """Refuse: there are no two-phase commits."""
        text = "dqlite has no two-phase commits"
        raise exceptions.NotSupportedError(text)

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Whether the session is gone: lost, or its node leads no longer."""
        driver = getattr(connection, "dbapi_connection", connection)
        return isinstance(e, _LOST) or bool(getattr(driver, "closed", False))

    def retrieve_dbapi_version(self, dbapi: Any) -> Any:
        """Return the version of this package."""
        return tuple(int(part) for part in __version__.split("+")[0].split(".")[:3])

    def _get_server_version_info(self, connection: Any) -> Any:
        version: str = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
        return tuple(int(number) for number in version.split("."))


def check_session_mode(mode: Any) -> SessionMode:
    """Return the mode if it is one; ArgumentError otherwise."""
    if mode not in get_args(SessionMode):
        text = f"session_mode must be one of {list(get_args(SessionMode))}, got {mode!r}"
        raise exc.ArgumentError(text)
    return mode  # type: ignore[no-any-return]


def _open(target: Any, **opts: Any) -> dbapi.Connection:
    connection = dbapi.Connection(session_options(target, **opts), Control(autocommit=False))
    connection.open()
    return connection


def session_options(target: Any, **opts: Any) -> Any:
    """Check the options of one session; values are read as they are on the wire."""
    opts = arguments(opts)
    return options(
        target,
        database=opts.pop("database", None),
        timeout=opts.pop("timeout", ...),
        connect_timeout=opts.pop("connect_timeout", ...),
        busy_timeout=opts.pop("busy_timeout", 5.0),
        types="raw",
        reconnect=False,
        name=opts.pop("name", None),
        **opts,
    )
