"""The look from inside keeps to its budget, gives way, and says that it saw less."""

from __future__ import annotations

import gc
import sys
import threading
import types
from typing import Any

import pytest

from otel_memleak.diagnosis.census import Census, CensusBudget, _roots, _shapes, look_in_process
from otel_memleak.diagnosis.census._kinds import COLLECTION, NAMESPACE
from otel_memleak.diagnosis.census._walk import Walker

MODULE = "a_leaking_module"


class Record:
    """Something to pile up."""

    def __init__(self) -> None:
        self.rows = [object()]


class Work:
    """CPU seconds that pass whenever somebody looks, and rests that are only noted."""

    def __init__(self, step_s: float = 0.0002) -> None:
        self.now_s = 0.0
        self.step_s = step_s
        self.worked_s: list[float] = []
        self.rests_s: list[float] = []
        self._since_s = 0.0

    def clock(self) -> float:
        self.now_s += self.step_s
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.worked_s.append(self.now_s - self._since_s)
        self._since_s = self.now_s
        self.rests_s.append(seconds)


@pytest.fixture
def leak(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """A global list of a module of its own, in a program of few modules: the test session has a thousand."""
    module = types.ModuleType(MODULE)
    module.records = []  # type: ignore[attr-defined]
    few = {name: sys.modules[name] for name in ("builtins", "heapq", "bisect", "textwrap")}
    monkeypatch.setattr(
        _roots, "sys", types.SimpleNamespace(modules=few | {MODULE: module}, getsizeof=sys.getsizeof)
    )
    return module.records


def look(time_s: float, earlier: list[Census], growth_bytes_per_hour: float | None = None) -> Census:
    """A look with all the time in the world, however slow the machine is."""
    return look_in_process(
        CensusBudget(),
        time_s,
        earlier,
        growth_bytes_per_hour=growth_bytes_per_hour,
        clock_s=lambda: 0.0,
        sleep=lambda _: None,
    )


def test_a_growing_global_is_named(leak: list[Record]) -> None:
    """Law: what modules lead to is found from inside as well."""
    leak.extend(Record() for _ in range(100))
    first = look(0.0, [])
    # By more than the test session itself may grow meanwhile.
    leak.extend(Record() for _ in range(50_000))
    second = look(3600.0, [first], growth_bytes_per_hour=7_000_000.0)

    assert second.suspects[0].owner == f"{MODULE}:records"
    assert second.suspects[0].growth_count_per_hour == 50_000
    assert (second.in_process, "from inside" in second.limits) == (True, True)


def test_the_budget_ends_it() -> None:
    """Law: it works no longer than it may, and says that it did not see everything."""
    work = Work()
    census = look_in_process(CensusBudget(in_process_s=0.05), 0.0, clock_s=work.clock, sleep=work.sleep)

    assert sum(work.worked_s) < 0.06
    assert "time was used up" in census.limits


def test_it_rests_four_times_as_long_as_it_works() -> None:
    """Law: a fifth of one core at most, and never long without giving way."""
    work = Work()
    budget = CensusBudget(in_process_s=0.1, slice_s=0.002)
    look_in_process(budget, 0.0, clock_s=work.clock, sleep=work.sleep)

    assert len(work.rests_s) > 10
    assert all(rest >= 4 * budget.slice_s for rest in work.rests_s)
    assert all(worked < 2 * budget.slice_s for worked in work.worked_s[1:])


def test_it_stops_when_told() -> None:
    """Law: stopping the monitor does not wait for the look to end."""
    work = Work()
    census = look_in_process(
        CensusBudget(), 0.0, should_stop=lambda: True, clock_s=work.clock, sleep=work.sleep
    )

    assert work.rests_s == []
    assert "told to stop" in census.limits


def test_looks_from_inside_and_snapshots_are_not_compared(leak: list[Record]) -> None:
    """Law: a snapshot sees more; the difference of the two is no growth."""
    first = look(0.0, [])
    leak.extend(Record() for _ in range(5000))
    snapshot = Census(first.time_s, (), first.objects, first.bytes_seen, first.summary, in_process=False)

    assert look(3600.0, [snapshot]).suspects == ()


def test_nothing_of_the_application_is_kept_alive(leak: list[Record]) -> None:
    """Law: after the look every object has the references it had before."""
    leak.extend(Record() for _ in range(300))
    record, rows = leak[150], leak[151].rows
    before = (sys.getrefcount(record), sys.getrefcount(rows))
    gc.disable()
    try:
        look(0.0, [])
        assert (sys.getrefcount(record), sys.getrefcount(rows)) == before
    finally:
        gc.enable()


def test_a_program_that_changes_meanwhile_does_not_break_it(leak: list[Record]) -> None:
    """Law: containers that grow and shrink under the walk cost accuracy, not an exception."""
    stop = threading.Event()
    table: dict[object, object] = {}
    leak.append(Record())
    leak[0].__dict__["table"] = table

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            table[number] = Record()
            leak[0].__dict__[f"name_{number % 50}"] = [number]
            if number % 100 == 0:
                table.clear()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for round_ in range(5):
            budget = CensusBudget(in_process_s=0.3)
            assert look_in_process(budget, float(round_), sleep=lambda _: None).objects > 1000
    finally:
        stop.set()
        thread.join()


class Meddlesome(dict[int, bytearray]):
    """Pages of marks; whenever one is looked up, a table of the application's has grown."""

    def __init__(self, table: dict[object, object]) -> None:
        super().__init__()
        self._table = table

    def get(self, *arguments: Any) -> Any:
        self._table[f"name_{len(self._table)}"] = object()
        return super().get(*arguments)


@pytest.mark.parametrize("mode", [COLLECTION, NAMESPACE])
def test_a_dict_may_change_between_any_two_of_its_entries(mode: int) -> None:
    """Law: the walk never iterates over a table that others can reach; another thread may run at any step."""
    table: dict[object, object] = {f"start_{number}": [number] for number in range(10)}
    walker = Walker(may_peek=False, enough=1024)
    walker.add(walker.root, ".table", table, mode)
    (node,) = walker.root.children.values()
    walker.marks.pages = Meddlesome(table)

    for _ in walker.run():
        pass

    assert sum(child.count for child in node.children.values()) >= 10


def test_without_the_gil_nothing_is_looked_at(leak: list[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads would change what is being walked; the census says so and names nothing."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    first = look(0.0, [])
    leak.extend(Record() for _ in range(10_000))
    second = look(600.0, [first], 1e6)

    assert (second.objects, second.suspects, second.in_process) == (0, (), True)
    assert "GIL" in second.limits


def test_a_program_of_countless_types_ends_the_look(
    leak: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: what is remembered of types is bounded, and the look says that it did not see everything."""
    assert "memory budget" not in look(0.0, []).limits
    monkeypatch.setattr(_shapes, "MAX_TYPES", 3000)
    for first in range(0, 3100, 100):
        leak.append(Record())
        leak[-1].rows = [type(f"T{first + number}", (), {})() for number in range(100)]

    assert "memory budget was used up" in look(0.0, []).limits
