"""Global providers, set before or after us."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from processes import APPS, environment


@pytest.mark.parametrize("order", ["before", "after", "twice", "beside", "replaced", "flushed", "shut-down"])
def test_the_order_of_instrumenting_and_configuring_does_not_matter(order: str) -> None:
    """Metrics, log record, root span and the request's span event arrive, whoever comes first and whatever follows.

    ``before`` also covers instruments created on the proxy and read by a later engine, ``twice`` a provider
    that is given explicitly after having been used as the global one. What providers do later (see the program)
    is the application's affair: nothing of ours fails, is told twice or goes to a provider that is not meant.
    """
    result = subprocess.run(
        [sys.executable, str(APPS / "own_providers.py"), order],
        env=environment(PYTHONPATH=str(Path(__file__).parent.parent)),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    seen = json.loads(result.stdout.splitlines()[-1])

    assert seen["rss"][0] > 1_000_000
    assert len(seen["rss"]) == 1
    assert {"memleak.state", "memleak.alerts", "memleak.process.rss.distribution"} <= set(seen["metrics"])
    assert seen["logs"] == ["memleak.rss"]
    assert seen["spans"] == {"memleak.rss": ["memleak.rss"], "request": ["memleak.rss"]}
    assert seen["elsewhere"] == (["theirs"] if order == "beside" else [])
    assert "otel_memleak failed" not in result.stderr
    assert "Traceback" not in result.stderr
