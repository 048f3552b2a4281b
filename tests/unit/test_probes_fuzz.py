"""Every parser against every input: what a container may mount over /proc is anybody's guess."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from otel_memleak.probes import PageReading, ProbeError, RssProbe, read_cgroup_limit, read_limit, read_pages
from otel_memleak.probes._cgroup import UNLIMITED_BYTES, parse_hierarchical_limit, parse_limit
from otel_memleak.probes._files import parse_bytes
from otel_memleak.probes._limit import parse_mem_total_bytes
from otel_memleak.probes._mountinfo import CgroupMembership, Mount, parse_memberships, parse_mounts
from otel_memleak.probes._pages import parse_status
from otel_memleak.probes._rss import parse_statm

# Text made of the pieces the parsers look for gets further into them than text at random.
_separators = st.sampled_from(["0::", "/", "/..", "/a", ":", " ", "\n", "\t", "\0", "\\040", "\\777", " - "])
_mounts = st.sampled_from(
    ["1:memory:", "cgroup2", "cgroup", "rw,memory", "35 30 0:31 / / rw - cgroup2 x rw\n"]
)
_fields = st.sampled_from(["MemTotal:", "RssAnon:", "Threads:", "hierarchical_memory_limit ", "kB", "\udcff"])
_values = st.sampled_from(["max", "-1", "1_0", "٣", "9" * 30, "4096"])
_pieces = _separators | _mounts | _fields | _values
texts = st.text(max_size=200) | st.lists(_pieces, max_size=40).map("".join)
contents = st.binary(max_size=200) | texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
names = st.text(
    st.characters(exclude_characters="\n\0/:", exclude_categories=("Cs",)), min_size=1, max_size=20
).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, max_size=4).map(lambda parts: "/" + "/".join(parts))
amounts = st.integers(min_value=1, max_value=(1 << 62) - 1)


@given(contents)
@example(b"1 " + b"9" * 5000)
@example("1 ٣".encode())
def test_statm_is_a_number_or_the_declared_failure(content: bytes) -> None:
    """Any bytes at all: a non-negative number, or ProbeError and nothing else."""
    try:
        pages, _ = parse_statm(content)
    except ProbeError:
        return
    assert pages >= 0
    assert content.split()[1].decode() == str(pages).zfill(len(content.split()[1]))


@given(texts)
def test_limits_are_positive_and_bounded(text: str) -> None:
    """Any text: None, or a number of bytes from 1 to "no limit"."""
    for parse in (parse_limit, parse_hierarchical_limit):
        limit_bytes = parse(text)
        assert limit_bytes is None or 1 <= limit_bytes <= UNLIMITED_BYTES


@given(amounts)
def test_what_the_kernel_writes_is_what_is_read(amount: int) -> None:
    """A limit comes back as it was written, in the file of either version."""
    assert parse_limit(f"{amount}\n") == amount
    assert parse_hierarchical_limit(f"cache 1\nhierarchical_memory_limit {amount}\nrss 2") == amount


@given(st.integers(min_value=UNLIMITED_BYTES, max_value=10**20 - 1))
def test_huge_numbers_are_no_limit(amount: int) -> None:
    """v1's unlimited depends on the page size; whatever it is, it is not a limit."""
    assert parse_limit(str(amount)) == UNLIMITED_BYTES


@given(texts)
def test_numbers_are_plain_decimal(text: str) -> None:
    """A number is taken only when it is all there is, in plain digits, and then it is the right one."""
    number = parse_bytes(text)

    plain = set(text.strip()) <= set("0123456789") and 0 < len(text.strip()) <= 20
    assert (int(text) if plain else None) == number


@given(texts)
def test_meminfo_is_positive_or_unknown(text: str) -> None:
    """Any text: None, or a positive number of whole kilobytes."""
    total_bytes = parse_mem_total_bytes(text)
    assert total_bytes is None or (total_bytes > 0 and total_bytes % 1024 == 0)


@given(contents)
def test_status_never_fails(content: bytes) -> None:
    """Any bytes: fields that are None or not negative."""
    reading = parse_status(content)
    for field in PageReading._fields:
        value = getattr(reading, field)
        assert value is None or value >= 0


@given(st.lists(st.tuples(st.sampled_from(["", "memory", "cpu,memory", "name=systemd"]), paths), max_size=5))
def test_memberships_survive_the_round_trip(lines: list[tuple[str, str]]) -> None:
    """Every line the kernel can write is read, in order, whatever the cgroups are called."""
    text = "".join(f"{0 if not names else 7}:{names}:{path}\n" for names, path in lines)

    expected = [
        CgroupMembership(frozenset(filter(None, names.split(","))), path, unified=not names)
        for names, path in lines
    ]
    assert parse_memberships(text) == expected


def _escaped(path: str) -> str:
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in path)


@given(root=paths, mount_point=paths, tags=st.lists(st.sampled_from(["shared:1", "master:2"]), max_size=2))
def test_mounts_survive_the_round_trip(root: str, mount_point: str, tags: list[str]) -> None:
    """Paths come back as they were, with the kernel's escapes undone and any number of tags between."""
    left = ["36", "35", "98:0", _escaped(root), _escaped(mount_point), "rw,noatime", *tags]
    text = " ".join(left) + " - cgroup none rw,memory\n"

    assert parse_mounts(text) == [Mount(root, mount_point, "cgroup", frozenset({"rw", "memory"}))]


@given(cgroup=contents, mountinfo=contents, other=contents)
@example(cgroup=b"0::/" + b"a" * 9000, mountinfo=b"1 2 0:3 / / rw - cgroup2 x rw", other=b"")
@example(cgroup=b"0::/\0", mountinfo=b"1 2 0:3 / /\\000 rw - cgroup2 x rw", other=b"")
@example(
    cgroup="0::/\u0131\udcff".encode("utf-8", "surrogatepass"),
    mountinfo=b"1 2 0:3 / /\\777 rw - cgroup2 x rw",
    other=b"",
)
def test_whole_probes_fail_only_as_declared(cgroup: bytes, mountinfo: bytes, other: bytes) -> None:
    """With arbitrary files for a /proc every probe answers, or raises ProbeError."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "self").mkdir()
        contents_of = {"cgroup": cgroup, "mountinfo": mountinfo, "statm": other, "status": other}
        for name, content in contents_of.items():
            (root / "self" / name).write_bytes(content)
        (root / "meminfo").write_bytes(other)

        limit_bytes = read_cgroup_limit(directory, root)
        limit = read_limit(proc_root=directory, root=root)
        read_pages(directory)
        with contextlib.suppress(ProbeError):
            assert RssProbe(directory, fallback=None).read() >= 0

    assert limit_bytes is None or limit_bytes > 0
    assert limit is None or limit.limit_bytes > 0
