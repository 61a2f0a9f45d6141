"""Tests of Django's own suite that do not hold for this backend, by reason."""

from __future__ import annotations

from typing import Final

SKIPS: Final[dict[str, set[str]]] = {}
