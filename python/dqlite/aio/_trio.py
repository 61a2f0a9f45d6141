"""A run of trio behind the few methods of an event loop that the native module uses.

Sockets are watched by system tasks, which end with the run; the tasks of callers wait in their own
cancel scopes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from typing import Any, Final, TypeVar

import trio
from trio import lowlevel

T = TypeVar("T")
_Callback = Callable[..., object]


class Future:
    """A result that comes later; awaited by tasks of trio, settled within the same run."""

    def __init__(self) -> None:
        """Start without a result."""
        self._callbacks: list[_Callback] = []
        self._done = False
        self._cancelled = False
        self._value: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Whether it is settled or cancelled."""
        return self._done

    def cancelled(self) -> bool:
        """Whether it was given up."""
        return self._cancelled

    def result(self) -> Any:
        """Return the value or raise the error."""
        if not self._done or self._cancelled:
            text = "there is no result"
            raise RuntimeError(text)
        if self._error is not None:
            raise self._error
        return self._value

    def exception(self) -> BaseException | None:
        """Return the error, if it is one."""
        return self._error

    def set_result(self, value: Any) -> None:
        """Settle it and wake who waits."""
        self._value = value
        self._settle()

    def set_exception(self, error: BaseException) -> None:
        """Let it fail."""
        self._error = error
        self._settle()

    def cancel(self) -> bool:
        """Give it up; False if it was settled before."""
        if self._done:
            return False
        self._cancelled = True
        self._settle()
        return True

    def add_done_callback(self, callback: _Callback, *, context: Any = None) -> None:
        """Call ``callback(self)`` when it is settled."""
        del context
        if self._done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def remove_done_callback(self, callback: _Callback) -> int:
        """Do not call it after all."""
        before = len(self._callbacks)
        self._callbacks = [one for one in self._callbacks if one is not callback]
        return before - len(self._callbacks)

    def __await__(self) -> Any:
        """Wait for it; who is cancelled gives it up."""
        return wait_for(self).__await__()

    def _settle(self) -> None:
        if self._done:
            text = "it is settled already"
            raise RuntimeError(text)
        self._done = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


class Task(Future):
    """Something that runs in the background until it ends or the run does."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        """Start it with the caller's context variables."""
        super().__init__()
        self._scope = trio.CancelScope()
        lowlevel.spawn_system_task(self._run, work, context=copy_context())

    def cancel(self) -> bool:
        """Cancel what runs."""
        self._scope.cancel()
        return not self._done

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            with self._scope:
                try:
                    await work
                except Exception as error:  # noqa: BLE001 - for whoever awaits it
                    self.set_exception(error)
                else:
                    self.set_result(None)
        finally:
            if not self._done:
                super().cancel()


class Timer:
    """A call that is due at a time of trio's clock."""

    def __init__(self, at: float, callback: _Callback, args: tuple[Any, ...]) -> None:
        """Start to wait."""
        self._at = at
        self._scope = trio.CancelScope()
        lowlevel.spawn_system_task(self._run, callback, args)

    def when(self) -> float:
        """Return the time."""
        return self._at

    def cancel(self) -> None:
        """Do not call."""
        self._scope.cancel()

    async def _run(self, callback: _Callback, args: tuple[Any, ...]) -> None:
        with self._scope:
            await trio.sleep_until(self._at)
        if not self._scope.cancelled_caught:
            callback(*args)


class _Watch:
    """A system task that calls back whenever a descriptor is ready."""

    def __init__(
        self, wait: Callable[[int], Coroutine[Any, Any, None]], fd: int, callback: _Callback
    ) -> None:
        self._stopped = False
        self._scope = trio.CancelScope()
        lowlevel.spawn_system_task(self._run, wait, fd, callback)

    def stop(self) -> None:
        # The task leaves the selector within this call: the descriptor may be closed next.
        self._stopped = True
        self._scope.cancel()

    async def _run(
        self, wait: Callable[[int], Coroutine[Any, Any, None]], fd: int, callback: _Callback
    ) -> None:
        with self._scope:
            while not self._stopped:
                await wait(fd)
                if not self._stopped:
                    callback()


class Loop:
    """One run of trio."""

    def __init__(self) -> None:
        """Belong to the run of the running task."""
        self._token = lowlevel.current_trio_token()
        self._watched: dict[tuple[int, bool], _Watch] = {}
        self._closed = False
        lowlevel.spawn_system_task(self._live)

    async def _live(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._closed = True

    def is_closed(self) -> bool:
        """Whether the run is over."""
        return self._closed

    def is_inside(self) -> bool:
        """Whether this is called by a task of the run."""
        return lowlevel.in_trio_run() and lowlevel.current_trio_token() is self._token

    def is_cancelled(self) -> bool:
        """Whether the next wait of the running task would raise Cancelled."""
        return trio.current_effective_deadline() == -math.inf

    def time(self) -> float:
        """Return the time of trio's clock."""
        return trio.current_time()

    def create_future(self) -> Future:
        """Return a future of this run."""
        return Future()

    def call_soon(self, callback: _Callback, *args: Any, context: Any = None) -> None:
        """Call back in the next round."""
        del context
        self._token.run_sync_soon(callback, *args)

    def call_soon_threadsafe(self, callback: _Callback, *args: Any) -> None:
        """Call back in the run, from any thread; not at all if the run is over."""
        try:
            self._token.run_sync_soon(callback, *args)
        except trio.RunFinishedError:
            self._closed = True

    def call_later(self, delay: float, callback: _Callback, *args: Any) -> Timer:
        """Call back after so many seconds."""
        return Timer(trio.current_time() + delay, callback, args)

    def call_at(self, when: float, callback: _Callback, *args: Any) -> Timer:
        """Call back at a time of `time`."""
        return Timer(when, callback, args)

    def add_reader(self, fd: int, callback: _Callback, *args: Any) -> None:
        """Call back whenever there is something to read."""
        self._watch(fd, False, lowlevel.wait_readable, callback, args)

    def remove_reader(self, fd: int) -> bool:
        """Watch for nothing to read any more."""
        return self._forget(fd, False)

    def add_writer(self, fd: int, callback: _Callback, *args: Any) -> None:
        """Call back whenever the socket takes bytes."""
        self._watch(fd, True, lowlevel.wait_writable, callback, args)

    def remove_writer(self, fd: int) -> bool:
        """Watch for room no more."""
        return self._forget(fd, True)

    def _watch(
        self,
        fd: int,
        writes: bool,
        wait: Callable[[int], Coroutine[Any, Any, None]],
        callback: _Callback,
        args: tuple[Any, ...],
    ) -> None:
        self._forget(fd, writes)
        call = (lambda: callback(*args)) if args else callback
        self._watched[fd, writes] = _Watch(wait, fd, call)

    def _forget(self, fd: int, writes: bool) -> bool:
        watch = self._watched.pop((fd, writes), None)
        if watch is not None:
            watch.stop()
        return watch is not None

    async def wait_for(self, pending: Any) -> Any:
        """Await an `Answer` of the native module."""
        return await wait_for(pending)

    async def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        await trio.sleep(seconds)

    async def checkpoint(self) -> None:
        """Raise Cancelled if the scope is."""
        await lowlevel.checkpoint_if_cancelled()

    async def is_over(self, pending: Any, seconds: float | None) -> bool:
        """Wait for a future; False if it takes longer than `seconds`."""
        with trio.move_on_after(math.inf if seconds is None else seconds) as scope:
            await _park(pending, lambda: None)
        return not scope.cancelled_caught

    async def gather(self, works: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
        """Run them side by side; results or errors, in their order."""
        found: dict[int, T | BaseException] = {}

        async def run(at: int, work: Coroutine[Any, Any, T]) -> None:
            try:
                found[at] = await work
            except Exception as error:  # noqa: BLE001 - for the caller to look at
                found[at] = error

        async with trio.open_nursery() as nursery:
            for at, work in enumerate(works):
                nursery.start_soon(run, at, work)
        return [found[at] for at in range(len(works))]

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Return what `call` returns in a thread."""
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True)

    def start(self, work: Coroutine[Any, Any, None]) -> Task:
        """Run something in the background."""
        return Task(work)

    def shield(self, seconds: float) -> trio.CancelScope:
        """Wait within the block although the scope around it is cancelled."""
        return trio.CancelScope(shield=True, deadline=trio.current_time() + seconds)


_LOOPS: Final = lowlevel.RunVar[Loop]("dqlite")


def current() -> Loop:
    """Return the one of the running task."""
    try:
        return _LOOPS.get()
    except LookupError:
        own = Loop()
        _LOOPS.set(own)
        return own


async def wait_for(pending: Any) -> Any:
    """Wait for a future or an answer; who is cancelled gives it up."""
    await _park(pending, pending.cancel)
    return pending.result()


async def _park(pending: Any, give_up: Callable[[], object]) -> None:
    """Sleep until it is settled."""
    if pending.done():
        return
    task = lowlevel.current_task()
    parked = True

    def wake(_pending: Any) -> None:
        nonlocal parked
        if parked:  # else the task was cancelled after this call had been asked for
            parked = False
            lowlevel.reschedule(task)

    def abort(_raise: Any) -> lowlevel.Abort:
        nonlocal parked
        parked = False
        pending.remove_done_callback(wake)
        give_up()
        return lowlevel.Abort.SUCCEEDED

    pending.add_done_callback(wake)
    await lowlevel.wait_task_rescheduled(abort)
