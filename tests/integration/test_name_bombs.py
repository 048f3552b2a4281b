"""A program in which every name is new, endless or not UTF-8 is still told what leaks, in telemetry that stays small."""

from __future__ import annotations

import pytest

from otel_memleak.cli._telemetry import LogRecord
from otel_memleak.wording import LONGEST_NAME, LONGEST_SENTENCE
from processes import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LEAK_S = 90


def owner_of(log: LogRecord) -> object:
    """Who holds what leaks, if it is known."""
    return log.attributes.get("memleak.suspect.owner")


def test_a_leak_among_bombs_is_told() -> None:
    """Leak and diagnosis arrive over OTLP, bounded; the series stay few; nothing of ours fails, nothing is lost."""
    with Service(
        "bombs.py",
        "240",
        OTEL_PYTHON_MEMLEAK_MEMORY_LIMIT="4096",
        OTEL_PYTHON_MEMLEAK_TRACEMALLOC="diagnosis",
    ) as service:
        receiver = service.receiver
        receiver.wait_for(lambda: receiver.logs("memleak.leak"), LEAK_S)
        # The first may come before the heap has been looked at twice.
        receiver.wait_for(
            lambda: [log for log in receiver.logs("memleak.diagnosis") if owner_of(log)], LEAK_S
        )
        receiver.wait_for(lambda: receiver.spans("memleak.diagnosis"), 20)

        told = [log for log in receiver.logs() if log.event_name.startswith("memleak.")]
        owners = [str(owner_of(log)) for log in told]
        assert any("rows" in owner or "modules" in owner or "Row" in owner for owner in owners), owners
        for log in told:
            assert len(log.body) <= LONGEST_SENTENCE
            for value in log.attributes.values():
                for text in value if isinstance(value, tuple | list) else [value]:
                    assert not isinstance(text, str) or len(text) <= 6 * LONGEST_NAME
        ours = {p.series for p in receiver.metrics() if p.name.startswith("memleak.")}
        assert len(ours) < 40
        assert max(point.value or 0 for point in receiver.metrics("memleak.overhead.errors")) == 0
        assert "Exception while exporting" not in service.output
        assert "UnicodeEncodeError" not in service.output
        assert "otel_memleak failed" not in service.output
