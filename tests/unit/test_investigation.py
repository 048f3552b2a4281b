"""An investigation with scripted looks and a manual clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from otel_memleak.diagnosis.case import Case, Tracers
from otel_memleak.diagnosis.census import Census, Refusal
from otel_memleak.diagnosis.findings import RouteFindings
from otel_memleak.diagnosis.investigation import Investigation
from otel_memleak.diagnosis.origin import Witness
from otel_memleak.diagnosis.resources import ResourceReading
from otel_memleak.types import MB, Diagnosis, RouteSuspect, Suspect

SESSIONS = Suspect("Session", "shop.cache:_sessions", "", 8.0 * MB, 4321.0, 0.8)
LISTENERS = Suspect("Listener", "shop.bus:_listeners", "", 9.0 * MB, 99.0, 0.9)


class Scene:
    """A process whose looks are scripted: each look gives the next list of suspects, or a refusal."""

    def __init__(
        self, *looks: Sequence[Suspect] | str, before: bool = False, rate_mb_per_hour: float = 10.0
    ) -> None:
        self.time_s = 0.0
        self.looks = list(looks)
        self.looked: list[tuple[float, int]] = []
        self.told: list[tuple[float, Diagnosis]] = []
        self.found = RouteFindings()
        self.tracers = Tracers()
        self.stop_at_s = float("inf")
        self.case = Case("abc", 0.0, rate_mb_per_hour * MB, 60.0)
        self.before = replace(self.census(()), time_s=-600.0) if before else None
        self.pressing_from_s = float("inf")

    def census(self, suspects: Sequence[Suspect], **more: Any) -> Census:
        values = {"objects": 1, "bytes_seen": 1, "summary": b"", "in_process": False, "limits": ""}
        return Census(time_s=self.time_s, suspects=tuple(suspects), **{**values, **more})

    def look(
        self, budget: object, time_s: float, earlier: Sequence[Census], **more: object
    ) -> Census | Refusal:
        self.looked.append((time_s, len(earlier)))
        script = self.looks.pop(0)
        return Refusal(script) if isinstance(script, str) else self.census(script)

    def wait(self, seconds: float) -> bool:
        self.time_s += seconds
        return self.time_s >= self.stop_at_s

    def now_s(self) -> float:
        return self.time_s

    def headroom_bytes(self) -> int | None:
        return None

    def witnesses(self, since_s: float | None) -> list[Witness]:
        return [
            Witness(t, int(100 * MB + t * 2000), 0, 0, 0, 0, 0, 1000 + int(t * 20), 1000 + int(t * 20))
            for t in (0.0, 600.0, 1200.0, 1800.0, 2400.0, 3600.0)
        ]

    def resources(self) -> list[ResourceReading]:
        return []

    def routes(self) -> RouteFindings:
        return self.found

    def pressing(self) -> Case | None:
        return replace(self.case, alert_id="next") if self.time_s >= self.pressing_from_s else None

    def investigation(self, case: Case | None = None) -> Investigation:
        return Investigation(
            case or self.case, self, lambda d: self.told.append((self.time_s, d)), self.before, self.tracers,
            wait=self.wait, pressing=self.pressing, clock_s=lambda: self.time_s, look=self.look,
        )  # fmt: skip

    def run(self) -> None:
        self.investigation().run()


def test_with_a_look_from_before_the_first_one_names_the_holder() -> None:
    """The suspicion's census makes the alert's own look telling: named at once, under the alert's id."""
    scene = Scene([SESSIONS], [SESSIONS], [SESSIONS], before=True)

    scene.run()

    assert [(t, d.alert_id, d.suspects) for t, d in scene.told] == [(0.0, "abc", (SESSIONS,))]
    assert scene.looked[0] == (0.0, 1)


def test_without_one_the_second_look_does() -> None:
    """Nothing is said after the first look, when there is nothing to compare with."""
    scene = Scene((), [SESSIONS], [SESSIONS])

    scene.run()

    ((at_s, diagnosis),) = scene.told
    assert at_s == pytest.approx(4 / 10 * 3600)
    assert diagnosis.suspects == (SESSIONS,)


def test_what_says_more_is_told_again_and_what_does_not_is_not() -> None:
    """A refinement is a second record; the same culprit again is none."""
    scene = Scene([SESSIONS], [SESSIONS], [LISTENERS], before=True)

    scene.run()

    assert [d.suspects[0].type for _, d in scene.told] == ["Session", "Listener"]


def test_an_endpoint_found_later_is_told() -> None:
    """The regression needs traffic; when it can say something, the diagnosis says it."""
    scene = Scene([SESSIONS], [SESSIONS], [SESSIONS], before=True)
    route = RouteSuspect("GET /cart", 9600.0, 9000.0, 10000.0)
    look = scene.look

    def look_then_know(*args: Any, **more: Any) -> Census | Refusal:
        scene.found = RouteFindings((route,)) if len(scene.looked) == 2 else scene.found
        return look(*args, **more)

    scene.look = look_then_know  # type: ignore[method-assign]
    scene.run()

    assert [d.routes for _, d in scene.told] == [(), (route,)]


def test_unknown_is_an_answer() -> None:
    """When the looks name nobody, the kind of memory is told, once."""
    scene = Scene((), (), ())

    scene.run()

    assert [(d.suspects, d.origin) for _, d in scene.told] == [((), "python")]


@pytest.mark.parametrize(("before", "told_at_s"), [(True, 0.0), (False, 1440.0)])
def test_native_growth_is_told_as_soon_as_looks_have_been_compared(
    before: bool, told_at_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No holder will turn up later; but until two looks are compared, it could be a large buffer's."""
    scene = Scene((), (), (), before=before)
    times = range(0, 3600, 400)
    native = [Witness(t, int(100 * MB + t * 2000), 0, 0, 0, t * 2000, 0, 1000, 1000) for t in times]
    monkeypatch.setattr(scene, "witnesses", lambda since_s: native)

    scene.run()

    assert [(at_s, d.origin) for at_s, d in scene.told] == [(pytest.approx(told_at_s), "native")]


@pytest.mark.parametrize(("limits", "points_at_c"), [("", True), ("only a part was seen", False)])
def test_python_memory_that_nothing_holds_points_at_extension_modules(
    limits: str, points_at_c: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has looked everywhere and found no holder may suspect C code; who has seen a part may not."""
    monkeypatch.setattr(
        "otel_memleak.diagnosis.investigation.extension_modules", lambda most: ["quickjson._c"]
    )
    scene = Scene((), (), ())
    monkeypatch.setattr(scene, "look", lambda *args, **more: scene.census((), limits=limits))

    scene.run()

    advice = scene.told[0][1].advice
    assert ("look for C code" in advice, "quickjson._c" in advice) == (points_at_c, points_at_c)


@pytest.mark.parametrize(("owner", "points_at_c"), [("", True), ("shop.cache:_sessions", False)])
def test_a_type_without_a_holder_points_at_c_code_as_well(
    owner: str, points_at_c: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What piles up and hangs from nothing is kept by a reference that C code did not release."""
    monkeypatch.setattr(
        "otel_memleak.diagnosis.investigation.extension_modules", lambda most: ["quickjson._c"]
    )
    suspects = [replace(SESSIONS, owner=owner)]
    scene = Scene(suspects, suspects, suspects, before=True)

    scene.run()

    assert ("look for C code" in scene.told[0][1].advice) == points_at_c


def test_growth_that_follows_the_clock_is_named_as_such() -> None:
    """A timer or a thread leaks: looking at endpoints would waste a day."""
    scene = Scene((), (), ())
    scene.found = RouteFindings(in_background=True)

    scene.run()

    assert "not with any request" in scene.told[0][1].advice


@pytest.mark.parametrize(
    ("rate_mb_per_hour", "pause_s"), [(1e6, 120.0), (10.0, 1440.0), (0.001, 1800.0), (0.0, 1800.0)]
)
def test_looks_are_megabytes_apart_within_bounds(rate_mb_per_hour: float, pause_s: float) -> None:
    """At least two samples, at most half an hour, whatever the rate."""
    assert replace(Scene().case, growth_bytes_per_hour=rate_mb_per_hour * MB).pause_s == pytest.approx(
        pause_s
    )


def test_it_stops_when_told_to() -> None:
    """Uninstrumenting ends it in the middle of a pause, and closes what is open."""
    closed: list[bool] = []
    scene = Scene((), (), ())
    scene.tracers = Tracers(close=lambda: closed.append(True))
    scene.stop_at_s = 1.0

    scene.run()

    assert (len(scene.looked), scene.told, closed) == (1, [], [True])


def test_without_a_snapshot_it_looks_from_inside_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a fork is refused less is seen, and the diagnosis does not pretend otherwise."""
    refusal = "a full copy would not fit under the memory limit"
    scene = Scene(refusal, refusal, refusal)
    inside = "the heap was looked at from inside"
    monkeypatch.setattr(
        "otel_memleak.diagnosis.investigation.look_in_process",
        lambda *args, **more: scene.census((), in_process=True, limits=inside),
    )

    scene.run()

    assert refusal in scene.told[0][1].limits
    assert "from inside" in scene.told[0][1].limits


class Window:
    """A tracing window that is done after three ticks."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.due_s = 0.0
        self.limits = ""
        self.ticks: list[tuple[float, int]] = []

    @property
    def done(self) -> bool:
        return len(self.ticks) >= 3

    def tick(self, now_s: float) -> None:
        self.ticks.append((now_s, len(self.scene.looked)))
        self.due_s = now_s + 2000.0


def test_windows_run_to_their_end_between_two_looks() -> None:
    """A look in the middle of a window would see the window; a window in the middle of a look would, too."""
    scene = Scene((), [SESSIONS], [SESSIONS])
    window = Window(scene)
    line = Suspect(site="shop/views.py:88", growth_bytes_per_hour=7.0 * MB)
    scene.tracers = Tracers((window,), lambda growth: [line])

    scene.run()

    assert {looked for _, looked in window.ticks} == {1}
    assert scene.told[-1][1].suspects[0] == replace(SESSIONS, site="shop/views.py:88")


def test_a_line_is_not_given_to_a_holder_that_grows_at_another_rate() -> None:
    """Which line feeds which holder is only guessed where the rates agree."""
    scene = Scene([SESSIONS], [SESSIONS], [SESSIONS], before=True)
    scene.tracers = Tracers((), lambda growth: [Suspect(site="x.py:1", growth_bytes_per_hour=0.5 * MB)])

    scene.run()

    assert scene.told[0][1].suspects[0].site == ""


def test_a_traced_line_is_better_than_the_definition_of_what_piles_up() -> None:
    """A site is where it is allocated; a census only knows where a function or coroutine begins."""
    callbacks = replace(LISTENERS, site="shop/bus.py:7")
    scene = Scene([callbacks], [callbacks], [callbacks], before=True)
    scene.tracers = Tracers((), lambda growth: [Suspect(site="x.py:1", growth_bytes_per_hour=8.0 * MB)])

    scene.run()

    assert [d.suspects[0].site for _, d in scene.told] == ["x.py:1"]


@pytest.mark.parametrize(("look_takes_s", "told"), [(5.0, [1]), (40.0, [0, 1])])
def test_a_look_that_takes_long_does_not_keep_back_what_counters_say(
    look_takes_s: float, told: list[int]
) -> None:
    """On a starved machine the kind of memory is told first and the holder later; else both at once."""
    scene = Scene([SESSIONS], [SESSIONS], [SESSIONS], before=True)
    look = scene.look

    def look_slowly(*args: Any, should_stop: Callable[[], bool], **more: Any) -> Census | Refusal:
        end_s = scene.time_s + look_takes_s
        while scene.time_s < end_s:
            scene.time_s += 1.0
            assert not should_stop()
        return look(*args, **more)

    scene.look = look_slowly  # type: ignore[method-assign]
    scene.run()

    assert [len(d.suspects) for _, d in scene.told] == told
    assert {d.origin for _, d in scene.told} == {"python"}


@pytest.mark.parametrize(
    ("pressing_from_s", "told"), [(float("inf"), []), (20.0, [(36.0, "next", "python")]), (90.0, [])]
)
def test_a_look_for_a_mere_suspicion_tells_nothing_unless_an_alert_comes_to_wait_for_it(
    pressing_from_s: float, told: list[object]
) -> None:
    """Before there is an alert there is nothing a diagnosis could belong to; after it, people wait for one."""
    scene = Scene()
    scene.pressing_from_s = pressing_from_s

    def look_slowly(*args: Any, should_stop: Callable[[], bool], **more: Any) -> Census | Refusal:
        while scene.time_s < 100.0:
            scene.time_s += 1.0
            assert not should_stop()
        return scene.census(())

    scene.look = look_slowly  # type: ignore[method-assign]
    suspicion = scene.investigation(replace(scene.case, alert_id=""))
    suspicion.look()

    assert [(at_s, d.alert_id, d.origin) for at_s, d in scene.told] == told
    assert suspicion.spoken_id == ("next" if told else "")


def test_an_alert_ends_the_pauses_of_the_one_before() -> None:
    """Half an hour between two looks is for want of anything better to do."""
    scene = Scene([SESSIONS], [SESSIONS], [SESSIONS], before=True, rate_mb_per_hour=0.001)
    scene.pressing_from_s = 0.0
    investigation = scene.investigation()

    investigation.run()

    assert [d.suspects for _, d in scene.told] == [(SESSIONS,)]
    assert len(scene.looked) == 1
    assert investigation.last_look is not None


@pytest.mark.parametrize(("before_s", "looked_at_s"), [(-600.0, 0.0), (-7.0, 2.0), (-1.0, 8.0)])
def test_the_first_look_leaves_a_while_after_the_one_from_before(before_s: float, looked_at_s: float) -> None:
    """Within a moment as much comes and goes as is lost: the alert often follows a look for a suspicion."""
    scene = Scene([SESSIONS], [SESSIONS], [SESSIONS], before=True, rate_mb_per_hour=400.0)
    scene.before = replace(scene.census(()), time_s=before_s)
    assert scene.case.pause_s == pytest.approx(120.0)
    scene.case = replace(scene.case, sampling_interval_s=0.25)

    scene.run()

    assert scene.looked[0][0] == pytest.approx(looked_at_s)


def test_an_old_look_that_is_just_done_does_not_keep_the_alert_waiting_for_long() -> None:
    """Where a megabyte takes hours, half a minute is waited for all the same and no more."""
    scene = Scene([SESSIONS], [SESSIONS], [SESSIONS], before=True, rate_mb_per_hour=0.1)
    scene.before = scene.census(())

    scene.run()

    assert scene.looked[0][0] == 30.0
