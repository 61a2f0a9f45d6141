# pyright: basic
"""``manage.py dbshell``."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.client import BaseDatabaseClient


class DatabaseClient(BaseDatabaseClient):
    """Refuses: the executable ``dqlite`` has no shell yet."""

    executable_name = "dqlite"

    @classmethod
    def settings_to_cmd_args_env(cls, settings_dict: Any, parameters: Any) -> Any:
        """Raise ImproperlyConfigured."""
        text = "dbshell: the executable dqlite has no shell in this version"
        raise ImproperlyConfigured(text)
