"""``check_leak`` on real callables: what leaks is found, what does not is left in peace."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import mmap
import random
import subprocess
import sys
import threading
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from otel_memleak.probes import read_malloc
from otel_memleak.testing import LeakError, ManualClock, check_leak, check_leak_async
from otel_memleak.testing._meter import ProcessMeter

PATIENCE_S = 120.0
"""On a machine with far more to do than it can, the usual 30 s are a few calls."""
needs_glibc = pytest.mark.skipif(read_malloc() is None, reason="native memory is counted by glibc only")

# Each measures a callable for seconds, until the verdict converges.
pytestmark = pytest.mark.slow


skip_3_12 = pytest.mark.skipif(
    sys.version_info[:2] == (3, 12),
    reason="CPython 3.12 makes every interned string immortal: that is a leak",
)


def python_cache() -> Callable[[], object]:
    """About 100 B a call, held by a dictionary that is never emptied."""
    cache: dict[int, bytes] = {}
    numbers = count()
    return lambda: cache.setdefault(next(numbers), bytes(67))


def native() -> Callable[[], object]:
    """64 B a call from malloc, of which Python knows nothing."""
    malloc = ctypes.CDLL(None).malloc
    malloc.restype, malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    return lambda: malloc(64)


def listener() -> Callable[[], object]:
    """Nothing but a slot of a list."""
    listeners: list[None] = []
    return lambda: listeners.append(None)


def mapping() -> Callable[[], object]:
    """Two pages a call past malloc."""
    held: list[mmap.mmap] = []

    def call() -> None:
        held.append(mmap.mmap(-1, 8192))
        held[-1][0] = held[-1][4096] = 1

    return call


def coroutine() -> Callable[[], object]:
    """An object for every awaited call."""
    held: list[object] = []

    async def call() -> None:
        await asyncio.sleep(0)
        held.append(object())

    return call


def interned() -> Callable[[], object]:
    """Interned strings that are kept."""
    held: list[str] = []
    numbers = count()
    return lambda: held.append(sys.intern(f"a key that is long enough {next(numbers)}"))


def many_megabytes() -> Callable[[], object]:
    """So much that waiting for ten thousand calls would be an accident."""
    held: list[bytes] = []
    return lambda: held.append(bytes(4 << 20))


LEAKS = [
    (python_cache, (130, 320)),
    pytest.param(native, (64, 96), marks=needs_glibc),
    pytest.param(listener, (5, 12), marks=needs_glibc),
    (mapping, (8192, 9000)),
    (coroutine, (20, 40)),
    (interned, (70, 250)),
    pytest.param(many_megabytes, (4 << 20, (4 << 20) + 8192), marks=needs_glibc),
]


class Node:
    """Garbage that only the collector can find."""

    def __init__(self) -> None:
        self.me = self
        self.load = bytearray(1000)


def lru_cache_of_10000() -> Callable[[], object]:
    """Linear growth for ten thousand calls, and then none."""
    cached = functools.lru_cache(maxsize=10_000)(lambda number: str(number) * 4)
    numbers = count()
    return lambda: cached(next(numbers))


def lru_cache_of_60000() -> Callable[[], object]:
    """Larger than anybody guesses, but it says itself how full it is."""
    cached = functools.lru_cache(maxsize=60_000)(lambda number: str(number) * 4)
    numbers = count()
    return lambda: cached(next(numbers))


def own_cache_of_10000() -> Callable[[], object]:
    """The same by hand, where nobody can look it up."""
    cache: OrderedDict[int, bytes] = OrderedDict()
    numbers = count()

    def call() -> None:
        cache[next(numbers)] = bytes(100)
        if len(cache) > 10_000:
            cache.popitem(last=False)

    return call


def lazy_imports() -> Callable[[], object]:
    """Megabytes at the first call, some more at a later one."""
    numbers = count()

    def call() -> None:
        import xml.dom.minidom  # noqa: F401

        if next(numbers) == 700:
            import unittest.mock  # noqa: F401
            import wsgiref.handlers  # noqa: F401

    return call


def dropped_strings() -> Callable[[], object]:
    """Interned strings that nobody keeps: the table of them grows and shrinks."""
    numbers = count()
    return lambda: sys.intern(f"a key that is long enough {next(numbers)}")


def ten_megabytes() -> Callable[[], object]:
    """Ten megabytes, given back at once, in one piece and in many."""
    return lambda: (bytearray(10 << 20), [bytes(1000) for _ in range(100)])


def thread() -> Callable[[], object]:
    """A thread that works and ends."""

    def call() -> None:
        worker = threading.Thread(target=lambda: [bytes(3000) for _ in range(20)])
        worker.start()
        worker.join()

    return call


def random_sizes() -> Callable[[], object]:
    """What is in use wanders by megabytes, around a level."""
    chance = random.Random(5)
    slots = [b""] * 50

    def call() -> None:
        slots[chance.randrange(50)] = bytes(chance.randrange(20_000))

    return call


def tasks() -> Callable[[], object]:
    """Tasks that are awaited."""

    async def call() -> None:
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(3)))

    return call


INNOCENT = [
    lambda: Node,
    lru_cache_of_10000,
    lru_cache_of_60000,
    own_cache_of_10000,
    lazy_imports,
    pytest.param(dropped_strings, marks=skip_3_12),
    ten_megabytes,
    thread,
    random_sizes,
    tasks,
]


@pytest.mark.parametrize(("make", "rate"), LEAKS)
def test_a_leak_is_found_with_its_rate(
    make: Callable[[], Callable[[], object]], rate: tuple[int, int]
) -> None:
    """Python's objects, C's memory, mapped pages, one slot of a list: all leak, and by how much is right."""
    verdict = check_leak(make())

    assert verdict.verdict == "leak", verdict
    assert verdict.bytes_per_call is not None
    assert rate[0] <= verdict.bytes_per_call <= rate[1]
    with pytest.raises(LeakError, match="a call"):
        verdict.raise_if_leak()


@pytest.mark.parametrize("make", INNOCENT, ids=lambda make: getattr(make, "__name__", None))
def test_what_is_bounded_is_not_accused(make: Callable[[], Callable[[], object]]) -> None:
    """Caches that fill, garbage, imports, buffers, threads: the false alarms by which leak tests get deleted."""
    verdict = check_leak(make())

    assert verdict.verdict != "leak", verdict


def test_the_line_that_allocates_is_named() -> None:
    """Whoever reads the failure knows where to look."""
    held: list[bytes] = []

    def keep() -> None:
        held.append(bytes(700))

    verdict = check_leak(keep)

    line = keep.__code__.co_firstlineno + 1
    assert verdict.sites[0].endswith(f"test_testing_check.py:{line}")
    assert verdict.sites[0] in verdict.reason
    assert not tracemalloc.is_tracing()


@needs_glibc
def test_native_memory_has_no_line() -> None:
    """A leak of C's is not pinned on whatever Python allocated meanwhile."""
    verdict = check_leak(native(), max_seconds=PATIENCE_S)

    assert verdict.sites == ()
    assert "native memory" in verdict.reason


def test_an_unbounded_cache_is_named() -> None:
    """``lru_cache(maxsize=None)`` that grows with the leak is the leak, and says its name."""
    numbers = count()

    @functools.cache
    def remember(number: int) -> str:
        return str(number)

    verdict = check_leak(lambda: remember(next(numbers)))

    assert verdict.verdict == "leak"
    assert "remember (lru_cache without maxsize" in verdict.reason


def test_collecting_garbage_is_left_as_it_was() -> None:
    """A program that has switched the collector off finds it off afterwards, and its garbage is no leak."""
    gc.disable()
    try:
        assert check_leak(Node, max_seconds=PATIENCE_S)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_tracing_of_somebody_else_goes_on() -> None:
    """A check under tracemalloc neither stops it nor takes its tables for a leak."""
    tracemalloc.start()
    try:
        assert check_leak(Node, max_seconds=PATIENCE_S)
        assert check_leak(python_cache(), max_seconds=PATIENCE_S).verdict == "leak"
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


@needs_glibc
def test_the_tables_of_tracemalloc_are_not_counted() -> None:
    """They grow with everything that is allocated, and are nobody's leak."""
    tracemalloc.start()
    try:
        held = [object() for _ in range(100_000)]
        _, counted, _ = ProcessMeter().read()
        raw = read_malloc()
        assert raw is not None
        assert raw.in_use_bytes - counted > 48 * len(held)
    finally:
        tracemalloc.stop()


def test_what_the_callable_raises_comes_through() -> None:
    """A callable that fails, at the first call or under trace, is a failing test; nothing is left running."""
    held: list[bytes] = []

    def fails_late() -> None:
        held.append(bytes(1000))
        if tracemalloc.is_tracing():
            raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        check_leak(fails_late)
    with pytest.raises(ZeroDivisionError):
        check_leak(lambda: 1 // 0)

    assert not tracemalloc.is_tracing()


def test_options_are_checked_before_anything_is_called() -> None:
    """A wrong option costs no call."""
    with pytest.raises(ValueError, match="max_seconds=0"):
        check_leak(lambda: pytest.fail("called"), max_seconds=0)


def test_tasks_left_behind_are_ended_with_the_loop() -> None:
    """Tasks nobody awaits leak while they live, and do not outlive the check."""
    loops: set[asyncio.AbstractEventLoop] = set()
    tasks: list[asyncio.Task[bool]] = []

    async def forgets() -> None:
        loops.add(asyncio.get_running_loop())
        tasks.append(asyncio.ensure_future(asyncio.Event().wait()))

    verdict = check_leak(forgets, largest_cache=200, max_seconds=20)

    assert verdict.verdict == "leak", verdict
    assert len(loops) == 1
    assert loops.pop().is_closed()
    assert all(task.cancelled() for task in tasks)


def test_on_a_running_loop_it_is_awaited() -> None:
    """Clients and connections belong to the loop of the test: the check runs on it, and finds the same."""

    async def test() -> None:
        loop = asyncio.get_running_loop()

        async def same_loop() -> None:
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is loop

        assert await check_leak_async(same_loop)
        assert (await check_leak_async(coroutine())).verdict == "leak"
        assert (await check_leak_async(python_cache())).verdict == "leak"
        with pytest.raises(RuntimeError, match="await check_leak_async"):
            check_leak(same_loop)

    asyncio.run(test())


def test_the_clock_moves_only_when_told_to() -> None:
    """The public manual clock: both of its sides move together, and never back."""
    clock = ManualClock(unix_s=100)
    clock.advance(2.5)

    assert (clock.monotonic_s(), clock.unix_s()) == (2.5, 102.5)
    with pytest.raises(ValueError, match="seconds=-1"):
        clock.advance(-1)


def test_importing_the_package_costs_next_to_nothing() -> None:
    """pytest imports it at every start: nothing of ours but the package itself, and nobody else's, may come along."""
    code = "import sys, otel_memleak.testing; print(*sorted(m for m in sys.modules if m.startswith('otel_memleak')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["otel_memleak", "otel_memleak.testing", "otel_memleak.version"]


def test_every_public_name_is_there() -> None:
    """Lazy names resolve, are listed, and a wrong one fails like any other."""
    import otel_memleak.testing as testing

    names: list[Any] = [getattr(testing, name) for name in testing.__all__]
    assert all(names)
    assert set(testing.__all__) <= set(dir(testing))
    assert not hasattr(testing, "check_leek")
