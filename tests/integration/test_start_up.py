"""Programs that take their time to start, at intervals of seconds."""

from __future__ import annotations

import pytest

from processes import Service

STARTS_FOR_S = 25
"""Longer than the patience of 20 s."""

RUNS_FOR_S = 75


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_loading_modules_is_a_start_and_loading_them_for_ever_a_leak() -> None:
    """A slow start grows longer than the patience, and is no leak; what never stops loading is told, later."""
    with (
        Service("importing.py", str(10 * STARTS_FOR_S), str(RUNS_FOR_S)) as starting,
        Service("importing.py", "1000000", str(RUNS_FOR_S)) as leaky,
    ):
        assert starting.finish(timeout_s=RUNS_FOR_S + 60) == 0
        assert leaky.finish(timeout_s=60) == 0

        assert [log.body for log in starting.receiver.logs("memleak.leak")] == []
        assert leaky.receiver.logs("memleak.leak")
