"""Programs that grow for a known reason, read by the real witnesses, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import otel_memleak
from otel_memleak.probes import read_malloc

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the witnesses are Linux's"),
    pytest.mark.skipif(read_malloc() is None, reason="no glibc malloc to ask"),
]

_HARNESS = """
import ctypes, dataclasses, json, mmap, os, random, sys, tempfile, threading
from otel_memleak.diagnosis._witnesses import read_witness
from otel_memleak.diagnosis.origin import classify_origin

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
STEP_BYTES = 2_000_000
kept = []
options = {}
PROGRAM
witnesses = [read_witness(0.0, None)]
for step in range(12):
    grow(step)
    witnesses.append(read_witness(float(step + 1), None))
verdict = classify_origin(witnesses, **options)
print(json.dumps(dataclasses.asdict(verdict)))
"""

PROGRAMS = {
    "small objects": (
        "python",
        """
        cache = {}
        def grow(step):
            for number in range(STEP_BYTES // 200):
                cache[step, number] = (number, str(number))
        """,
    ),
    "values of 1 KB": (
        "python",
        """
        cache = {}
        def grow(step):
            for number in range(STEP_BYTES // 1024):
                cache[step, number] = bytes([number % 256]) * 1000
        """,
    ),
    "values of 4 KB": (
        "python",
        """
        def grow(step):
            kept.extend(bytes([n % 256]) * 4000 for n in range(STEP_BYTES // 4000))
        """,
    ),
    "values of 100 KB, with a census": (
        "python",
        """
        options["held_growth_bytes"] = 8 * STEP_BYTES
        def grow(step):
            kept.extend(bytearray(b"x") * 100_000 for _ in range(STEP_BYTES // 100_000))
        """,
    ),
    "values of 100 KB, traced": (
        "python",
        """
        import tracemalloc
        tracemalloc.start()
        def grow(step):
            kept.extend(bytearray(b"x") * 100_000 for _ in range(STEP_BYTES // 100_000))
        """,
    ),
    "tables of lists": (
        "python",
        """
        def grow(step):
            kept.extend([None] * 100 for _ in range(STEP_BYTES // 850))
        """,
    ),
    "objects in work beside a native leak": (
        "native",
        """
        def grow(step):
            kept[:] = [(number, str(number)) for number in range(20_000 if step % 3 == 1 else 10)]
            libc.memset(libc.malloc(STEP_BYTES), 1, STEP_BYTES)
        grow(1)
        """,
    ),
    "a native leak, traced": (
        "native",
        """
        import tracemalloc
        tracemalloc.start()
        def grow(step):
            for _ in range(STEP_BYTES // 1000):
                libc.memset(libc.malloc(1000), 1, 1000)
        """,
    ),
    "a native leak of small chunks": (
        "native",
        """
        def grow(step):
            for _ in range(STEP_BYTES // 200):
                libc.memset(libc.malloc(184), 1, 184)
        """,
    ),
    "private mappings": (
        "native",
        """
        def grow(step):
            region = mmap.mmap(-1, STEP_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            region.write(b"x" * STEP_BYTES)
            kept.append(region)
        """,
    ),
    "shared memory": (
        "native",
        """
        def grow(step):
            region = mmap.mmap(-1, STEP_BYTES)
            region.write(b"x" * STEP_BYTES)
            kept.append(region)
        """,
    ),
    "ever larger bursts of large objects": (
        "fragmentation",
        """
        def grow(step):
            burst = [bytes([n % 256]) * 2000 for n in range(STEP_BYTES * (step + 1) // 2000)]
            kept.extend(burst[99::100])
        """,
    ),
    "arenas of threads": (
        "fragmentation",
        """
        done, go = threading.Semaphore(0), threading.Semaphore(0)
        def work():
            while True:
                go.acquire()
                chunks = [libc.malloc(3000) for _ in range(STEP_BYTES // 3000)]
                for chunk in chunks:
                    libc.memset(chunk, 1, 3000)
                for chunk in chunks[:-1]:
                    libc.free(ctypes.c_void_p(chunk))
                done.release()
        def grow(step):
            threading.Thread(target=work, daemon=True).start()
            go.release()
            done.acquire()
        """,
    ),
    "ever larger bursts of small objects": (
        "fragmentation",
        """
        def grow(step):
            burst = [(n, str(n)) for n in range(16_000 * (step + 1))]
            witnesses.append(read_witness(step + 0.5, None))
            kept.extend(burst[::2000])
        """,
    ),
    "a mapped file": (
        "unknown",
        """
        path = tempfile.NamedTemporaryFile()
        path.write(b"x" * STEP_BYTES * 12)
        path.flush()
        file = mmap.mmap(path.fileno(), 0, access=mmap.ACCESS_READ)
        def grow(step):
            sum(file[offset] for offset in range(step * STEP_BYTES, (step + 1) * STEP_BYTES, 4096))
        """,
    ),
}


def _run(program: str) -> dict[str, Any]:
    source = _HARNESS.replace("PROGRAM", textwrap.dedent(program))
    environment = {**os.environ, "PYTHONPATH": str(Path(otel_memleak.__file__).parents[1])}
    environment.pop("MALLOC_ARENA_MAX", None)
    done = subprocess.run(
        [sys.executable, "-c", source], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_grows_for_one_reason_is_told_that_reason(name: str) -> None:
    """The class of growth decides what a person does next; each class on a real process."""
    expected, program = PROGRAMS[name]

    verdict = _run(program)

    assert verdict["origin"] == expected, verdict
    assert expected == "unknown" or verdict["share"] >= 0.7, verdict


def test_page_cache_is_called_by_its_name() -> None:
    """A mapped file that is read through makes the RSS grow, and is no reason to look for a leak."""
    verdict = _run(PROGRAMS["a mapped file"][1])

    assert "page cache, not a leak" in verdict["advice"], verdict


def test_arenas_of_threads_name_the_knob() -> None:
    """With threads about, the first thing to try is a cap on malloc's arenas."""
    verdict = _run(PROGRAMS["arenas of threads"][1])

    assert "MALLOC_ARENA_MAX=2" in verdict["advice"], verdict
