"""Resident memory: of this process, whatever happened to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import otel_memleak
from otel_memleak.probes import ProbeError, RssProbe
from otel_memleak.probes._rss import _FALLBACK, parse_statm, psutil_rss_bytes

PROC = Path(__file__).parents[1] / "data" / "proc"
MB = 1024 * 1024
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

PREAMBLE = """
import ctypes, os, resource, sys
from otel_memleak.probes import ProbeError, RssProbe

def oracle_bytes():
    # By pid, not by /proc/self, and from another file: what an observer outside would see.
    with open(f"/proc/{os.getpid()}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))

probe = RssProbe()
probe.read()
"""


def run(code: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(otel_memleak.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_resident_pages_times_page_size() -> None:
    """The second field of statm counts pages, and pages are not 4 KB everywhere."""
    probe = RssProbe(str(PROC / "small_process"), page_size_bytes=16384)

    assert probe.read() == 3210 * 16384


def test_the_part_that_files_and_shared_memory_are_comes_along() -> None:
    """The third field of the same line costs nothing; a line without one is no error."""
    statm = (PROC / "small_process" / "self" / "statm").read_text(encoding="ascii").split()

    resident = RssProbe(str(PROC / "small_process"), page_size_bytes=16384).read_resident()

    assert resident.shared_bytes == int(statm[2]) * 16384
    assert parse_statm(b"100 20") == (20, None)
    assert parse_statm(b"100 20 -3 1") == (20, None)


@linux_only
def test_the_default_page_size_is_the_systems() -> None:
    """Without an argument the kernel's own page size counts, so the number agrees with VmRSS."""
    (page_size,) = run("print(probe.page_size_bytes)")

    assert os.sysconf("SC_PAGE_SIZE") == int(page_size)


@linux_only
def test_it_agrees_with_the_kernels_other_account() -> None:
    """VmRSS of /proc/<pid>/status is the same quantity; both lag by less than a few megabytes."""
    measured, oracle = run("held = b'x' * (100 << 20); print(probe.read(), oracle_bytes())")

    assert abs(int(measured) - int(oracle)) < 8 * MB
    assert int(measured) > 100 * MB


@linux_only
@pytest.mark.parametrize(
    "fork",
    ["os.fork()", "ctypes.CDLL(None).fork()", "ctypes.PyDLL(None).fork()"],
    ids=["os", "c", "c_with_gil"],
)
def test_a_forked_child_measures_itself(fork: str) -> None:
    """A child that grows by 100 MB says so, also when it was forked in C and no Python hook has run."""
    values = run(f"""
pid = {fork}
if pid == 0:
    held = b"x" * (100 << 20)
    os.write(1, f"{{probe.read()}} {{oracle_bytes()}} ".encode())
    os._exit(0)
os.waitpid(pid, 0)
print(probe.read())
""")
    child, oracle, parent = map(int, values)

    assert abs(child - oracle) < 8 * MB
    assert child - parent > 90 * MB


@linux_only
def test_closed_and_reused_descriptors_do_no_harm() -> None:
    """A daemonising application closes every descriptor, and its next file gets a number we may have had."""
    measured, oracle, first, still_open = run("""
os.closerange(3, 256)
read_end, write_end = os.pipe()
os.write(write_end, b"1 999999999 1")
measured = probe.read()
print(measured, oracle_bytes(), read_end, os.read(read_end, 99) == b"1 999999999 1")
""")

    assert abs(int(measured) - int(oracle)) < 8 * MB
    assert first == "3"
    assert still_open == "True"


@linux_only
def test_no_descriptor_is_kept() -> None:
    """Measuring a thousand times leaves as many open files as before."""
    before, after = run("""
before = len(os.listdir("/proc/self/fd"))
for _ in range(1000):
    probe.read()
print(before, len(os.listdir("/proc/self/fd")))
""")

    assert before == after


@linux_only
def test_no_descriptor_left_is_a_declared_failure() -> None:
    """A process out of descriptors gets ProbeError with the system's words, not OSError."""
    (reason,) = run("""
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
try:
    probe.read()
except ProbeError as error:
    sys.stdout.write(str(error).replace(" ", "_"))
""")

    assert reason == "/proc/self/statm:_Too_many_open_files"


@pytest.mark.parametrize("tree", ["empty", "garbage", "not_there"])
def test_an_unreadable_statm_is_a_declared_failure(tree: str) -> None:
    """Missing, empty and senseless files raise ProbeError naming the file."""
    probe = RssProbe(str(PROC / tree), fallback=None)

    with pytest.raises(ProbeError, match="statm"):
        probe.read()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_statm_does_not_hang(tmp_path: Path) -> None:
    """Opening a pipe nobody writes to would wait for ever, and the host process with it."""
    (tmp_path / "self").mkdir()
    os.mkfifo(tmp_path / "self" / "statm")

    with pytest.raises(ProbeError, match="statm"):
        RssProbe(str(tmp_path), fallback=None).read()


def test_the_fallback_answers_where_procfs_does_not() -> None:
    """Outside Linux there is no statm, and the number comes from the fallback."""
    probe = RssProbe(str(PROC / "not_there"), fallback=lambda: 123 * MB)

    assert probe.read() == 123 * MB


@linux_only
def test_linux_has_no_fallback() -> None:
    """There psutil would read the same /proc by a pid that may mean another process."""
    assert _FALLBACK is None


def test_psutil_measures_this_process() -> None:
    """The number psutil gives for the fallback is about the one procfs gives."""
    pytest.importorskip("psutil")

    assert abs(psutil_rss_bytes() - RssProbe().read()) < 8 * MB


@pytest.mark.parametrize("broken", [None, object()], ids=["absent", "of_another_shape"])
def test_a_useless_psutil_is_a_declared_failure(monkeypatch: pytest.MonkeyPatch, broken: object) -> None:
    """Not installed, or not what it was: ProbeError, never ImportError or AttributeError."""
    monkeypatch.setitem(sys.modules, "psutil", broken)  # None makes the import fail

    with pytest.raises(ProbeError, match="psutil"):
        psutil_rss_bytes()
