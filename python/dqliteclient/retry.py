"""Trying again with growing pauses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from dqliteclient._validate import validate_max_attempts, validate_seconds
from dqliteclient.exceptions import ClusterError, ClusterPolicyError, DqliteConnectionError

__all__ = ["retry_with_backoff"]

T = TypeVar("T")

# Of the operating system, so that forked workers do not pause in step.
_random: Final = random.SystemRandom()


async def retry_with_backoff(  # noqa: PLR0917 - the published signature
    func: Callable[[], Awaitable[T]],
    max_attempts: int = 5,
    base_delay: float = 0.1,
    max_delay: float = 10.0,
    jitter: float = 0.1,
    max_elapsed_seconds: float | None = None,
    retryable_exceptions: tuple[type[BaseException], ...] = (
        OSError,
        DqliteConnectionError,
        ClusterError,
    ),
    excluded_exceptions: tuple[type[BaseException], ...] = (ClusterPolicyError,),
) -> T:
    """Return ``await func()``, trying again after a pause while it raises what is retryable.

    Pauses double from `base_delay` to `max_delay` seconds, give or take the share `jitter`; no new
    attempt starts after `max_elapsed_seconds`. At the end the last error is raised. A write whose
    connection broke may have happened: do not pass what must not happen twice.
    """
    validate_max_attempts(max_attempts)
    validate_seconds(base_delay, "base_delay", zero=True)
    validate_seconds(max_delay, "max_delay", zero=True)
    validate_seconds(jitter, "jitter", zero=True, below=1)
    if max_elapsed_seconds is not None:
        validate_seconds(max_elapsed_seconds, "max_elapsed_seconds", zero=False)
    loop = asyncio.get_running_loop()
    end = float("inf") if max_elapsed_seconds is None else loop.time() + max_elapsed_seconds
    attempt = 0
    while True:
        attempt += 1
        try:
            return await func()
        except excluded_exceptions:
            raise
        except BaseException as error:
            left = end - loop.time()
            if (
                attempt >= max_attempts
                or left <= 0
                or not _retryable(error, retryable_exceptions, excluded_exceptions)
            ):
                raise
        pause = min(base_delay * 2 ** (attempt - 1), max_delay)
        pause *= 1 + _random.uniform(-jitter, jitter)
        await asyncio.sleep(min(pause, max_delay, left))


def _retryable(
    error: BaseException,
    wanted: tuple[type[BaseException], ...],
    unwanted: tuple[type[BaseException], ...],
) -> bool:
    """Whether the error, or every leaf of an exception group, is worth another attempt."""
    leaves: tuple[BaseException, ...] | None = getattr(error, "exceptions", None)
    if leaves is not None and hasattr(error, "split"):
        return all(_retryable(leaf, wanted, unwanted) for leaf in leaves)
    return isinstance(error, wanted) and not isinstance(error, unwanted)
