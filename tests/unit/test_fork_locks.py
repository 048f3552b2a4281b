"""A fork in the middle of a collection."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_memleak.emission.fork_locks import release_inherited_locks

WAIT_S = 10.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("repair", [True, False])
def test_the_child_can_collect_although_the_parent_was_collecting(repair: bool) -> None:
    """Without the repair a worker forked at the wrong moment never exports a metric; with it, it does."""
    collecting, go_on = threading.Event(), threading.Event()

    def slow(options: CallbackOptions) -> Iterable[Observation]:
        collecting.set()
        go_on.wait(WAIT_S)
        return [Observation(1)]

    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    meter = provider.get_meter("test")
    meter.create_observable_gauge("slow", callbacks=[slow])
    meter.create_counter("count").add(1)
    thread = threading.Thread(target=reader.get_metrics_data)
    thread.start()
    assert collecting.wait(WAIT_S)

    pid = os.fork()
    if pid == 0:
        replaced = release_inherited_locks(provider) if repair else 0
        go_on.set()
        collector = threading.Thread(target=reader.get_metrics_data, daemon=True)
        collector.start()
        collector.join(1.0)
        os._exit(0 if collector.is_alive() is not repair and bool(replaced) is repair else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    go_on.set()
    thread.join(WAIT_S)
    provider.shutdown()

    assert code == 0


def test_free_locks_and_foreign_objects_are_left_alone() -> None:
    """Only what is stuck is touched, and only in the SDK's own objects."""

    class Foreign:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.lock.acquire()

    foreign = Foreign()
    provider = MeterProvider(metric_readers=[InMemoryMetricReader()])
    provider.theirs = foreign  # type: ignore[attr-defined]
    lock = provider._lock

    assert release_inherited_locks(provider) == 0
    assert provider._lock is lock
    assert foreign.lock.locked()
    assert release_inherited_locks(foreign) == 0
    provider.shutdown()
