# pyright: basic
"""Databases for tests."""

from __future__ import annotations

import sys
from typing import Any

from django.db.backends.base.creation import TEST_DATABASE_PREFIX, BaseDatabaseCreation


class DatabaseCreation(BaseDatabaseCreation):
    """A database exists once it is opened; it is destroyed by emptying it."""

    def _get_test_db_name(self) -> str:
        settings = self.connection.settings_dict
        return str(settings["TEST"]["NAME"] or f"{TEST_DATABASE_PREFIX}{settings['NAME']}")

    def _create_test_db(self, verbosity: int, autoclobber: bool, keepdb: bool = False) -> str:
        name = self._get_test_db_name()
        if keepdb:
            return name
        if self._has_tables(name) and not autoclobber:
            answer = input(f"Type 'yes' to empty the test database {name!r}, or 'no' to cancel: ")
            if answer != "yes":
                self.log("Tests cancelled.")
                sys.exit(1)
        self._empty(name)
        return name

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> None:
        self._empty(test_database_name)

    def _clone_test_db(self, suffix: str, verbosity: int, keepdb: bool = False) -> None:
        clone = self.get_test_db_clone_settings(suffix)["NAME"]
        if keepdb and self._has_tables(clone):
            return
        self._empty(clone)
        source = self._connect(self.connection.settings_dict["NAME"])
        target = self._connect(clone)
        try:
            target.execute("PRAGMA foreign_keys = OFF")
            target.executescript("\n".join(source.iterdump()))
        finally:
            source.close()
            target.close()

    def test_db_signature(self) -> tuple[Any, ...]:
        """Return what two connections to one test database share."""
        settings = self.connection.settings_dict
        return settings["HOST"], settings["PORT"], settings["ENGINE"], self._get_test_db_name()

    def _connect(self, name: str) -> Any:
        params = {**self.connection.get_connection_params(), "database": name}
        return self.connection.get_new_connection(params)

    def _has_tables(self, name: str) -> bool:
        connection = self._connect(name)
        try:
            return bool(connection.fetchval("SELECT count(*) FROM sqlite_master"))
        finally:
            connection.close()

    def _empty(self, name: str) -> None:
        """Drop everything: views, triggers and indexes first, so that no drop needs a rebuild."""
        connection = self._connect(name)
        try:
            connection.execute("PRAGMA foreign_keys = OFF")
            for kind in ("view", "trigger", "table"):
                self._drop(connection, kind)
        finally:
            connection.close()

    @staticmethod
    def _drop(connection: Any, kind: str) -> None:
        own = "name NOT LIKE 'sqlite~_%' ESCAPE '~'"
        names = connection.fetch(f"SELECT name FROM sqlite_master WHERE type = ? AND {own}", kind)
        for (name,) in names:
            quoted = str(name).replace('"', '""')
            connection.execute(f'DROP {kind.upper()} IF EXISTS "{quoted}"')
