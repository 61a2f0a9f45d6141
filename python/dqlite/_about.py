"""What is installed here, and what it found: for error reports and for people who wonder."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dqlite import _native, exceptions
from dqlite._node_facts import Engine
from dqlite.node import EXECUTABLE

if TYPE_CHECKING:
    from dqlite.connection import Connection

_TIMEOUT_S: Final = 30
_FACES: Final = ("dqliteclient", "dqlitedbapi", "dqlitepy")
_VARIABLES: Final = ("DQLITE_", "DQLITEPY_", "DQLITEWIRE_")
_EXTRAS: Final = ("sqlalchemy", "django", "pyarrow", "trio", "uvloop", "dqlite-engine")


def engine_info(engine: str | os.PathLike[str] | None = None) -> Engine:
    """Return which engine a node would run on: its path, version and bundle::

        >>> dqlite.engine_info().version
        '1.18.7'

    `engine` is a bundle's directory or a library; without it the places are searched where a node
    searches. The executable answers, so that no engine is loaded in this process.
    EngineNotFoundError lists the places tried in `.tried`.
    """
    report = _asked(engine)
    if "path" not in report:
        tried = [(one["place"], one["reason"]) for one in report["tried"]]
        places = "; ".join(f"{place} ({reason})" for place, reason in tried)
        text = f"no dqlite engine found, tried: {places}"
        raise exceptions.EngineNotFoundError(text, tried=tried, stage="locate")
    bundle = report["bundle"]
    return Engine(report["path"], report["version"], bundle and bundle["directory"])


def diagnostics(connection: Connection | None = None) -> dict[str, Any]:
    """Return what matters of this installation, as plain values::

        print(json.dumps(dqlite.diagnostics(), indent=2))

    ``versions`` are those of this package, Python and what it works with; ``engine`` is the one
    that a node would run on, or None, and ``engine_tried`` the places searched in vain; ``faces``
    says of each drop-in module whether ours is what an import gives; ``environment`` has the
    variables that are read here; ``loop`` the type of the event loop that runs, or None. Nothing
    of this raises, nothing is secret.

    With a `connection`, which is asked and may raise, also ``server``: its address, the version
    of SQLite there, and whether NULL comes back from a BOOLEAN column as NULL: of ours it does.
    """
    engine, tried = _engine()
    about = {
        "versions": _versions(),
        "executable": str(_executable()),
        "engine": None if engine is None else engine._asdict(),
        "engine_tried": tried,
        "faces": {name: _face(name) for name in _FACES},
        "environment": {
            name: os.environ[name] for name in sorted(os.environ) if name.startswith(_VARIABLES)
        },
        "loop": _loop(),
    }
    if connection is not None:
        about["server"] = _server(connection)
    return about


def _executable() -> Path:
    return Path(os.environ.get("DQLITE_EXECUTABLE") or EXECUTABLE)


def _asked(engine: str | os.PathLike[str] | None) -> dict[str, Any]:
    place = [] if engine is None else ["--engine", os.fspath(engine)]
    command = [str(_executable()), "engine", "info", "--json", *place]
    try:
        asked = subprocess.run(  # noqa: S603 - the executable of this package
            command, capture_output=True, check=False, text=True, timeout=_TIMEOUT_S
        )
        report: dict[str, Any] = json.loads(asked.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        text = f"ask {command[0]} for the engine: {error}"
        tried = [(command[0], str(error))]
        raise exceptions.EngineNotFoundError(text, tried=tried, stage="launch") from error
    return report


def _engine() -> tuple[Engine | None, list[tuple[str, str]]]:
    try:
        return engine_info(), []
    except exceptions.EngineNotFoundError as error:
        return None, error.tried


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {
        "dqlite": _native.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
    }
    for name in _EXTRAS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _face(name: str) -> dict[str, Any]:
    """Say whose module that is, without importing one that is not ours."""
    loaded = sys.modules.get(name)
    if loaded is None:
        spec = find_spec(name)
        place = None if spec is None else spec.origin
    else:
        place = getattr(loaded, "__file__", None)
    ours = place is not None and Path(place).resolve().parents[1] == EXECUTABLE.parents[2]
    return {"ours": ours, "file": place}


def _loop() -> str | None:
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        try:
            loop: object = asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            return f"{type(loop).__module__}.{type(loop).__qualname__}"
    trio = sys.modules.get("trio")
    return "trio" if trio is not None and trio.lowlevel.in_trio_run() else None


def _server(connection: Connection) -> dict[str, Any]:
    version = ".".join(str(number) for number in connection.server_version)
    with connection.transaction(mode="deferred", force_rollback=True):
        connection.execute("CREATE TEMP TABLE _dqlite_probe(flag BOOLEAN)")
        connection.execute("INSERT INTO temp._dqlite_probe VALUES (NULL)")
        kept = connection.fetchval("SELECT flag FROM temp._dqlite_probe") is None
    return {"address": connection.address, "sqlite": version, "keeps_null_boolean": kept}
