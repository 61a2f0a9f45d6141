"""What runs the tasks: asyncio (any loop of it) or trio, whichever the caller is in."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from dqlite.aio import _trio

    Loop: TypeAlias = asyncio.AbstractEventLoop | _trio.Loop
    Pending: TypeAlias = asyncio.Future[Any] | _trio.Future
    Task: TypeAlias = asyncio.Future[Any] | _trio.Task
    Timer: TypeAlias = asyncio.TimerHandle | _trio.Timer

T = TypeVar("T")


def running() -> Loop:
    """Return the loop of the running task; RuntimeError outside of any."""
    own = _trio_loop()
    return asyncio.get_running_loop() if own is None else own


def is_inside(loop: Loop) -> bool:
    """Whether this is called by a task or callback of `loop`."""
    try:
        return running() is loop
    except RuntimeError:
        return False


async def sleep(seconds: float) -> None:
    """Let others run for so long."""
    own = _trio_loop()
    await (asyncio.sleep(seconds) if own is None else own.sleep(seconds))


async def checkpoint() -> None:
    """Raise what a cancelled scope of trio raises: its tasks are to send nothing more."""
    own = _trio_loop()
    if own is not None:
        await own.checkpoint()


async def is_over(pending: Any, seconds: float | None) -> bool:
    """Wait for a future; False if it takes longer than `seconds`."""
    own = _trio_loop()
    if own is not None:
        return await own.is_over(pending, seconds)
    done, _ = await asyncio.wait([pending], timeout=seconds)
    return bool(done)


async def gather(*works: Coroutine[Any, Any, T]) -> list[T | BaseException]:
    """Run them side by side; results or errors, in their order."""
    own = _trio_loop()
    if own is None:
        return await asyncio.gather(*works, return_exceptions=True)
    return await own.gather(works)


async def in_thread(call: Callable[[], T]) -> T:
    """Return what `call` returns in a thread; who is cancelled does not wait for its end."""
    own = _trio_loop()
    return await (asyncio.to_thread(call) if own is None else own.in_thread(call))


def start(work: Coroutine[Any, Any, None]) -> Task:
    """Run something in the background; its owner keeps the task."""
    own = _trio_loop()
    return asyncio.ensure_future(work) if own is None else own.start(work)


def shield(seconds: float) -> contextlib.AbstractContextManager[Any]:
    """Wait within the block although the scope around it is cancelled; `seconds` at most.

    Under asyncio a task is cancelled once and can wait again; under trio every wait would fail.
    """
    own = _trio_loop()
    return contextlib.nullcontext() if own is None else own.shield(seconds)


def _trio_loop() -> _trio.Loop | None:
    """Return the run of trio whose task this is; nothing of trio is imported for the question."""
    trio: Any = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_task():
        return None
    from dqlite.aio import _trio  # noqa: PLC0415 - needs trio

    return _trio.current()
