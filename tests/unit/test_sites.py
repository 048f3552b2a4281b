"""Tracing windows: what they find, what they may cost, whom they leave alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from otel_memleak import guard as guard_module
from otel_memleak.diagnosis._tracing import Live, Site, Tracemalloc
from otel_memleak.diagnosis.sites import SiteBudget, SiteWindows
from otel_memleak.guard import Guard

LEAK = Site("/srv/shop/views.py", 88)
BUSY = Site("/srv/shop/render.py", 12)
BUDGET = SiteBudget(window_s=2.0, windows=3, pause_s=10.0)


class ScriptedTracing:
    """A tracer of a process that leaks 1000 bytes a second at one line and is busy at another."""

    def __init__(self, *, on: bool = False, live_blocks: int = 100) -> None:
        self.on = on
        self.theirs = on
        self.live_blocks = live_blocks
        self.now_s = 0.0
        self.began_s = 0.0
        self.looks = 0
        self.stops = 0

    def is_on(self) -> bool:
        return self.on

    def start(self, frames: int) -> None:
        self.on, self.began_s = True, self.now_s

    def stop(self) -> None:
        self.on = False
        self.stops += 1

    def traces(self) -> int:
        return self.live_blocks

    def look(self) -> Mapping[Site, Live]:
        self.looks += 1
        seconds = self.now_s - self.began_s
        return {LEAK: Live(int(1000 * seconds), int(10 * seconds)), BUSY: Live(5_000_000, 500)}


class Cpu:
    """CPU seconds of the process: so much of every second of the clock, and more while traced."""

    def __init__(self, tracing: ScriptedTracing, share: float = 0.1, already_s: float = 100.0) -> None:
        self._tracing = tracing
        self._share = share
        self._already_s = already_s

    def __call__(self) -> float:
        return self._already_s + self._share * self._tracing.now_s


def _windows(tracing: ScriptedTracing, budget: SiteBudget = BUDGET, **cpu: float) -> SiteWindows:
    return SiteWindows(budget, 0.0, tracing=tracing, cpu_s=Cpu(tracing, **cpu))


def _run(
    windows: SiteWindows, tracing: ScriptedTracing, *, step_s: float = 0.25, until_s: float = 100
) -> None:
    while not windows.done and tracing.now_s < until_s:
        windows.tick(tracing.now_s)
        tracing.now_s += step_s


def test_the_line_that_keeps_allocating_is_named_with_its_rate() -> None:
    """What stays grows between two looks; what is merely much does not."""
    tracing = ScriptedTracing()
    windows = _windows(tracing)
    _run(windows, tracing)

    (suspect,) = windows.suspects(growth_bytes_per_hour=4_000_000)

    assert suspect.site == "srv/shop/views.py:88"
    assert suspect.growth_bytes_per_hour == pytest.approx(3_600_000)
    assert suspect.growth_count_per_hour == pytest.approx(36_000, rel=0.1)
    assert suspect.share == pytest.approx(0.9)
    assert windows.limits == ""


def test_it_traces_only_in_its_windows() -> None:
    """Three windows of two seconds are six seconds of tracing, whatever lies between."""
    tracing = ScriptedTracing()
    windows = _windows(tracing)
    _run(windows, tracing)

    assert windows.done
    assert not tracing.on
    assert (tracing.looks, tracing.stops) == (6, 3)
    assert windows.cost.traced_s == pytest.approx(6.0)
    assert windows.cost.traced_cpu_s == pytest.approx(0.6)


def test_between_its_dates_a_tick_does_nothing() -> None:
    """The caller may tick as often as it likes."""
    tracing = ScriptedTracing()
    windows = _windows(tracing)
    windows.tick(0.0)
    for _ in range(100):
        windows.tick(0.5)

    assert (tracing.looks, windows.phase, windows.due_s) == (0, "tracing", 1.0)


def test_a_late_tick_still_gives_a_true_rate() -> None:
    """The thread may be held up; the rate is per second that passed, not per second that was meant."""
    tracing = ScriptedTracing()
    windows = _windows(tracing)
    _run(windows, tracing, step_s=3.7)

    assert windows.suspects()[0].growth_bytes_per_hour == pytest.approx(3_600_000, rel=0.01)


def test_a_trace_of_the_user_s_is_looked_at_and_left_alone() -> None:
    """Stopping it, or clearing it, would destroy what somebody is measuring."""
    tracing = ScriptedTracing(on=True)
    windows = _windows(tracing)
    _run(windows, tracing)

    assert windows.suspects()[0].site.endswith("views.py:88")
    assert (tracing.on, tracing.stops) == (True, 0)
    assert windows.cost.traced_s == 0.0


@pytest.mark.parametrize("on", [False, True])
def test_too_many_traces_are_not_looked_at(on: bool) -> None:
    """A snapshot of a million traces stops the process for seconds."""
    tracing = ScriptedTracing(on=on, live_blocks=1_000_000)
    windows = _windows(tracing)
    _run(windows, tracing)

    assert windows.done
    assert (tracing.looks, tracing.on) == (0, on)
    assert windows.limits == "about 1,000,000 traced blocks were too many to look at"
    assert windows.suspects() == []


def test_the_cpu_budget_ends_a_window() -> None:
    """A busy young process: 2 s under tracing is its allowance, and 5 % of its life is less than that."""
    tracing = ScriptedTracing()
    windows = _windows(tracing, share=8.0, already_s=1.0)
    _run(windows, tracing)

    assert windows.limits == "tracing stopped at its CPU budget"
    assert (tracing.on, tracing.looks) == (False, 0)
    assert windows.cost.traced_s == pytest.approx(1.0)


def test_a_window_the_cpu_budget_will_not_bear_is_not_opened() -> None:
    """The first one used 1.9 s of 2: the next would be paid for and not finished. Its result stands."""
    tracing = ScriptedTracing()
    windows = _windows(tracing, share=0.95, already_s=1.0)
    _run(windows, tracing)

    assert windows.limits == "tracing stopped at its CPU budget"
    assert (tracing.looks, tracing.stops) == (2, 1)
    assert len(windows.suspects()) == 1


def test_an_old_process_may_spend_its_share() -> None:
    """The budget is a part of the CPU time used so far, so that a day's service may look longer."""
    tracing = ScriptedTracing()
    windows = _windows(tracing, share=2.0, already_s=10_000.0)
    _run(windows, tracing)

    assert windows.limits == ""
    assert windows.cost.traced_cpu_s == pytest.approx(12.0)


def test_somebody_else_stopping_the_trace_ends_it_without_a_look() -> None:
    """What is traced after a stranger's stop and start is no window of ours."""
    tracing = ScriptedTracing()
    windows = _windows(tracing)
    windows.tick(0.0)
    tracing.on = False
    tracing.now_s = 1.0
    windows.tick(1.0)

    assert windows.done
    assert tracing.looks == 0
    assert windows.limits == "somebody else stopped tracemalloc"


@pytest.mark.parametrize("on", [False, True])
def test_stopped_early_it_leaves_tracing_as_it_found_it(on: bool) -> None:
    """`uninstrument` may come in the middle of a window."""
    tracing = ScriptedTracing(on=on)
    windows = _windows(tracing)
    windows.tick(0.0)
    windows.stop(0.5)

    assert (windows.done, tracing.on) == (True, on)
    assert windows.limits == "tracing was stopped early"


@pytest.mark.parametrize(("on", "stops"), [(False, 1), (True, 0)])
def test_a_forked_child_does_not_trace_for_ever(on: bool, stops: int) -> None:
    """Tracing is inherited over a fork; nobody in the child would ever end ours."""
    tracing = ScriptedTracing(on=on)
    windows = _windows(tracing)
    windows.tick(0.0)

    windows.abandon()

    assert (windows.done, tracing.stops) == (True, stops)


def test_a_tracer_that_fails_is_stopped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory in a look: the tracing must not stay on, and the application must not hear of it."""
    monkeypatch.setattr(guard_module, "reraise", False)
    tracing = ScriptedTracing()
    guard = Guard()
    windows = SiteWindows(BUDGET, 0.0, tracing=tracing, cpu_s=Cpu(tracing), guard=guard)
    windows.tick(0.0)

    def no_memory() -> Mapping[Site, Live]:
        raise MemoryError

    monkeypatch.setattr(tracing, "look", no_memory)
    windows.tick(1.0)

    assert (windows.done, tracing.on, guard.errors) == (True, False, 1)
    assert windows.limits == "tracing failed"


def test_the_number_of_traces_is_never_estimated_too_low() -> None:
    """It is what keeps a look short, and it is estimated from the size of tables."""
    tracing = Tracemalloc()
    tracing.start(1)
    try:
        kept = [bytes(100 + number % 9) for number in range(50_000)]
        estimate = tracing.traces()
        live = sum(line.count for line in tracing.look().values())
    finally:
        tracing.stop()

    assert len(kept) <= live <= estimate <= 2 * live
