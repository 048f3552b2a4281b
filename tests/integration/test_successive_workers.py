"""Workers that are replaced before a leak can be established: found with a state file, and only with one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from processes import Service

LIVES = 8
LIFE_S = 10
SETTINGS = {
    "OTEL_PYTHON_MEMLEAK_BASELINE_WINDOW": "1500",
    "OTEL_PYTHON_MEMLEAK_PATIENCE": "20000",
    "OTEL_PYTHON_MEMLEAK_DIAGNOSIS": "off",
    "OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT": "2000",
}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("kind", "keeps", "found"), [
    ("leaky", True, 1), ("leaky", False, 0), ("healthy", True, 0),
])  # fmt: skip
def test_a_leak_that_successive_workers_hide(kind: str, keeps: bool, found: int, tmp_path: Path) -> None:
    """Ten seconds each, twenty of patience: one incident over all of them, told once, by a later worker."""
    state = {"OTEL_PYTHON_MEMLEAK_STATE_FILE": str(tmp_path / "state.json")} if keeps else {}
    with Service("successive.py", kind, str(LIVES), str(LIFE_S), **SETTINGS, **state) as service:
        assert service.finish(timeout_s=300) == 0
        leaks = service.receiver.logs("memleak.leak")

    incidents = {record.attributes["memleak.alert.id"] for record in leaks}
    assert len(incidents) == found, [record.body for record in leaks]
    assert "Traceback" not in service.output
    if keeps:
        # The parent holds the first; all workers have followed each other in the second.
        assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")) == [
            "state.json",
            "state.json.1",
        ]
