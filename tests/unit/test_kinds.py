"""When the kinds of memory are read, and what a sample carries of them."""

from __future__ import annotations

import pytest

from otel_memleak.guard import Guard
from otel_memleak.kinds import CALM_STRIDE, KindsReader
from otel_memleak.probes import MallocReading, PageReading, ProbeError, Resident
from otel_memleak.sampler import Sampler, witnesses
from otel_memleak.testing import ManualClock
from otel_memleak.types import MB


class Host:
    """A process whose kinds of memory are as told, and a count of who asked."""

    def __init__(self, malloc_takes_s: float = 0.0) -> None:
        self.pages = PageReading(60 * MB, 30 * MB, 10 * MB, 5 * MB, 7)
        self.asked = {"pages": 0, "malloc": 0}
        self._takes_s = malloc_takes_s
        self._cpu_s = 0.0
        self.reader = KindsReader(self._read_pages, self._read_malloc, lambda: self._cpu_s)

    def _read_pages(self) -> PageReading:
        self.asked["pages"] += 1
        return self.pages

    def _read_malloc(self) -> MallocReading:
        self.asked["malloc"] += 1
        self._cpu_s += self._takes_s
        return MallocReading(40 * MB, 3 * MB)


STILL = Resident(100 * MB, 40 * MB)


def test_in_the_calm_the_dear_ones_are_read_now_and_then() -> None:
    """A sample a minute costs what one reading of resident memory costs; the rest is for when it matters."""
    host = Host()
    for second in range(5 * CALM_STRIDE):
        host.reader.take(float(second), STILL, calm=True)
    assert host.asked == {"pages": 5, "malloc": 5}

    for second in range(100, 110):
        host.reader.take(float(second), STILL, calm=False)
    assert host.asked == {"pages": 15, "malloc": 15}


@pytest.mark.parametrize("moved", [Resident(110 * MB, 40 * MB), Resident(100 * MB, 60 * MB)])
def test_memory_that_moves_is_looked_at(moved: Resident) -> None:
    """What was kept or swapped before memory fell says nothing of what is now."""
    host = Host()
    host.reader.take(0.0, STILL, calm=True)
    host.reader.take(1.0, STILL, calm=True)
    host.reader.take(2.0, moved, calm=True)

    assert host.asked["pages"] == 2


def test_file_pages_are_known_at_every_sample_without_shared_memory() -> None:
    """A leak in shared memory must not pass for page cache."""
    host = Host()
    assert host.reader.take(0.0, STILL, calm=True).file_bytes == 30 * MB

    assert host.reader.take(1.0, Resident(101 * MB, 41 * MB), calm=True).file_bytes == 31 * MB
    host.pages = (
        host.pages._replace(shared_bytes=60 * MB)
        if isinstance(host.pages, tuple)
        else PageReading(60 * MB, 30 * MB, 60 * MB, 5 * MB, 7)
    )
    assert host.reader.take(2.0, Resident(150 * MB, 90 * MB), calm=True).file_bytes == 30 * MB


def test_a_kernel_that_does_not_tell_shared_memory_gives_no_file_pages() -> None:
    """Better unknown than an excuse for a leak."""
    host = Host()
    host.pages = PageReading(threads=3)
    host.reader.take(0.0, STILL, calm=True)

    assert host.reader.take(1.0, STILL, calm=True).file_bytes is None


def test_a_malloc_that_takes_long_is_asked_seldom() -> None:
    """A heap in a million pieces is walked under malloc's lock: at most one two-thousandth of the time."""
    host = Host(malloc_takes_s=0.005)
    for second in range(100):
        host.reader.take(float(second), STILL, calm=False)

    assert host.asked == {"pages": 100, "malloc": 10}


def test_without_proc_there_is_malloc() -> None:
    """Each witness fails alone."""

    def absent() -> PageReading:
        raise ProbeError("no /proc")

    kinds = KindsReader(absent, lambda: MallocReading(2, 1)).take(0.0, Resident(1), calm=False)

    assert kinds.file_bytes is None
    assert kinds.malloc == MallocReading(2, 1)


def test_a_sample_carries_what_was_read_and_the_detector_hears_it() -> None:
    """Under the names that `LeakDetector.update` has for them."""
    host = Host()
    sampler = Sampler(ManualClock(), Guard(), lambda: STILL, requests=lambda: 12, kinds=host.reader)

    sample = sampler.take()
    said = witnesses(sample)

    assert (sample.rss_bytes, sample.anonymous_bytes, sample.shared_bytes) == (100 * MB, 60 * MB, 10 * MB)
    assert said["requests"] == 12
    assert said["file_bytes"] == 30 * MB
    assert said["swapped_bytes"] == 5 * MB
    assert (said["malloc_in_use_bytes"], said["malloc_kept_bytes"]) == (40 * MB, 3 * MB)
    assert said["threads"] == 7


def test_every_witness_is_a_keyword_of_the_detector() -> None:
    """A name that drifts would be a TypeError in the sampling thread."""
    import inspect

    from otel_memleak.detector import LeakDetector
    from otel_memleak.types import Sample

    keywords = set(inspect.signature(LeakDetector.update).parameters) - {"self", "time_s", "rss_bytes"}

    assert set(witnesses(Sample(0.0, None))) == keywords


def test_kinds_that_cannot_be_read_cost_only_themselves() -> None:
    """A failure is counted and the sample is taken all the same."""

    def broken() -> PageReading:
        raise ZeroDivisionError

    guard = _Counting()
    sample = Sampler(ManualClock(), guard, lambda: STILL, kinds=KindsReader(broken)).take()

    assert sample.rss_bytes == 100 * MB
    assert guard.swallowed == ["reading the kinds of memory"]


class _Counting(Guard):
    def __init__(self) -> None:
        super().__init__()
        self.swallowed: list[str] = []

    def swallow(self, what: str, error: BaseException) -> None:
        self.swallowed.append(what)
