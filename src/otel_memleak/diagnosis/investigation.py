"""One leak, looked into until it can be named or the looks are used up.

A single look shows what there is, not what grows, so there are three: at the alert, when a few megabytes
more have been lost, and again after twice that time. One that was taken when growth was first suspected makes
the first of them telling. Windows of tracing, where they are wanted, run between the first two, never during
a look. An alert that comes meanwhile does not wait for the pauses: they end, and the looks are handed on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from otel_memleak.diagnosis.case import Case, Process, Tracers
from otel_memleak.diagnosis.census import Census, CensusBudget, Refusal, look_in_process, take_census
from otel_memleak.diagnosis.extensions import extension_modules
from otel_memleak.diagnosis.findings import RouteFindings
from otel_memleak.diagnosis.origin import OriginVerdict, classify_origin
from otel_memleak.diagnosis.resources import growing
from otel_memleak.types import Diagnosis, Suspect

_PAUSES: Final = (1.0, 2.0)
"""Between the looks, in units of the time in which some megabytes are lost."""
_SAME_RATE: Final = 3.0
_SETTLING: Final = 0.25
"""Of the first pause must lie between two looks: within less, what comes and goes is more than what stays."""
_LONGEST_SETTLING_S: Final = 30.0
_HEAP_PATIENCE_S: Final = 15.0
"""A look takes a second or two; where it takes longer the machine is starved, and may be so for minutes."""
_EXTENSIONS_NAMED: Final = 6
_RESOURCES_NAMED: Final = 2


class Investigation:
    """Looks, compares and tells; run it on a thread of its own.

    Args:
        case: What is to be looked into.
        process: Where.
        deliver: Told of every diagnosis that says more than the one before.
        before: A census from when growth was first suspected, if there is one.
        tracers: Windows of tracing to run meanwhile.
        wait: Waits for some seconds, or until an alert presses, and says whether to stop.
        pressing: The alert that waits for this investigation to end, if one does.
        spoken: Whether a diagnosis from counters alone is out already.
        clock_s: Monotonic seconds.
        look: Takes a census, or says why it cannot.
    """

    def __init__(
        self,
        case: Case,
        process: Process,
        deliver: Callable[[Diagnosis], None],
        before: Census | None,
        tracers: Tracers,
        *,
        wait: Callable[[float], bool],
        pressing: Callable[[], Case | None] = lambda: None,
        spoken: bool = False,
        clock_s: Callable[[], float] = time.monotonic,
        look: Callable[..., Census | Refusal] = take_census,
    ) -> None:
        self._case = case
        self._process = process
        self._deliver = deliver
        self._looks: list[Census] = [before] if before is not None else []
        self._tracers = tracers
        self._wait = wait
        self._pressing = pressing
        self._spoken = spoken
        self._clock_s = clock_s
        self._look = look
        self._refusal = ""
        self._last: Diagnosis | None = None
        self._patient_until_s = float("inf")

    def run(self) -> None:
        """Until the looks are used up, an alert presses, or `wait` says stop."""
        self._patient_until_s = self._clock_s() + _HEAP_PATIENCE_S
        try:
            if self._settle():
                return
            self.look()
            self._tell(final=False)
            for pause in _PAUSES:
                if not self._pause(pause * self._case.pause_s):
                    return
                self.look()
                self._tell(final=True)
        finally:
            self._tracers.close()

    def _settle(self) -> bool:
        """Leave some time between a look from before and the first one; True when told to stop."""
        if not self._looks:
            return False
        passed_s = self._process.now_s() - self._looks[-1].time_s
        missing_s = _SETTLING * self._case.pause_s - passed_s
        return missing_s > 0 and self._wait(min(missing_s, _LONGEST_SETTLING_S))

    @property
    def spoken_id(self) -> str:
        """The alert of which a diagnosis from counters alone is out; empty when there is none."""
        return self._case.alert_id if self._spoken else ""

    @property
    def last_look(self) -> Census | None:
        """For the next investigation to compare with."""
        return self._looks[-1] if self._looks else None

    def look(self) -> Census | None:
        """Take one census, from inside where there can be no snapshot."""
        now_s, growth = self._process.now_s(), self._case.growth_bytes_per_hour
        budget = CensusBudget()
        census = self._look(
            budget,
            now_s,
            _ends(self._looks),
            growth_bytes_per_hour=growth,
            headroom_bytes=self._process.headroom_bytes(),
            should_stop=self._should_stop,
        )
        if isinstance(census, Refusal):
            self._refusal = f"there was no snapshot of the heap, because {census.reason}"
            census = look_in_process(
                budget,
                now_s,
                _ends(self._looks),
                growth_bytes_per_hour=growth,
                should_stop=self._should_stop,
            )
        self._looks.append(census)
        return census

    def _should_stop(self) -> bool:
        """Asked while a census is taken; when that keeps an alert waiting, what counters say is told."""
        case = self._pressing()
        if case is not None and not self._case.alert_id:
            # The look for a suspicion is now the alert's.
            self._case, self._patient_until_s = case, self._clock_s() + _HEAP_PATIENCE_S
        if not self._spoken and self._last is None and self._clock_s() > self._patient_until_s:
            self._patient_until_s = float("inf")
            unseen = [] if self._has_compared else ["the heap has not been looked at yet"]
            diagnosis = self._diagnosis((), unseen)
            if diagnosis.origin != "unknown":
                self._spoken = True
                self._deliver(diagnosis)
        return self._wait(0.0)

    def _pause(self, seconds: float) -> bool:
        """Wait, and longer if windows are not done by then; False when told to stop or an alert presses."""
        end_s = self._clock_s() + seconds
        while True:
            now_s = self._clock_s()
            open_windows = [windows for windows in self._tracers.windows if not windows.done]
            for windows in open_windows:
                windows.tick(now_s)
            due = [windows.due_s for windows in open_windows if not windows.done]
            if now_s >= end_s and not due:
                return True
            stop = self._wait(max(0.0, min(due, default=end_s) - self._clock_s()))
            if stop or self._pressing() is not None:
                return False

    def _tell(self, *, final: bool) -> None:
        diagnosis = self._conclude()
        if not (diagnosis.suspects or final or self._no_holder_will_come(diagnosis)):
            return
        if self._last is None or _says_more(diagnosis, self._last):
            self._last = diagnosis
            self._deliver(diagnosis)

    def _no_holder_will_come(self, diagnosis: Diagnosis) -> bool:
        """Whether looks have been compared and what grows is nothing that a container holds."""
        return len(self._looks) > 1 and diagnosis.origin in ("native", "fragmentation")

    def _conclude(self) -> Diagnosis:
        case, census = self._case, self._looks[-1]
        suspects = _with_sites(census.suspects, self._tracers.sites(case.growth_bytes_per_hour))
        limits = [census.limits, *(windows.limits for windows in self._tracers.windows)]
        if census.in_process:
            limits.insert(0, self._refusal)
        return self._diagnosis(suspects, limits)

    def _diagnosis(self, suspects: Sequence[Suspect], limits: Sequence[str]) -> Diagnosis:
        verdict, routes = self._origin(suspects), self._process.routes()
        return Diagnosis(
            alert_id=self._case.alert_id,
            time_s=self._process.now_s(),
            origin=verdict.origin,
            suspects=tuple(suspects),
            routes=routes.suspects,
            advice=self._advice(verdict, suspects, routes),
            limits="; ".join(clause for clause in limits if clause),
        )

    def _origin(self, suspects: Sequence[Suspect]) -> OriginVerdict:
        witnesses = self._process.witnesses(self._case.onset_s)
        held, count = 0.0 if self._has_compared else None, 0.0
        if suspects and len(witnesses) > 1:
            hours = (witnesses[-1].time_s - witnesses[0].time_s) / 3600
            held = sum(suspect.growth_bytes_per_hour for suspect in suspects) * hours
            count = sum(suspect.growth_count_per_hour for suspect in suspects) * hours
        return classify_origin(witnesses, held_growth_bytes=held, held_growth_count=count)

    @property
    def _has_compared(self) -> bool:
        """Whether two looks at all of the heap have been compared."""
        return len(self._looks) > 1 and not any(census.limits for census in _ends(self._looks))

    def _advice(self, verdict: OriginVerdict, suspects: Sequence[Suspect], routes: RouteFindings) -> str:
        clauses = [verdict.advice]
        in_c = verdict.origin == "python" and self._has_compared and not any(one.owner for one in suspects)
        if in_c:
            clauses[0] += ", yet no container holds it: look for C code that does not release references"
        if routes.in_background:
            clauses.append("it grows with time, not with any request")
        if in_c or verdict.origin == "native":
            native, modules = self._tracers.native_sites(), extension_modules(_EXTENSIONS_NAMED)
            if native:
                clauses.append(native[0].clause())
            elif modules:
                clauses.append("extension modules loaded: " + ", ".join(modules))
        clauses += [one.clause() for one in growing(self._process.resources())[:_RESOURCES_NAMED]]
        return "; ".join(clause for clause in clauses if clause)


def _ends(looks: Sequence[Census]) -> Sequence[Census]:
    """The first and the last: the longest comparison, and whether it still grows."""
    return looks if len(looks) <= 2 else (looks[0], looks[-1])


def _with_sites(suspects: Sequence[Suspect], sites: Sequence[Suspect]) -> list[Suspect]:
    """The holders with the lines that allocate what they hold; lines alone where no holder is known.

    A line belongs to the worst holder when both grow at a similar rate; beyond that, which line feeds which
    holder is a guess, and is left open. It is better than what a census knows: where code is defined.
    """
    if not suspects:
        return list(sites)
    worst, *others = suspects
    if sites:
        ratio = sites[0].growth_bytes_per_hour / max(worst.growth_bytes_per_hour, 1.0)
        if 1.0 / _SAME_RATE <= ratio <= _SAME_RATE:
            worst = replace(worst, site=sites[0].site)
    return [worst, *others]


def _says_more(diagnosis: Diagnosis, before: Diagnosis) -> bool:
    """Whether it is worth a second record: another culprit, an endpoint or a line that was missing."""
    if diagnosis.routes and [r.route for r in diagnosis.routes] != [r.route for r in before.routes]:
        return True
    if not diagnosis.suspects:
        return diagnosis.origin != before.origin and diagnosis.origin != "unknown"
    if not before.suspects:
        return True
    now, then = diagnosis.suspects[0], before.suspects[0]
    return (now.type, now.owner) != (then.type, then.owner) or (bool(now.site) and not then.site)
