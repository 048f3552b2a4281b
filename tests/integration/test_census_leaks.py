"""Leaks of every shape in a real process: the census names the holder first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="snapshots are taken on Linux"),
    pytest.mark.timeout(300),
]

TESTS = Path(__file__).parents[1]
QUICK = ("module_dict", "cached_method", "linked_chain", "local_variable", "sleeping_tasks")
SLOW = (
    "atoms_in_dict",
    "instance_list",
    "class_set",
    "listener_list",
    "instance_deque",
    "kept_exceptions",
    "dynamic_classes",
    "weakref_callbacks",
    "thread_local",
    "ordered_dict",
    "nested_dicts",
    "one_buffer",
    "never_weak",
    "pending_tasks",
    "closure",
)


def named(shapes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """What the census said of each of these leaks, in a process of their own."""
    path = os.pathsep.join((str(TESTS.parent / "src"), str(TESTS)))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks.census.shapes", *shapes],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return {one["name"]: one for one in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def quick() -> dict[str, dict[str, Any]]:
    """A few shapes, for every run."""
    return named(QUICK)


@pytest.fixture(scope="module")
def slow() -> dict[str, dict[str, Any]]:
    """The other shapes."""
    return named(SLOW)


def check(said: dict[str, Any]) -> None:
    first = said["found"][0]
    assert (first["owner"], first["type"]) == (said["owner"], said["type"])


@pytest.mark.parametrize("shape", QUICK)
def test_the_holder_is_named_first(shape: str, quick: dict[str, dict[str, Any]]) -> None:
    """Law: of a leak of this shape the census names the holder, and what piles up there, before all else."""
    check(quick[shape])


@pytest.mark.slow
@pytest.mark.parametrize("shape", SLOW)
def test_the_holder_of_every_other_shape_is_named_first(shape: str, slow: dict[str, dict[str, Any]]) -> None:
    """Law: the same for the rarer ways to leak."""
    check(slow[shape])
