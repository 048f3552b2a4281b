"""Importing on a thread: one module at a time, in order, and not while somebody forks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from types import ModuleType
from typing import Any

import pytest

from otel_memleak import loading
from otel_memleak.parts import DIAGNOSER, ON_ALERT, PARTS

WAIT_S = 10.0

STEPS = """
import json, sys
from importlib import import_module
from otel_memleak import MemLeakInstrumentor
MemLeakInstrumentor().instrument(sampling_interval=600_000)
from otel_memleak.parts import PARTS

def ours():
    return {name for name in sys.modules if name.startswith("otel_memleak")}

at_once, steps = ours(), []
for name in PARTS:
    before = ours()
    import_module(name)
    steps.append([name, sorted(ours() - before)])
before = ours()
standby = MemLeakInstrumentor()._standby
standby.load().tick()
print(json.dumps([sorted(at_once), steps, sorted(ours() - before)]))
MemLeakInstrumentor().uninstrument()
"""


def test_every_part_comes_after_those_it_needs_and_none_is_missing() -> None:
    """A step of two keeps others waiting twice as long; an unlisted part comes later, when a fork may happen."""
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    at_once, steps, later = json.loads(done.stdout)

    assert later == []
    assert [name for name, loaded in steps if len(loaded) > 1] == []
    assert [name for name, loaded in steps if name.startswith("otel_memleak") and not loaded] == []
    assert {"otel_memleak.standby", "otel_memleak.emission.metrics"} <= set(at_once)
    assert not {name for name in at_once if "detector" in name or "probes" in name or "diagnosis" in name}


INCIDENT = """
import json, sys, time
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from otel_memleak import MemLeakInstrumentor

told = (getattr(export, "InMemoryLogRecordExporter", None) or export.InMemoryLogExporter)()
logs = LoggerProvider()
logs.add_log_record_processor(export.SimpleLogRecordProcessor(told))
MemLeakInstrumentor().instrument(
    sampling_interval=250, baseline_window=5000, patience=20_000, memory_limit=1000, overhead_budget=0,
    meter_provider=MeterProvider(), tracer_provider=TracerProvider(), logger_provider=logs,
)
engine = MemLeakInstrumentor()._standby.engine
engine._ticker.stop()
now_s, rss_bytes = [0.0], [100 << 20]

class Clock:
    monotonic_s = unix_s = lambda self: now_s[0]
engine._surroundings.clock = Clock()
engine._surroundings.read_rss_bytes = lambda: rss_bytes[0]
engine._begin()

def ours():
    return {name for name in sys.modules if name.startswith("otel_memleak")}

def live(seconds, mb_per_s):
    for _ in range(4 * seconds):
        now_s[0] += 0.25
        rss_bytes[0] += int(mb_per_s * 0.25 * 2**20)
        engine.tick()

def events():
    return {record.log_record.event_name for record in told.get_finished_logs()}

before = ours()
live(100, 0)
live(220, 4)
deadline = time.monotonic() + 60
while "memleak.diagnosis" not in events() and time.monotonic() < deadline:
    time.sleep(0.05)
rss_bytes[0] = 100 << 20
live(400, 0)
MemLeakInstrumentor().uninstrument()
print(json.dumps([sorted(events()), sorted(ours() - before)]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="snapshots are forked on Linux only")
def test_who_is_in_a_hurry_has_loaded_all_that_an_incident_takes() -> None:
    """Law: at short intervals nothing of ours is loaded while growth is watched; it would look like growth.

    From the first suspicion through leak, diagnosis and last words to the end of it.
    """
    done = subprocess.run([sys.executable, "-c", INCIDENT], capture_output=True, text=True, check=True)
    events, later = json.loads(done.stdout)

    assert events == ["memleak.diagnosis", "memleak.leak", "memleak.resolved", "memleak.rss"]
    # The SDK's locks are held still when the process forks, in the thread that forks, and no sooner.
    assert later == ["otel_memleak.emission.fork_locks"]


@pytest.mark.parametrize("names", [ON_ALERT, DIAGNOSER], ids=["alert", "diagnoser"])
def test_what_an_incident_takes_is_fetched_step_by_step(names: tuple[str, ...]) -> None:
    """On the sampling thread as well, others wait for one module at a time."""
    code = STEPS.replace("import PARTS\n", "import PARTS\nstandby = MemLeakInstrumentor()._standby.load()\n")
    done = subprocess.run(
        [sys.executable, "-c", code.replace("in PARTS:", f"in {names!r}:")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    _, steps, _ = json.loads(done.stdout)

    assert [name for name, loaded in steps if len(loaded) > 1] == []


def test_loading_stops_when_it_is_not_wanted_any_more() -> None:
    """A process that ends meanwhile waits for one module, not for sixty."""
    asked: list[bool] = []

    def go_on() -> bool:
        asked.append(True)
        return len(asked) < 3

    assert loading.load(PARTS, go_on) is False
    assert len(asked) == 3


def test_what_is_not_ours_may_be_missing() -> None:
    """Hardened builds have no ctypes; a part of ours that is missing is a broken installation."""
    assert loading.load(["no_such_module_anywhere", "json"], lambda: True)
    with pytest.raises(ImportError):
        loading.load(["otel_memleak.no_such_part"], lambda: True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_waits_for_the_module_at_hand_and_the_child_can_import() -> None:
    """A module that another thread is importing would be locked for ever in the child."""
    held, release, forked = threading.Event(), threading.Event(), threading.Event()
    status: list[int] = []

    def holds() -> None:
        with loading.undisturbed():
            held.set()
            assert release.wait(WAIT_S)

    def forks() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if loading.load(["json"], lambda: True) else 1)
        forked.set()
        status.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    holder, forker = threading.Thread(target=holds), threading.Thread(target=forks)
    holder.start()
    assert held.wait(WAIT_S)
    forker.start()
    assert not forked.wait(0.2)
    release.set()
    forker.join(WAIT_S)
    holder.join(WAIT_S)

    assert status == [0]
    assert loading.load(["json"], lambda: True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather a child that is not watched than a parent that hangs; the child gets a lock that works."""
    monkeypatch.setattr(loading, "_LONGEST_WAIT_S", 0.05)
    held, release = threading.Event(), threading.Event()

    def holds() -> None:
        with loading.undisturbed():
            held.set()
            assert release.wait(WAIT_S)

    holder = threading.Thread(target=holds)
    holder.start()
    assert held.wait(WAIT_S)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if loading.load(["json"], lambda: True) else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    release.set()
    holder.join(WAIT_S)

    assert status == 0


SOURCE = """
'module'
from __future__ import annotations

def doubled(number: int) -> int:
    'function'
    return 2 * number

def bare():
    return 'constant'

class Kind:
    'class'
    limit: int = 3

    def __init__(self, name: str = 'kind') -> None:
        'method'
        self.name = name

    @property
    def long(self) -> bool:
        'property'
        return len(self.name) > self.limit

    @staticmethod
    def made(name: str) -> Kind:
        'static method'
        return Kind(name)

    @classmethod
    def default(cls) -> Kind:
        'class method'
        return cls()

class LeakDetector:
    'exported'
"""


def test_what_is_let_go_is_for_readers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of what we weigh is documentation: without it everything works, and what users see keeps it."""
    module: Any = ModuleType("otel_memleak.made_up")
    vars(module).update(foreign=json.dumps, instance=loading._gate)
    exec(SOURCE, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    documented = json.dumps.__doc__

    assert (loading._trim(module.__name__), loading._trim(module.__name__)) == (True, False)

    things = [module, module.doubled, module.Kind, module.Kind.__init__, module.Kind.long]
    things += [module.Kind.made, module.Kind.default.__func__]
    assert [thing.__doc__ for thing in things] == [None] * len(things)
    assert module.doubled.__annotations__ == {}
    constants = [held for thing in (module.doubled, module.Kind.made) for held in thing.__code__.co_consts]
    assert not {"function", "static method"} & set(constants)
    assert (module.doubled(4), module.bare()) == (8, "constant")
    assert (module.Kind.default().long, module.Kind.made("ab").long) == (True, False)
    assert (module.LeakDetector.__doc__, json.dumps.__doc__) == ("exported", documented)


def test_where_nothing_may_be_let_go_everything_is_loaded_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tenth less to weigh is not worth a process that is not watched."""
    module: Any = ModuleType("otel_memleak.made_up")
    exec(SOURCE, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    refused: list[object] = []

    def refuse(thing: object) -> None:
        refused.append(thing)
        raise ValueError("not here")

    monkeypatch.setattr(loading, "_bare", refuse)

    assert loading.load([module.__name__], lambda: True)
    assert module.doubled in refused
    assert module.doubled.__doc__ == "function"


@pytest.mark.parametrize("package", ["cli", "cli._check", "testing", "testing._check"])
def test_what_shows_its_documentation_keeps_it(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Commands print their docstrings as help, also in a process that is watched."""
    module = ModuleType(f"otel_memleak.{package}", "What it is for.")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    assert not loading._trim(module.__name__)
    assert module.__doc__ == "What it is for."
