"""Leaks of every shape, each with the holder that ought to be named for it.

    python -m benchmarks.census.shapes [NAME ...]

Takes three censuses around the growth of each and prints one JSON object a line: what was expected and whom
the census names.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NoReturn

from otel_memleak.diagnosis.census import Census, CensusBudget, Refusal, look_in_process, take_census

STEP = 1500
HERE = __name__


class Session:
    """An instance with attributes of its own."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.items = [number, str(number)]


class Slotted:
    """An instance without a ``__dict__``."""

    __slots__ = ("number", "text")

    def __init__(self, number: int) -> None:
        self.number = number
        self.text = f"text {number} of some length"


_sessions: dict[str, Session] = {}


def module_dict(number: int) -> None:
    _sessions[f"session-{number}"] = Session(number)


_texts: dict[int, Any] = {}


def atoms_in_dict(number: int) -> None:
    """Neither the tuple nor the text is tracked by the garbage collector."""
    _texts[number] = (number, f"a text of some length {number}", b"x" * 40)


class Service:
    """Holds a list in an attribute and a set in the class."""

    seen: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        self.history: list[Slotted] = []
        self.listeners: list[Callable[[], object]] = []
        self.backlog: deque[Session] = deque()

    @functools.cache  # noqa: B019 - the leak
    def render(self, number: int) -> Session:
        return Session(number)

    def subscribe(self, number: int) -> None:
        session = Session(number)
        self.listeners.append(lambda: session)


service = Service()


def instance_list(number: int) -> None:
    service.history.append(Slotted(number))


def class_set(number: int) -> None:
    Service.seen.add(f"a text of some length, number {number}")


def cached_method(number: int) -> None:
    service.render(number)


def listener_list(number: int) -> None:
    service.subscribe(number)


def instance_deque(number: int) -> None:
    service.backlog.append(Session(number))


def _make_closure() -> Callable[[int], None]:
    remembered: list[Session] = []

    def remember(number: int) -> None:
        remembered.append(Session(number))

    return remember


closure = _make_closure()


class Link:
    """A link of a chain."""

    def __init__(self, following: Link | None) -> None:
        self.following = following


class Chain:
    """Holds the head of a chain that only grows."""

    head: Link | None = None


chain = Chain()


def linked_chain(number: int) -> None:
    chain.head = Link(chain.head)


_errors: list[BaseException] = []


def kept_exceptions(number: int) -> None:
    def fail(session: Session) -> None:
        raise LookupError(session.number)

    try:
        fail(Session(number))
    except LookupError as error:
        _errors.append(error)


_classes: dict[str, type] = {}


def dynamic_classes(number: int) -> None:
    if number % 20 == 0:
        _classes[f"Model{number}"] = type("Model", (Session,), {"number": number})


_watched = Session(0)
_watchers: list[Any] = []


def weakref_callbacks(number: int) -> None:
    _watchers.append(weakref.ref(_watched, lambda _, number=number: number))


_local = threading.local()


def thread_local(number: int) -> None:
    if not hasattr(_local, "rows"):
        _local.rows = []
    _local.rows.append(Session(number))


_ordered: OrderedDict[int, Session] = OrderedDict()


def ordered_dict(number: int) -> None:
    _ordered[number] = Session(number)


_nested: dict[str, dict[str, dict[str, int]]] = {"eu": {}, "us": {}}


def nested_dicts(number: int) -> None:
    _nested["eu" if number % 2 else "us"][f"order-{number}"] = {"number": number, "amount": number * 3}


_buffer = bytearray()


def one_buffer(number: int) -> None:
    _buffer.extend(b"x" * 200)


_weak_keys: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def never_weak(number: int) -> None:
    """The value holds its own key, so the entry never goes."""
    session = Session(number)
    _weak_keys[session] = [session]


_loop = asyncio.new_event_loop()
_background: set[asyncio.Task[None]] = set()


def pending_tasks(number: int) -> None:
    async def wait_for_ever(session: Session) -> None:
        await _loop.create_future()
        del session

    _background.add(_loop.create_task(wait_for_ever(Session(number))))
    if number % 500 == 499:
        _loop.call_soon(_loop.stop)
        _loop.run_forever()


def sleeping_tasks(number: int) -> None:
    """Nobody but the event loop holds these."""

    async def sleep(session: Session) -> None:
        await asyncio.sleep(3600)
        del session

    _loop.create_task(sleep(Session(number)))  # noqa: RUF006 - the leak
    if number % 500 == 499:
        _loop.call_soon(_loop.stop)
        _loop.run_forever()


@dataclass(frozen=True)
class Shape:
    """A way to leak.

    Attributes:
        leak: Leaks one step.
        owner: Who ought to be named.
        type: What ought to be said to pile up.
    """

    leak: Callable[[int], None]
    owner: str
    type: str


def _at(path: str) -> str:
    return f"{HERE}:{path}"


def _of(name: str) -> str:
    return f"{HERE}.{name}"


SHAPES: dict[str, Shape] = {
    shape.leak.__name__: shape
    for shape in (
        Shape(module_dict, _at("_sessions"), _of("Session")),
        Shape(atoms_in_dict, _at("_texts"), "tuple"),
        Shape(instance_list, _at("Service.history"), _of("Slotted")),
        Shape(class_set, _at("Service.seen"), "str"),
        Shape(cached_method, _at("Service.render"), _of("Session")),
        Shape(listener_list, _at("Service.listeners"), "function"),
        Shape(instance_deque, _at("Service.backlog"), _of("Session")),
        Shape(linked_chain, _at("Chain.head"), _of("Link")),
        Shape(kept_exceptions, _at("_errors"), "LookupError"),
        Shape(dynamic_classes, _at("_classes"), "type"),
        Shape(weakref_callbacks, _at("_watchers"), "function"),
        Shape(thread_local, _at("_local.rows"), _of("Session")),
        Shape(ordered_dict, _at("_ordered"), _of("Session")),
        Shape(nested_dicts, _at("_nested[*]"), "dict"),
        Shape(one_buffer, _at("_buffer"), "bytearray"),
        Shape(never_weak, _at("_weak_keys.data"), _of("Session")),
        Shape(pending_tasks, _at("_background"), "_asyncio.Task"),
        Shape(sleeping_tasks, _at("_loop._scheduled"), "asyncio.events.TimerHandle"),
    )
}
SHAPES["closure"] = Shape(closure, _at("closure.<locals>.remembered"), _of("Session"))


_queue: deque[tuple[int, threading.Event]] = deque()
_wake = threading.Event()


def serve() -> None:
    """Remembers every request in a dict that only this running function knows."""
    requests: dict[int, Session] = {}
    while True:
        _wake.wait()
        _wake.clear()
        while _queue:
            number, done = _queue.popleft()
            requests[number] = Session(number)
            done.set()


def local_variable(number: int) -> None:
    done = threading.Event()
    _queue.append((number, done))
    _wake.set()
    done.wait()


SHAPES["local_variable"] = Shape(local_variable, _at("serve.<locals>.requests"), _of("Session"))


def measure(shape: Shape, *, inside: bool = False, times: int = 2) -> list[dict[str, Any]]:
    """The suspects that censuses around a growth name, worst first."""
    budget = CensusBudget(deadline_s=60.0, in_process_s=5.0)
    take = look_in_process if inside else take_census
    taken: list[Census] = []
    for round_ in range(times):
        for number in range(STEP):
            shape.leak(round_ * STEP + number)
        census = take(budget, float(round_ * 3600), taken)
        if isinstance(census, Refusal):
            return [{"refused": census.reason}]
        taken.append(census)
    return [asdict(suspect) for suspect in taken[-1].suspects]


def main() -> NoReturn:
    """Measure on a thread of its own, as the sampling thread would."""
    names = [name for name in sys.argv[1:] if not name.startswith("-")]
    inside = "--inside" in sys.argv

    def run() -> None:
        for name, shape in SHAPES.items():
            if not names or name in names:
                began = time.perf_counter()
                found = measure(shape, inside=inside)
                took = round(time.perf_counter() - began, 2)
                expected = {"owner": shape.owner, "type": shape.type}
                print(json.dumps({"name": name, **expected, "took_s": took, "found": found}), flush=True)

    if __name__ == "__main__":
        # So that everything is called the same, run or imported.
        from benchmarks.census import shapes

        if shapes is not sys.modules["__main__"]:
            shapes.main()
    threading.Thread(target=serve, daemon=True).start()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    # What leaked is left to the system: an event loop with thousands of tasks has much to say at its end.
    os._exit(0)


if __name__ == "__main__":
    main()
