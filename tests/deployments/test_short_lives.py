"""Workers that are replaced before their leak can be established, by real servers: with `state_file` it is found."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deployments.servers import SHORT_LIVES, Deployment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE = {"OTEL_PYTHON_MEMLEAK_PATIENCE": "60000"}
"""Longer than a worker lives."""
FOUND_S = 300


def with_state(folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {**PATIENCE, "OTEL_PYTHON_MEMLEAK_STATE_FILE": str(folder / "state.json")}


@pytest.mark.parametrize("name", SHORT_LIVES)
def test_a_leak_that_restarts_hide_is_found_with_a_state_file_only(name: str, tmp_path: Path) -> None:
    """One incident, found from several lives; without the file nobody lives to see it, a healthy twin has none."""
    server = SHORT_LIVES[name]
    with (
        Deployment(server, tmp_path / "leaky", leaky=True, **with_state(tmp_path / "kept")) as leaky,
        Deployment(server, tmp_path / "healthy", leaky=False, **with_state(tmp_path / "calm")) as healthy,
        Deployment(server, tmp_path / "forgetful", leaky=True, **PATIENCE) as forgetful,
    ):
        told = leaky.service.receiver.logs
        leaky.service.receiver.wait_for(lambda: told("memleak.leak"), FOUND_S)
        lives = len(leaky.answers)
        leaky.service.receiver.wait_for(lambda: len(leaky.answers) >= lives + 2, FOUND_S)
        time.sleep(5.0)

        assert lives >= 3
        assert len({record.attributes["memleak.alert.id"] for record in told("memleak.leak")}) == 1
        assert len(healthy.answers) >= 3
        assert healthy.service.receiver.logs("memleak.leak") == []
        assert forgetful.service.receiver.logs("memleak.leak") == []
        for deployment in (leaky, healthy, forgetful):
            deployment.stop()
            assert "otel_memleak failed" not in deployment.service.output
