"""A real process that is killed at its limit, and the one that comes after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from processes import Service

LIMIT_MB = 220


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_last_words_arrive_before_the_kill_and_are_told_after_the_restart(tmp_path: Path) -> None:
    """The SDK would send in a minute, the process has a second: they arrive, and the next process tells them.

    Which event carries them depends on how much was known by then; here the leak was.
    """
    path = tmp_path / "state.json"
    settings = {
        "OTEL_PYTHON_MEMLEAK_STATE_FILE": str(path),
        "OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT": str(LIMIT_MB),
        "OTEL_PYTHON_MEMLEAK_PATIENCE": "5000",
        "OTEL_PYTHON_MEMLEAK_BASELINE_WINDOW": "2000",
        "OTEL_PYTHON_MEMLEAK_DIAGNOSIS": "off",
        "OTEL_BLRP_SCHEDULE_DELAY": "60000",
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        "OTEL_SERVICE_NAME": "doomed",
    }
    with Service("until_killed.py", str(LIMIT_MB), "12", **settings) as service:
        assert service.finish(timeout_s=90) == -9
        bodies = {str(record.body): record.event_name for record in service.receiver.logs()}

    last = [body for body in bodies if f"of the limit of {LIMIT_MB} MB; growing" in body]
    assert len(last) == 1, bodies
    assert bodies[last[0]] in ("memleak.leak", "memleak.rss")
    kept = json.loads(path.read_bytes())
    assert kept["owner"] == {"service": "doomed", "program": "until_killed.py", "role": "main"}
    assert kept["last_words"]["sentence"].startswith("RSS is ")

    with Service("until_killed.py", "1", "1", **settings) as service:  # nothing to grow to: it ends at once
        service.finish(timeout_s=90)
        assert kept["last_words"]["sentence"] in service.output
