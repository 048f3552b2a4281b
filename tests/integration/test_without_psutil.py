"""Images where psutil is missing or its wheel does not load (musl beside glibc): the watch needs procfs only."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from processes import Service


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere psutil is what measures")
def test_a_process_without_psutil_is_watched(tmp_path: Path) -> None:
    """It exports its memory and its limit, finds its leak, and nothing is counted as a failure."""
    (tmp_path / "psutil.py").write_text("raise ImportError('wrong ELF class')\n", encoding="utf-8")
    with Service("service.py", "leaky", "120", PYTHONPATH=str(tmp_path)) as service:
        receiver = service.receiver
        receiver.wait_for(lambda: receiver.logs("memleak.leak"), timeout_s=90)
        errors = {point.value for point in receiver.metrics("memleak.overhead.errors")}

        assert receiver.metrics("memleak.process.rss")
        assert receiver.metrics("memleak.process.limit")
        assert errors == {0}
    assert "otel_memleak failed" not in service.output
