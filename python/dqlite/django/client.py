# pyright: basic
"""``manage.py dbshell``."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.client import BaseDatabaseClient


class DatabaseClient(BaseDatabaseClient):
    """Starts the shell of the executable ``dqlite``."""

    executable_name = "dqlite"

    @classmethod
    def settings_to_cmd_args_env(cls, settings_dict: Any, parameters: Any) -> Any:
        """Refuse: the executable has no shell yet."""
        text = "dbshell: the executable dqlite has no shell in this version"
        raise ImproperlyConfigured(text)
