"""Counting tasks from outside their loops."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import pytest

from otel_memleak.probes import _asyncio, count_asyncio_tasks
from otel_memleak.probes._asyncio import running_loops

WAIT_S = 30


def count_by_running_loops() -> int | None:
    """The way of 3.14, which works on every version: through the loops seen running."""
    return _asyncio._count_by_loop(asyncio.tasks)


every_way = pytest.mark.parametrize("count", [count_asyncio_tasks, count_by_running_loops])


class WatchedLoop(asyncio.SelectorEventLoop):
    """A loop that notes which threads look at any of its attributes."""

    touched_by: set[int] = set()  # noqa: RUF012

    def __getattribute__(self, name: str) -> Any:
        WatchedLoop.touched_by.add(threading.get_ident())
        return super().__getattribute__(name)


@contextmanager
def loop_in_a_thread(waiting: int, loop: asyncio.AbstractEventLoop | None = None) -> Iterator[None]:
    """Run a loop with one main task, ``waiting`` unfinished ones and three that are done but held."""
    loop = loop or asyncio.new_event_loop()
    ready = threading.Event()
    finish = asyncio.Event()

    async def main() -> None:
        tasks = [loop.create_task(finish.wait()) for _ in range(waiting)]
        done = [loop.create_task(asyncio.sleep(0)) for _ in range(3)]
        await asyncio.gather(*done)
        ready.set()
        await finish.wait()
        await asyncio.gather(*tasks)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), daemon=True)
    thread.start()
    try:
        assert ready.wait(WAIT_S)
        yield
    finally:
        loop.call_soon_threadsafe(finish.set)
        thread.join(WAIT_S)
        assert not thread.is_alive()
        loop.close()


@every_way
def test_unfinished_tasks_of_all_loops_are_counted(count: Callable[[], int | None]) -> None:
    """Two loops in two threads: main tasks and all that wait; finished tasks still held do not count."""
    before = count() or 0
    with loop_in_a_thread(5), loop_in_a_thread(7):
        counted = count()

    assert counted == before + (1 + 5) + (1 + 7)


@every_way
def test_tasks_that_end_are_no_longer_counted(count: Callable[[], int | None]) -> None:
    """The count comes back down: a task gauge that only rises would itself look like a leak."""
    before = count() or 0
    with loop_in_a_thread(50):
        pass

    assert (count() or 0) == before


@every_way
def test_the_loop_is_not_touched(count: Callable[[], int | None]) -> None:
    """Loops are not thread-safe; counting looks at no attribute of theirs from its own thread."""
    with loop_in_a_thread(3, WatchedLoop()):
        WatchedLoop.touched_by.clear()
        counted = count()
        touched_by = set(WatchedLoop.touched_by)

    assert counted is not None
    assert threading.get_ident() not in touched_by


@every_way
def test_tasks_made_meanwhile_do_not_disturb(count: Callable[[], int | None]) -> None:
    """A loop making and finishing tasks as fast as it can never turns a count into None or an error."""
    stop = threading.Event()
    started = threading.Event()

    async def churn() -> None:
        while not stop.is_set():
            tasks = [asyncio.ensure_future(asyncio.sleep(0)) for _ in range(20)]
            started.set()
            await asyncio.gather(*tasks)

    thread = threading.Thread(target=asyncio.run, args=(churn(),), daemon=True)
    thread.start()
    assert started.wait(WAIT_S)
    counts = [count() for _ in range(200)]
    stop.set()
    thread.join(WAIT_S)

    assert None not in counts


def test_it_counts_from_inside_a_loop_too() -> None:
    """Called by a coroutine, as a metric callback may be, the calling task is among those counted."""
    before = count_asyncio_tasks() or 0

    async def main() -> int | None:
        return count_asyncio_tasks()

    assert asyncio.run(main()) == before + 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_tasks_are_counted() -> None:
    """A task in its first eager step, and one that has gone on from it, each count once."""
    before = count_asyncio_tasks() or 0

    async def step() -> int | None:
        counted = count_asyncio_tasks()
        await asyncio.sleep(0)
        return counted

    async def main() -> tuple[int | None, int | None]:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        task = asyncio.ensure_future(step())
        later = count_asyncio_tasks()
        return await task, later

    assert asyncio.run(main()) == (before + 2, before + 2)


def test_a_loop_on_two_frames_is_one_loop() -> None:
    """Under ``asyncio.run`` both the runner and the loop itself are on the stack."""

    async def main() -> bool:
        return running_loops() == [asyncio.get_running_loop()]

    assert asyncio.run(main())


def test_the_running_loops_of_all_threads_are_found() -> None:
    """Three threads run a loop each, and each is found."""
    with ExitStack() as stack:
        loops = [asyncio.new_event_loop() for _ in range(3)]
        for loop in loops:
            stack.enter_context(loop_in_a_thread(1, loop))
        found = running_loops()

    assert {id(loop) for loop in loops} == {id(loop) for loop in found}
    assert len(found) == 3


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.Runner came with 3.11")
def test_a_loop_without_python_frames_is_found_by_its_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop in C shows on no stack, but ``asyncio.run`` does, and knows the loop."""
    frames = {key: value for key, value in _asyncio._LOOP_FRAMES.items() if key[1] != "run_forever"}
    monkeypatch.setattr(_asyncio, "_LOOP_FRAMES", frames)

    async def main() -> bool:
        return running_loops() == [asyncio.get_running_loop()]

    assert asyncio.run(main())


def test_no_running_loop_is_unknown_by_running_loops() -> None:
    """Seeing no loop does not mean that there is no task."""
    assert running_loops() == []
    assert count_by_running_loops() is None


def test_other_threads_stacks_are_left_alone_without_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a free-threaded interpreter looking at another thread's frames may crash it: unknown."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    with loop_in_a_thread(1):
        assert count_by_running_loops() is None


def test_asyncio_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application without asyncio has no task count, and does not get asyncio for it."""
    monkeypatch.delitem(sys.modules, "asyncio.tasks")

    assert count_asyncio_tasks() is None
    assert "asyncio.tasks" not in sys.modules


class _Registering:
    """A task class in Python, during whose ``done`` another thread may well register a task."""

    def __init__(self, registry: weakref.WeakSet[object]) -> None:
        self.registry = registry
        self.others: list[object] = []

    def done(self) -> bool:
        self.others.append(_Registering(self.registry))
        self.registry.add(self.others[-1])
        return False


def test_tasks_registered_during_the_count_do_not_break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is that of the moment it began, also when the registry changes under it."""
    registry: weakref.WeakSet[object] = weakref.WeakSet()
    held = [_Registering(registry) for _ in range(3)]
    registry.update(held)
    module = ModuleType("asyncio.tasks")
    vars(module).update(_scheduled_tasks=registry)
    monkeypatch.setitem(sys.modules, "asyncio.tasks", module)

    assert count_asyncio_tasks() == 3


class _Hostile:
    def done(self) -> bool:
        raise RuntimeError("not your business")


@pytest.mark.parametrize(
    "content",
    [{}, {"_all_tasks": 3}, {"_scheduled_tasks": object()}, {"all_tasks": len}],
    ids=["half_imported", "a_number", "another_type", "another_builtin"],
)
def test_internals_of_another_shape_are_unknown(
    monkeypatch: pytest.MonkeyPatch, content: dict[str, object]
) -> None:
    """A future asyncio that keeps its tasks elsewhere yields None, never an exception."""
    module = ModuleType("asyncio.tasks")
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, "asyncio.tasks", module)

    assert count_asyncio_tasks() is None


def test_a_task_that_raises_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Third parties register task classes of their own; one that fails must not fail its host."""
    hostile = _Hostile()
    module = ModuleType("asyncio.tasks")
    vars(module).update(_scheduled_tasks=weakref.WeakSet([hostile]))
    monkeypatch.setitem(sys.modules, "asyncio.tasks", module)

    assert count_asyncio_tasks() is None
