"""asyncio's unfinished tasks, looked at from another thread."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest

from otel_memleak.diagnosis._tasks import read_tasks

HERE = "test_resources_tasks.py"


async def wait_for_more(queue: asyncio.Queue[int]) -> None:
    await queue.get()


async def consume(queue: asyncio.Queue[int]) -> None:
    await wait_for_more(queue)


async def finish() -> None:
    return None


def _seen_beside(
    coroutines: Callable[[], list[Coroutine[Any, Any, Any]]],
    look: Callable[[], tuple[dict[str, int] | None, dict[str, str]]] = read_tasks,
) -> tuple[dict[str, int], dict[str, str]]:
    """What a foreign thread sees while these coroutines run as tasks."""

    async def main() -> tuple[dict[str, int] | None, dict[str, str]]:
        tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines()]
        await asyncio.sleep(0.01)
        seen = await asyncio.get_running_loop().run_in_executor(None, look)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return seen

    counts, waits = asyncio.run(main())
    return counts or {}, waits


def _place(name: str, names: dict[str, Any]) -> str:
    (found,) = [known for known in names if known.startswith(f"{name} (")]
    return found


def test_unfinished_tasks_are_counted_by_coroutine() -> None:
    """What piles up is named by the function that made it, with its file and line."""
    counts, _ = _seen_beside(lambda: [*(consume(asyncio.Queue()) for _ in range(30)), finish()])

    name = _place("consume", counts)
    assert counts[name] == 30
    assert name.endswith(f"{HERE}:{consume.__code__.co_firstlineno})")
    assert not any(known.startswith("finish") for known in counts), "it is finished"


def test_a_task_tells_the_line_of_the_application_it_waits_at() -> None:
    """The innermost line outside asyncio, and the primitive that is awaited there."""
    counts, waits = _seen_beside(lambda: [consume(asyncio.Queue())])

    line = wait_for_more.__code__.co_firstlineno + 1
    assert waits[_place("consume", counts)].endswith(f"{HERE}:{line} (Queue.get)")


class Foreign:
    """A coroutine as Cython makes them: it can be awaited, and has no code to look at."""

    def __init__(self, future: Awaitable[Any]) -> None:
        self._future = future.__await__()

    def send(self, value: Any) -> Any:
        return self._future.send(value)

    def throw(self, *error: Any) -> Any:
        return self._future.throw(*error)

    def close(self) -> None:
        self._future.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self  # type: ignore[return-value]


Coroutine.register(Foreign)


def test_coroutines_of_another_make_are_counted_too() -> None:
    """One Cython coroutine among the tasks must not blind the count for all of them."""

    def both() -> list[Coroutine[Any, Any, Any]]:
        loop = asyncio.get_running_loop()
        return [asyncio.Queue[int]().get(), Foreign(loop.create_future())]  # type: ignore[list-item]

    counts, _ = _seen_beside(both)

    assert counts["Foreign"] == 1
    assert counts[_place("Queue.get", counts)] == 1


def test_tasks_may_come_and_go_meanwhile() -> None:
    """The loop does not stop for the count; a registry that changes must not fail it."""
    stop = threading.Event()
    seen: list[int] = []

    def watch() -> None:
        for _ in range(300):
            counts, _ = read_tasks()
            assert counts is not None
            seen.append(sum(counts.values()))
        stop.set()

    async def churn() -> None:
        watcher = threading.Thread(target=watch)
        watcher.start()
        while not stop.is_set():
            await asyncio.gather(*(asyncio.sleep(0) for _ in range(50)))
        watcher.join()

    asyncio.run(churn())

    assert len(seen) == 300
    assert max(seen) >= 1


@pytest.mark.parametrize("internals", [{}, {"_all_tasks": None}, {"_scheduled_tasks": 7}])
def test_unfamiliar_internals_are_unknown_not_an_error(
    internals: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next Python may keep its tasks elsewhere."""
    tasks = types.SimpleNamespace(**internals)
    monkeypatch.setitem(__import__("sys").modules, "asyncio.tasks", tasks)

    assert read_tasks() == (None, {})


def test_without_asyncio_there_is_nothing_to_import_it_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without asyncio must not get it from us."""
    monkeypatch.delitem(__import__("sys").modules, "asyncio.tasks")

    assert read_tasks() == (None, {})
    assert "asyncio.tasks" not in __import__("sys").modules


def test_tasks_are_unknown_without_the_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that other threads change while it is read may crash a free-threaded interpreter."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)

    assert _seen_beside(lambda: [consume(asyncio.Queue())]) == ({}, {})
