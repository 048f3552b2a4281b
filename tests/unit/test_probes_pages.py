"""What kinds of pages a process has."""

from __future__ import annotations

import mmap
import sys
import threading
from pathlib import Path

import pytest

from otel_memleak.probes import PageReading, ProbeError, read_pages

PROC = Path(__file__).parents[1] / "data" / "proc"
MB = 1024 * 1024
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_kilobytes_become_bytes_and_threads_stay() -> None:
    """The kernel writes kB and means 1024 bytes."""
    expected = PageReading(
        anonymous_bytes=6680 * 1024,
        file_bytes=6160 * 1024,
        shared_bytes=0,
        swapped_bytes=512 * 1024,
        threads=4,
    )

    assert read_pages(str(PROC / "small_process")) == expected


def test_a_field_the_kernel_has_not_is_none() -> None:
    """Before Linux 4.5 resident memory was not told apart; the rest is still there."""
    assert read_pages(str(PROC / "old_kernel")) == PageReading(swapped_bytes=0, threads=1)


@pytest.mark.parametrize("tree", ["empty", "garbage"])
def test_senseless_fields_are_none(tree: str) -> None:
    """Other units, signs, no number, no UTF-8: unknown, not a guess."""
    assert read_pages(str(PROC / tree)) == PageReading()


def test_an_absent_status_is_a_declared_failure() -> None:
    """Without procfs there is ProbeError, naming the file."""
    with pytest.raises(ProbeError, match="status"):
        read_pages(str(PROC / "not_there"))


@linux_only
def test_each_kind_is_told_apart() -> None:
    """32 MB of private memory and 32 MB of shared memory show each in its own field."""
    before = read_pages()
    private = mmap.mmap(-1, 32 * MB, flags=mmap.MAP_PRIVATE)
    private.write(b"x" * 32 * MB)
    with_private = read_pages()
    shared = mmap.mmap(-1, 32 * MB, flags=mmap.MAP_SHARED)
    shared.write(b"x" * 32 * MB)
    with_shared = read_pages()

    assert _grown(before.anonymous_bytes, with_private.anonymous_bytes) > 24 * MB
    assert abs(_grown(before.shared_bytes, with_private.shared_bytes)) < 8 * MB
    assert _grown(with_private.shared_bytes, with_shared.shared_bytes) > 24 * MB
    shared.close()
    private.close()


@linux_only
def test_threads_are_counted() -> None:
    """One more thread is one more."""
    release = threading.Event()
    before = read_pages().threads
    thread = threading.Thread(target=release.wait, daemon=True)
    thread.start()
    during = read_pages().threads
    release.set()
    thread.join()

    assert before is not None
    assert during == before + 1


def _grown(before: int | None, after: int | None) -> int:
    assert before is not None
    assert after is not None
    return after - before
