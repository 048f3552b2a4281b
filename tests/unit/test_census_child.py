"""When a snapshot is given up: when it waits for what nobody will give it, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_memleak.diagnosis.census._child import Stuck
from otel_memleak.testing import ManualClock

PID = 4711


class Child:
    """A process as procfs describes it, seen ten times a second."""

    def __init__(self, root: Path) -> None:
        self._stat = root / str(PID) / "stat"
        self._stat.parent.mkdir()
        self._clock = ManualClock()
        self.set("R", 0, 0)
        self.is_stuck = Stuck(PID, clock_s=self._clock.monotonic_s, proc_root=str(root))

    def set(self, state: str, user: int, system: int) -> None:
        """Its state and the ticks it has used; its name is made to be mistaken for both."""
        fields = [
            state,
            *["0"] * 10,
            str(user),
            str(system),
            "0",
            "0",
            "25",
            "0",
            "1",
        ]
        self._stat.write_text(f"{PID} (a) S 1) {' '.join(fields)}\n")

    def write(self, text: str) -> None:
        """What procfs says of it."""
        self._stat.write_text(text)

    def vanish(self) -> None:
        """procfs says nothing any more."""
        self._stat.unlink()

    def watch(self, seconds: float) -> bool:
        """Whether it is taken for stuck after so long."""
        stuck = False
        for _ in range(round(seconds * 10)):
            self._clock.advance(0.1)
            stuck = self.is_stuck()
        return stuck


@pytest.fixture
def child(tmp_path: Path) -> Child:
    return Child(tmp_path)


def test_one_that_sleeps_for_five_seconds_is_stuck(child: Child) -> None:
    """Nobody in it could wake it up; and it stays stuck when it is gone."""
    child.set("S", 30, 4)

    assert not child.watch(4.5)
    assert child.watch(1.0)
    child.vanish()
    assert child.watch(0.1)


@pytest.mark.parametrize("state", ["R", "D", "T", "t"])
def test_one_that_waits_for_a_processor_or_the_disk_is_not(child: Child, state: str) -> None:
    """On a starved machine it may get nothing for minutes; and somebody may have stopped it."""
    child.set(state, 30, 4)

    assert not child.watch(120.0)


def test_one_that_goes_on_between_its_pauses_is_not(child: Child) -> None:
    """The time asleep counts from when it last used the processor, or was last seen awake."""
    for number in range(10):
        child.set("S", 30 + number, 4)
        assert not child.watch(4.5)
    for number in range(10):
        child.set("S", 40, 4 + number)
        assert not child.watch(4.5)
    child.set("R", 40, 13)
    assert not child.watch(0.1)
    child.set("S", 40, 13)
    assert not child.watch(4.5)


@pytest.mark.parametrize("text", ["", "S", "4711 (a", "4711 (a) ", "\n"])
def test_what_cannot_be_read_is_no_sign(child: Child, text: str) -> None:
    """Of an odd kernel, or cut short."""
    child.write(text)

    assert not child.watch(120.0)


def test_where_procfs_does_not_say_there_is_only_the_deadline(child: Child) -> None:
    """Hidden or not mounted: nothing is taken for a sign."""
    child.vanish()

    assert not child.watch(120.0)
