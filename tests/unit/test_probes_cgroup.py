"""The memory limit of control groups, read from whole trees of files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from otel_memleak.probes import read_cgroup_limit
from otel_memleak.probes._cgroup import CgroupReading, CgroupVersion, read_cgroup
from otel_memleak.probes._mountinfo import parse_memberships, parse_mounts

TREES = Path(__file__).parents[1] / "data" / "cgroup"
MB = 1024 * 1024

EXPECTED_MB = {
    "above_host_v2": 65536,
    "bare_v1_micro_vm": None,
    "docker_v1_300mb": 300,
    "docker_v1_hidden_parent": 640,
    "docker_v1_unlimited": None,
    "docker_v2_512mb": 512,
    "empty_files": None,
    "escaped_mount_point": 128,
    "garbage_proc": None,
    "garbage_values": None,
    "high_only_v2": None,
    "hybrid_systemd": 1024,
    "k8s_v2_leaf_only": 256,
    "k8s_v2_pod_limit": 768,
    "max_v2": None,
    "namespace_host_root_v2": 2048,
    "namespace_moved_out_v2": 350,
    "no_cgroups_proc_missing": None,
    "no_memory_controller_v2": None,
    "not_utf8": None,
    "systemd_v2_outer_tighter": 450,
    "unreadable_v2": None,
}


def limit_of(tree: Path) -> int | None:
    return read_cgroup_limit(str(tree / "proc"), tree)


def reading_of(name: str, version: CgroupVersion) -> CgroupReading:
    return read_cgroup(version, str(TREES / name / "proc"), TREES / name)


def test_every_tree_has_an_expectation() -> None:
    """A tree nobody expects anything of, or an expectation without a tree, tests nothing."""
    assert set(EXPECTED_MB) == {path.name for path in TREES.iterdir() if path.is_dir()}


@pytest.mark.parametrize("name", EXPECTED_MB)
def test_the_limit_of_a_tree(name: str) -> None:
    """The smallest limit that kills, from the process's cgroup to the top that is visible; else None."""
    expected_mb = EXPECTED_MB[name]

    assert (None if expected_mb is None else expected_mb * MB) == limit_of(TREES / name)


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("no_memory_controller_v2", 2, "no readable memory.max"),
        ("unreadable_v2", 2, "no readable memory.max"),
        ("empty_files", 2, "no readable memory.max"),
        ("garbage_values", 1, "no readable memory.limit_in_bytes"),
        ("hybrid_systemd", 2, "no readable memory.max"),
        ("docker_v2_512mb", 1, "in no v1 memory cgroup"),
        ("docker_v1_300mb", 2, "in no v2 memory cgroup"),
        ("no_cgroups_proc_missing", 2, "cannot be read"),
    ],
)
def test_the_reason_for_knowing_nothing(name: str, version: CgroupVersion, reason: str) -> None:
    """A version of cgroups that says nothing says why, so that ``check`` can."""
    reading = reading_of(name, version)

    assert reading.limit_bytes is None
    assert reason in (reading.reason or "")


@pytest.mark.parametrize(
    ("name", "version"), [("max_v2", 2), ("docker_v1_unlimited", 1), ("high_only_v2", 2)]
)
def test_no_limit_set_is_no_failure(name: str, version: CgroupVersion) -> None:
    """That no limit is set and that nobody could look are different answers."""
    reading = reading_of(name, version)

    assert reading == CgroupReading(version)


def test_the_file_that_sets_the_limit_is_named() -> None:
    """Somebody who wonders where a limit comes from is told the file."""
    reading = reading_of("k8s_v2_pod_limit", 2)

    assert (reading.path or "").endswith("kubepods-burstable-pod7c1e.slice/memory.max")


def test_a_cgroup_inside_the_container_is_found_below_the_mount(tmp_path: Path) -> None:
    """The path in ``/proc/self/cgroup`` begins at the host's root, what is mounted begins further down."""
    tree = tmp_path / "tree"
    shutil.copytree(TREES / "k8s_v2_leaf_only", tree)
    path = (tree / "proc/self/cgroup").read_text().strip()
    (tree / "proc/self/cgroup").write_text(f"{path}/worker\n")
    (tree / "sys/fs/cgroup/worker").mkdir()
    (tree / "sys/fs/cgroup/worker/memory.max").write_text(f"{64 * MB}\n")

    assert limit_of(tree) == 64 * MB


def test_the_sum_in_memory_stat_is_not_what_sets_the_limit(tmp_path: Path) -> None:
    """v1 repeats an outer limit in the inner ``memory.stat``; the file to change is the outer one."""
    tree = tmp_path / "tree"
    shutil.copytree(TREES / "hybrid_systemd", tree)
    memory = tree / "sys/fs/cgroup/memory"
    (memory / "system.slice/memory.limit_in_bytes").write_text(f"{512 * MB}\n")
    (memory / "system.slice/shop.service/memory.stat").write_text(f"hierarchical_memory_limit {512 * MB}\n")

    reading = read_cgroup(1, str(tree / "proc"), tree)

    assert reading.limit_bytes == 512 * MB
    assert reading.path == str(memory / "system.slice/memory.limit_in_bytes")


def test_a_limit_changed_at_run_time_is_seen(tmp_path: Path) -> None:
    """Limits can be resized in place, so nothing is remembered between two readings."""
    tree = tmp_path / "tree"
    shutil.copytree(TREES / "docker_v2_512mb", tree)
    assert limit_of(tree) == 512 * MB

    (tree / "sys/fs/cgroup/memory.max").write_text(f"{96 * MB}\n")

    assert limit_of(tree) == 96 * MB


def test_a_removed_cgroup_still_has_its_ancestors(tmp_path: Path) -> None:
    """The kernel marks a removed cgroup's path; the limits above it hold all the same."""
    tree = tmp_path / "tree"
    shutil.copytree(TREES / "systemd_v2_outer_tighter", tree)
    path = "/user.slice/user-1000.slice/gone.scope (deleted)"
    (tree / "proc/self/cgroup").write_text(f"0::{path}\n")

    assert limit_of(tree) == 450 * MB


def test_a_cgroup_path_never_leads_out_of_the_mount(tmp_path: Path) -> None:
    """A cgroup path with ``..`` in it is not followed out of the mounted tree."""
    tree = tmp_path / "tree"
    shutil.copytree(TREES / "docker_v2_512mb", tree)
    (tree / "sys/fs/cgroup/inner").mkdir()
    (tree / "sys/fs/memory.max").write_text("4096\n")
    (tree / "proc/self/cgroup").write_text("0::/inner/../..\n")

    assert limit_of(tree) == 512 * MB


def test_memberships_tell_unified_from_named_hierarchies() -> None:
    """``0::`` is cgroup v2; ``1:name=systemd:`` is v1 without a controller and must not pass for it."""
    named, unified, controllers = parse_memberships("1:name=systemd:/a\n0::/b\n4:cpu,memory:/c:d\n")

    assert not named.unified
    assert unified.unified
    assert (controllers.controllers, controllers.path) == (frozenset({"cpu", "memory"}), "/c:d")


def test_mounts_with_any_number_of_optional_fields() -> None:
    """``shared:1 master:2`` before the dash, or nothing at all, move no other field."""
    text = (
        "1 2 0:3 / /a rw - cgroup2 none rw\n1 2 0:3 /r /b\\040c rw shared:1 master:2 - cgroup x rw,memory\n"
    )

    bare, tagged = parse_mounts(text)

    assert (bare.root, bare.mount_point, bare.filesystem) == ("/", "/a", "cgroup2")
    assert (tagged.root, tagged.mount_point, tagged.filesystem) == ("/r", "/b c", "cgroup")
    assert tagged.super_options == {"rw", "memory"}
