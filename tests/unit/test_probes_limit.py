"""Which of several limits is the one that counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import otel_memleak
from otel_memleak.probes import read_limit
from otel_memleak.probes._limit import choose_limit, read_host_bytes
from otel_memleak.types import MemoryLimit

DATA = Path(__file__).parents[1] / "data"
MB = 1024 * 1024
HOST_BYTES = 16303428 * 1024  # MemTotal of the trees

maybe_bytes = st.none() | st.integers(min_value=1, max_value=1 << 50)


def limit_of(name: str, configured_bytes: int | None = None) -> MemoryLimit | None:
    tree = DATA / "cgroup" / name
    return read_limit(configured_bytes, proc_root=str(tree / "proc"), root=tree)


@pytest.fixture(autouse=True)
def _no_rlimit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_memleak.probes._limit.read_rlimit_bytes", lambda: None)


def test_a_configured_limit_wins() -> None:
    """What the user says counts, above and below what the kernel says."""
    assert MemoryLimit(64 * MB, "configured") == limit_of("docker_v2_512mb", 64 * MB)
    assert MemoryLimit(4096 * MB, "configured") == limit_of("docker_v2_512mb", 4096 * MB)


def test_a_container_has_its_cgroups_limit() -> None:
    """The ordinary case: 512 MB in a container on a host with 16 GB."""
    assert MemoryLimit(512 * MB, "cgroup") == limit_of("docker_v2_512mb")


@pytest.mark.parametrize("name", ["above_host_v2", "max_v2", "no_cgroups_proc_missing", "garbage_proc"])
def test_a_limit_the_host_cannot_fill_is_none(name: str) -> None:
    """64 GB of cgroup on a 16 GB host, or no cgroup limit at all: the host's memory is what runs out."""
    assert MemoryLimit(HOST_BYTES, "host") == limit_of(name)


@given(cgroup=maybe_bytes, rlimit=maybe_bytes, host=maybe_bytes)
def test_the_limit_is_the_smallest_of_those_known(
    cgroup: int | None, rlimit: int | None, host: int | None
) -> None:
    """Never above any side, None only when nothing is known, and the named source said that number."""
    limit = choose_limit(cgroup, rlimit, host)
    known = {"cgroup": cgroup, "rlimit": rlimit, "host": host}

    if limit is None:
        assert set(known.values()) == {None}
    else:
        assert limit.limit_bytes == min(value for value in known.values() if value is not None)
        assert known[limit.source] == limit.limit_bytes


def test_ties_name_what_kills() -> None:
    """Equal limits: the cgroup before the rlimit; a limit as large as the host is the host's."""
    assert MemoryLimit(5, "cgroup") == choose_limit(5, 5, 9)
    assert MemoryLimit(9, "host") == choose_limit(9, 9, 9)


@pytest.mark.parametrize("name", ["empty", "garbage"])
def test_a_senseless_meminfo_leaves_the_next_source(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page count of sysconf answers where /proc/meminfo does not."""
    pages = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)

    assert read_host_bytes(str(DATA / "proc" / name)) == 4096 * 1000


def test_nothing_known_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cgroup, rlimit, meminfo, sysconf and psutil there is no limit to report, and no error."""

    def refuse(name: str) -> int:
        raise OSError(name)

    monkeypatch.setattr(os, "sysconf", refuse)
    monkeypatch.setitem(sys.modules, "psutil", None)

    assert read_limit(proc_root=str(DATA / "proc" / "empty"), root=DATA) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS is not enforced elsewhere")
def test_a_real_address_space_limit_is_found() -> None:
    """A process started under ``ulimit -v`` has that limit when its cgroup sets none below it."""
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, ({2048 * MB}, resource.RLIM_INFINITY))
from otel_memleak.probes import read_limit
print(read_limit(proc_root={str(DATA / "proc" / "small_process")!r}))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(otel_memleak.__file__).parents[1])}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout

    assert out.strip() == repr(MemoryLimit(2048 * MB, "rlimit"))
