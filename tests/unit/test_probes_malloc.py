"""What glibc's malloc holds, against allocations of known size in a process of their own."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import otel_memleak
from otel_memleak.probes import MallocReading, read_malloc

MB = 1024 * 1024

_library, _version = platform.libc_ver()
needs_mallinfo2 = pytest.mark.skipif(
    _library != "glibc" or tuple(map(int, _version.split(".")[:2])) < (2, 33), reason="mallinfo2 is glibc's"
)

PREAMBLE = """
import ctypes, threading
from otel_memleak.probes import RssProbe, read_malloc
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
read_malloc()
def show(before):
    after = read_malloc()
    print(after.in_use_bytes - before.in_use_bytes, after.kept_free_bytes - before.kept_free_bytes)
"""


def run(code: str, **environment: str) -> list[int]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(otel_memleak.__file__).parents[1]),
        "PYTHONMALLOC": "pymalloc",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


@needs_mallinfo2
@pytest.mark.parametrize("size", [2000, 64 * MB], ids=["from_the_heap", "mapped"])
def test_allocated_bytes_are_in_use_until_freed(size: int) -> None:
    """64 MB in small or in one large block are in use, and no longer when they are freed."""
    held, _, freed, _ = run(f"""
blocks = [None] * ({64 * MB} // {size})
before = read_malloc()
for index in range(len(blocks)):
    blocks[index] = libc.malloc({size})
show(before)
for block in blocks:
    libc.free(block)
show(before)
""")

    assert 64 * MB <= held + 2000 < 68 * MB
    assert abs(freed) < MB


@needs_mallinfo2
def test_threads_arenas_are_included() -> None:
    """Memory allocated in another thread comes from another arena and counts all the same."""
    held, _ = run(f"""
before = read_malloc()
def allocate():
    global blocks
    blocks = [libc.malloc(2000) for _ in range({32 * MB} // 2000)]
thread = threading.Thread(target=allocate)
thread.start()
thread.join()
show(before)
""")

    assert held > 32 * MB


@needs_mallinfo2
def test_fragmentation_is_kept_free() -> None:
    """Of 64 MB with every hundredth block still held, nearly all is kept, and little is in use."""
    in_use, kept = run(f"""
before = read_malloc()
blocks = [libc.malloc(2000) for _ in range({64 * MB} // 2000)]
for index, block in enumerate(blocks):
    if index % 100:
        libc.free(block)
show(before)
""")

    assert kept > 56 * MB
    assert in_use < 4 * MB


@needs_mallinfo2
@pytest.mark.skipif(sys.implementation.name != "cpython", reason="obmalloc is CPython's")
def test_small_python_objects_are_not_included() -> None:
    """CPython maps the arenas of its small objects itself: resident memory grows, malloc's does not.

    What this cannot show is the free-threaded build, whose objects live in mimalloc.
    """
    in_use, kept, resident = run("""
held = [None] * 1_000_000
before, resident = read_malloc(), RssProbe().read()
for index in range(len(held)):
    held[index] = object()
show(before)
print(RssProbe().read() - resident)
""")

    assert resident > 12 * MB
    assert abs(in_use) < MB
    assert abs(kept) < MB


OTHER_MALLOC = """
#include <errno.h>
#include <stddef.h>
#include <string.h>

static char heap[1 << 28];
static size_t used;

static void *take(size_t size, size_t align) {
    size_t room = size + align + sizeof(size_t);
    size_t at = __atomic_fetch_add(&used, room, __ATOMIC_RELAXED);
    if (at + room > sizeof heap) { errno = ENOMEM; return NULL; }
    char *block = (char *)(((size_t)heap + at + sizeof(size_t) + align - 1) / align * align);
    ((size_t *)block)[-1] = size;
    return block;
}
void *malloc(size_t size) { return take(size, 16); }
void free(void *block) { (void)block; }
void *calloc(size_t count, size_t size) { return take(count * size, 16); }
void *realloc(void *block, size_t size) {
    void *other = take(size, 16);
    if (block && other) {
        size_t had = ((size_t *)block)[-1];
        memcpy(other, block, had < size ? had : size);
    }
    return other;
}
void *aligned_alloc(size_t align, size_t size) { return take(size, align < 16 ? 16 : align); }
void *memalign(size_t align, size_t size) { return aligned_alloc(align, size); }
int posix_memalign(void **block, size_t align, size_t size) {
    return (*block = aligned_alloc(align, size)) ? 0 : ENOMEM;
}
size_t malloc_usable_size(void *block) { return block ? ((size_t *)block)[-1] : 0; }
"""
"""A heap of its own, which only grows: for a program of a second."""


@needs_mallinfo2
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_another_malloc_preloaded_is_unknown(tmp_path: Path) -> None:
    """With jemalloc or its like in front, glibc's numbers are about a heap nobody uses."""
    source, library = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text(OTHER_MALLOC)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)

    assert run("print(read_malloc() is None and 1 or 0)") == [0]
    assert run("print(read_malloc() is None and 1 or 0)", LD_PRELOAD=str(library)) == [1]


def test_without_ctypes_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sub-interpreters and hardened builds refuse ctypes: None, and no exception."""
    from otel_memleak.probes import _malloc

    _malloc._reader.cache_clear()
    monkeypatch.setitem(sys.modules, "ctypes", None)
    absent = read_malloc()
    monkeypatch.undo()

    assert absent is None
    assert read_malloc() is None or isinstance(read_malloc(), MallocReading)


@needs_mallinfo2
@pytest.mark.parametrize("idle", [False, True])
def test_a_program_with_an_entry_of_its_own_for_malloc_is_tried_out(
    monkeypatch: pytest.MonkeyPatch, idle: bool
) -> None:
    """Debian's Python is linked to a fixed address: only what an allocation moves tells whose malloc it calls."""
    from otel_memleak.probes import _malloc

    places = {"malloc": (1, b"/usr/bin/python3"), "mallinfo2": (2, b"/lib/libc.so.6")}
    monkeypatch.setattr(_malloc, "_library", lambda process, name: places[name])
    if idle:  # as glibc's is behind another malloc
        monkeypatch.setattr(_malloc, "MallocReading", lambda in_use, kept: MallocReading(1000, 0))
    _malloc._reader.cache_clear()
    reading = read_malloc()
    monkeypatch.undo()
    _malloc._reader.cache_clear()

    assert (reading is None) == idle
