"""The diagnoser in this process: a real census, on a thread that does not outlive it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from otel_memleak.diagnosis import _witnesses as module
from otel_memleak.diagnosis import investigation
from otel_memleak.diagnosis.case import Case
from otel_memleak.diagnosis.census import CensusBudget
from otel_memleak.diagnosis.diagnoser import THREAD_NAME, Diagnoser
from otel_memleak.diagnosis.origin import Witness
from otel_memleak.guard import Guard
from otel_memleak.testing import ManualClock
from otel_memleak.types import MB, Diagnosis, LeakAlert, Sample

pytestmark = pytest.mark.timeout(600)
WAIT_S = 240.0
"""A real census of the test session, on a machine that may have much else to do."""


class Told:
    """Collects diagnoses and lets a test wait for one."""

    def __init__(self) -> None:
        self.diagnoses: list[Diagnosis] = []
        self.arrived = threading.Event()

    def __call__(self, diagnosis: Diagnosis) -> None:
        self.diagnoses.append(diagnosis)
        self.arrived.set()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def diagnoser(told: Told, monkeypatch: pytest.MonkeyPatch) -> Iterator[Diagnoser]:
    # A look that ends after half a second of work is one too; the whole session takes several.
    monkeypatch.setattr(investigation, "CensusBudget", lambda: CensusBudget(cpu_s=0.5, in_process_s=0.5))
    made = Diagnoser(ManualClock(), 0.01, "off", told, Guard())
    yield made
    made.stop()
    assert [t for t in threading.enumerate() if t.name == THREAD_NAME] == []


LEAKED: list[bytearray] = []


def leak(diagnoser: Diagnoser, alert_id: str, mb_per_hour: float) -> None:
    diagnoser.investigate(
        LeakAlert(
            "memleak.leak", alert_id, "warning", "growth", 0.0, 1.0, growth_bytes_per_hour=mb_per_hour * MB
        )
    )


def test_an_investigation_tells_under_the_alerts_id_and_ends(diagnoser: Diagnoser, told: Told) -> None:
    """Three looks at this very process, told at the latest after the second, and no thread afterwards."""
    leak(diagnoser, "abc", 1e9)

    assert told.arrived.wait(WAIT_S)
    thread = diagnoser._thread
    if thread is not None:
        thread.join(WAIT_S)
    assert told.diagnoses[0].alert_id == "abc"
    assert diagnoser._thread is None
    assert diagnoser.cpu_time_s > 0


def test_stop_ends_a_pause_of_half_an_hour_at_once(diagnoser: Diagnoser) -> None:
    """A slow leak is looked at rarely; uninstrumenting must not wait for it."""
    leak(diagnoser, "abc", 0.001)
    thread = diagnoser._thread
    assert thread is not None

    diagnoser.stop()

    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_a_second_alert_is_looked_into_without_sitting_out_the_pauses_of_the_first(
    diagnoser: Diagnoser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their pauses are half an hour: the second leak would be named when nobody looks any more."""
    begun: list[str] = []
    second = threading.Event()
    look_into = diagnoser._look_into

    def note(case: Case | None) -> None:
        begun.append(case.alert_id if case is not None else "")
        if begun[-1] == "second":
            second.set()
            return
        look_into(case)

    monkeypatch.setattr(diagnoser, "_look_into", note)
    leak(diagnoser, "first", 0.001)

    leak(diagnoser, "second", 0.001)

    assert second.wait(WAIT_S)
    assert begun == ["first", "second"]


def test_a_suspicion_is_one_look_and_no_word(
    diagnoser: Diagnoser, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is only suspected is not told; the look is kept for the alert, and not repeated at once."""
    sample = Sample(1000.0, 100 * MB)

    diagnoser.observe(sample, "suspect", None)
    thread = diagnoser._thread
    assert thread is not None
    thread.join(WAIT_S)
    diagnoser.observe(sample, "suspect", None)

    assert diagnoser._before is not None
    assert diagnoser._thread is None
    assert told.diagnoses == []


def test_in_the_calm_only_some_samples_are_looked_at_closely(
    diagnoser: Diagnoser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The witnesses cost more than a sample: a tenth of them is enough while nothing is suspected."""
    reads: list[float] = []
    read = module.witness_of
    monkeypatch.setattr(module, "witness_of", lambda sample: (reads.append(sample.time_s), read(sample))[1])

    for number in range(100):
        diagnoser.observe(Sample(float(number), MB), "stable", None)
    assert len(reads) == 10
    for number in range(100, 110):
        diagnoser.observe(Sample(float(number), MB), "leaking", None)

    assert len(reads) == 20
    assert len(diagnoser.resources()) == 10


@pytest.mark.parametrize(("readings", "first_s"), [(40, 11.0), (20, 0.0)])
def test_what_loading_the_diagnosis_took_is_no_growth_of_the_application(
    diagnoser: Diagnoser, readings: int, first_s: float
) -> None:
    """A megabyte and 7,000 blocks come at the first suspicion: left out, as soon as enough is known since."""
    for second in range(10):
        diagnoser._witnesses.offer(Witness(float(second), MB))
    diagnoser._loaded_s = 10.5
    for second in range(11, 11 + readings):
        diagnoser._witnesses.offer(Witness(float(second), MB))

    assert diagnoser.witnesses(0.0)[0].time_s == first_s
    assert diagnoser.witnesses(15.0)[0].time_s == 15.0


def test_headroom_is_what_the_limit_leaves(diagnoser: Diagnoser) -> None:
    """A snapshot is only taken where a full copy would fit."""
    diagnoser.observe(Sample(0.0, 100 * MB), "stable", 512 * MB)
    assert diagnoser.headroom_bytes() == 412 * MB

    diagnoser.observe(Sample(1.0, 100 * MB), "stable", None)
    assert diagnoser.headroom_bytes() is None


@pytest.mark.parametrize(
    ("witness", "origin"),
    [
        (lambda n: Witness(n, n * MB, 0, 0, 0, 0, 0, n * 10_000, n * 10_000), "python"),
        (lambda n: Witness(n, n * MB, 0, 0, 0, 0, n * MB, 0, 0), "fragmentation"),
        (lambda n: Witness(n, n * MB, 0, 0, 0, 0, 0, 0, 0), "native"),
        (lambda n: Witness(n, n * MB, 0, 0, 0, n * MB, 0, 0, 0), None),
        (lambda n: Witness(n, 0, 0, 0, 0, 0, 0, 0, 0), None),
    ],
    ids=["blocks", "kept by malloc", "mapped", "malloc without blocks", "nothing"],
)
def test_what_kind_of_memory_grows_is_known_before_anybody_looks(
    diagnoser: Diagnoser,
    witness: Callable[[int], Witness],
    origin: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The alert says so at once, except that growth of malloc may yet turn out to be a list of large buffers."""
    monkeypatch.setattr(diagnoser, "witnesses", lambda since_s: [witness(n) for n in range(12)])

    assert diagnoser.origin(0.0) == origin
