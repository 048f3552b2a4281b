"""What the interpreter tells of its own memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

import otel_memleak
from otel_memleak.probes import BlockCounter, read_allocated_blocks, read_tracemalloc_bytes

cpython_only = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="other interpreters count no blocks"
)


def run(code: str, **environment: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(otel_memleak.__file__).parents[1]), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


@pytest.fixture
def _tracing() -> Iterator[None]:
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    yield
    if not was_tracing:
        tracemalloc.stop()


@pytest.mark.usefixtures("_tracing")
def test_traced_memory_is_current_then_peak() -> None:
    """A megabyte held is in both numbers, released it stays in the peak alone."""
    before = read_tracemalloc_bytes()
    held = bytearray(1 << 20)
    during = read_tracemalloc_bytes()
    del held
    after = read_tracemalloc_bytes()

    assert before is not None
    assert during is not None
    assert after is not None
    assert during[0] - before[0] >= 1 << 20
    assert after[0] < during[0]
    assert after[1] >= during[0]


def test_nothing_is_traced_and_nothing_started() -> None:
    """Reading says None while nobody traces, and does not begin to."""
    out = run(
        "import tracemalloc; from otel_memleak.probes import read_tracemalloc_bytes;"
        "print(read_tracemalloc_bytes(), tracemalloc.is_tracing())",
        PYTHONTRACEMALLOC="0",
    )

    assert out == "None False"


def test_tracing_begun_by_the_environment_is_seen() -> None:
    """PYTHONTRACEMALLOC traces without the application ever importing tracemalloc."""
    out = run(
        "from otel_memleak.probes import read_tracemalloc_bytes; print(read_tracemalloc_bytes()[0] > 0)",
        PYTHONTRACEMALLOC="1",
    )

    assert out == "True"


def test_an_absent_tracemalloc_is_not_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolated sub-interpreters refuse the import; that is None, not ImportError."""
    monkeypatch.setitem(sys.modules, "_tracemalloc", None)

    assert read_tracemalloc_bytes() is None


@cpython_only
def test_blocks_follow_what_is_held() -> None:
    """Ten thousand more small objects are at least ten thousand more blocks, until they go."""
    grown = "held = [object() for _ in range(10_000)]; b = read(); del held; c = read();"
    out = run(
        "from otel_memleak.probes import read_allocated_blocks as read; import gc; gc.disable(); read();"
        f"a = read(); {grown} print(b - a >= 10_000, b - c >= 10_000)",
        PYTHONMALLOC="pymalloc",
    )

    assert out == "True True"


@cpython_only
def test_no_count_without_pymalloc() -> None:
    """With PYTHONMALLOC=malloc CPython answers 0 for "not counted", which must not become a gauge of 0."""
    if sys.version_info >= (3, 13) and not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("the free-threaded build has an allocator of its own")

    out = run(
        "from otel_memleak.probes import read_allocated_blocks as read; print(read())", PYTHONMALLOC="malloc"
    )

    assert out == "None"


@pytest.mark.parametrize("stub", [None, lambda: 1 / 0, lambda: "many"], ids=["absent", "raises", "no_number"])
def test_an_interpreter_without_the_count(monkeypatch: pytest.MonkeyPatch, stub: object) -> None:
    """Where the function is missing or a stub the count is unknown."""
    monkeypatch.setattr(sys, "getallocatedblocks", stub)

    assert read_allocated_blocks() is None


class Counts:
    """A count that takes as long as it is told, by two clocks that need not agree."""

    def __init__(self) -> None:
        self.taken = 0
        self.time_s = self.cpu_s = 0.0
        self.counter = BlockCounter(self._count, lambda: self.time_s, lambda: self.cpu_s)
        self.took_s, self.used_s = 0.0, 0.0

    def _count(self) -> int:
        self.taken += 1
        self.time_s += self.took_s
        self.cpu_s += self.used_s
        return self.taken


def test_a_long_count_is_rare() -> None:
    """It holds the lock of the interpreter: with a heap of gigabytes all threads would wait once a minute."""
    counts = Counts()
    counts.took_s = counts.used_s = 0.020

    told = [counts.counter.read() for _ in range(121)]

    assert counts.taken == 3
    assert [number for number, blocks in enumerate(told) if blocks is not None] == [0, 1, 61]


def test_a_busy_machine_does_not_make_a_count_long() -> None:
    """Time during which others had the processor is not ours."""
    counts = Counts()
    counts.took_s, counts.used_s = 0.020, 0.0001

    assert None not in [counts.counter.read() for _ in range(100)]
