"""The account of what can be measured here."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest

from otel_memleak.probes import Capability, describe_host

TREES = sorted((Path(__file__).parents[1] / "data" / "cgroup").iterdir())
NAMES = [
    "rss",
    "limit",
    "limit.cgroup_v2",
    "limit.cgroup_v1",
    "limit.rlimit",
    "limit.host",
    "page_kinds",
    "page_size",
    "malloc",
    "tracemalloc",
    "allocated_blocks",
    "asyncio_tasks",
    "psutil",
    "fork",
]


def described(tree: Path) -> dict[str, Capability]:
    return {c.name: c for c in describe_host(proc_root=str(tree / "proc"), root=tree)}


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_everything_is_named_and_explained_on_every_host(tree: Path) -> None:
    """Always the same list, each entry with a value or a reason and never both, fit for JSON."""
    capabilities = describe_host(proc_root=str(tree / "proc"), root=tree)

    assert [c.name for c in capabilities] == NAMES
    for capability in capabilities:
        assert bool(capability.value) == capability.available
        assert bool(capability.reason) != capability.available
    json.dumps([dataclasses.asdict(capability) for capability in capabilities])


def test_a_container_is_described() -> None:
    """The limit, who set it and in which file can be read in words."""
    tree = next(tree for tree in TREES if tree.name == "docker_v2_512mb")
    capabilities = described(tree)

    assert capabilities["limit"].value == "512.0 MB (cgroup)"
    assert capabilities["limit.cgroup_v2"].value == f"512.0 MB ({tree}/sys/fs/cgroup/memory.max)"
    assert capabilities["limit.cgroup_v1"].reason == "the process is in no v1 memory cgroup"
    assert capabilities["limit.host"].value == "15,921.3 MB"


def test_a_configured_limit_is_named_as_such() -> None:
    """What the user configured is what ``check`` shows as the limit."""
    limit = next(c for c in describe_host(96 * 1024 * 1024) if c.name == "limit")

    assert limit.value == "96.0 MB (configured)"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_this_host_can_measure_resident_memory() -> None:
    """On a real Linux the number everything depends on is available."""
    rss = next(c for c in describe_host() if c.name == "rss")

    assert rss.available


def test_what_is_missing_is_reported_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psutil, tracemalloc, resource, fork and block count the account says so, line by line."""
    for module in ("psutil", "tracemalloc", "resource"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    monkeypatch.setattr(sys, "getallocatedblocks", None)

    missing = {c.name for c in describe_host() if not c.available}

    assert {"psutil", "tracemalloc", "limit.rlimit", "fork", "allocated_blocks"} <= missing


def test_no_failure_of_a_probe_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe failing in a way nobody declared is one line of the account, not its end."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("undeclared")

    for name in (
        "read_limit",
        "read_cgroup",
        "read_pages",
        "read_malloc",
        "RssProbe",
        "read_tracemalloc_bytes",
    ):
        monkeypatch.setattr(f"otel_memleak.probes._host.{name}", fail)

    reasons = {c.name: c.reason for c in describe_host()}

    assert reasons["rss"] == reasons["limit"] == reasons["malloc"] == "ZeroDivisionError: undeclared"
