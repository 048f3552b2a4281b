"""What a fork leaves broken in the SDK's objects: locks that stay held, connections that are shared.

The SDK starts its reader's thread anew in a forked child, but not the locks of the collection itself. If the
parent was collecting at that moment, they stay held by a thread that the child does not have, and its
metrics never arrive (a collection takes tens of milliseconds with the system-metrics instrumentation, and
servers fork while they run). In the child every lock found held in the provider's own objects is such a
lock: it is replaced by a free one of the same kind. Hooks of the SDK's run before ours and take a while
(they make the resource anew), so the reader's new thread may come for a lock before that, and would wait
for the old one for ever. Therefore a fork waits a moment for a collection to end and holds its lock
meanwhile: the child's reader then waits for us, not for a thread that is gone. A collection that takes longer
keeps the lock it has, and all that begin afterwards, here and in the child, meet a new one, which we hold.

The HTTP exporters keep their connection, and a child inherits it: parent and workers then write to one socket
and read each other's answers, so that requests are garbled, lost after a time-out or sent twice. In the child
the pools of urllib3, which ``requests`` uses too, are replaced by empty ones. What was in them is kept, not
closed: closing takes locks that a thread of the parent may have held. gRPC sees to its channels itself.

Where the fork ran no Python hook at all (uWSGI), not even the thread is started, and the child exports under
its parent's identity: `revive` calls what the SDK's hooks would have called.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any, Final, cast

_LOCK: Final = type(threading.Lock())
_RLOCK: Final = type(threading.RLock())
_METRICS: Final = "opentelemetry.sdk.metrics"
_SDK: Final = ("opentelemetry.sdk",)
_EXPORTING: Final = ("opentelemetry.sdk", "opentelemetry.exporter", "requests.", "urllib3.poolmanager")
_POOL_MANAGERS: Final = ("PoolManager", "ProxyManager")
_FORK_HOOKS: Final = ("_handle_fork", "_at_fork_reinit")
_CONTAINERS: Final = (dict, OrderedDict, list, tuple, set)
_OBJECTS_AT_MOST: Final = 100_000
_HOLD_S: Final = 0.5
"""A collection takes milliseconds; no fork is put off for one that takes seconds on an overrun machine."""

_holding: Final[dict[int, list[Any]]] = {}
"""Locks held through a fork, by the thread that forks."""
_inherited: Final[list[object]] = []
"""Connections of the ancestors, one entry per exporter and generation."""


def hold(provider: object) -> bool:
    """Wait for the end of a collection and let none begin until `let_go`; to be called before a fork.

    Args:
        provider: A meter provider; one that is not the SDK's is left alone.

    Returns:
        Whether it worked. `mend` frees in the child what was held by somebody else.
    """
    consumer: Any = getattr(provider, "_measurement_consumer", None)
    lock: Any = getattr(consumer, "_lock", None)
    if type(lock) not in (_LOCK, _RLOCK):
        return False  # gevent's and eventlet's locks would switch to other code in the middle of a fork
    if not lock.acquire(timeout=_HOLD_S):
        lock = _new_like(lock)
        lock.acquire()
        consumer._lock = lock
    _holding.setdefault(threading.get_ident(), []).append(lock)
    return True


def let_go() -> None:
    """Release what this thread holds; after the fork, in both processes."""
    for lock in _holding.pop(threading.get_ident(), ()):
        with contextlib.suppress(RuntimeError):
            lock.release()


def mend(provider: object) -> int:
    """Free the locks that the parent's threads held when it forked, and let exporters connect anew.

    To be called in the child while no other thread of it uses the provider yet.

    Args:
        provider: A provider of any signal; one that is not the SDK's is left alone.

    Returns:
        How many locks and pools of connections were replaced.
    """
    return sum(_free_locks(item) + _empty_pools(item) for item in _sdk_objects(provider, _EXPORTING))


def _free_locks(item: Any) -> int:
    if not type(item).__module__.startswith(_METRICS):
        return 0  # the SDK sees to the other signals itself
    ours = _holding.get(threading.get_ident(), ())
    held = [
        (name, value)
        for name, value in tuple(cast(dict[str, Any], item.__dict__).items())
        if type(value) in (_LOCK, _RLOCK) and value not in ours and _is_held(value)
    ]
    for name, value in held:
        setattr(item, name, _new_like(value))
    return len(held)


def _new_like(lock: object) -> Any:
    return threading.Lock() if type(lock) is _LOCK else threading.RLock()


def _empty_pools(item: Any) -> int:
    pools = getattr(item, "pools", None) if type(item).__name__ in _POOL_MANAGERS else None
    if pools is None:
        return 0
    item.pools = type(pools)(pools._maxsize)
    _inherited.append(pools)
    return 1


def revive(provider: object) -> int:
    """Do in a child forked in C what the SDK does itself after a fork that Python has seen.

    Threads that read and export are started and the process-dependent part of the resource is made anew.

    Args:
        provider: A provider of any signal; one that is not the SDK's is left alone.

    Returns:
        How many of the SDK's hooks were called.
    """
    hooks = [
        hook
        for item in tuple(_sdk_objects(provider, _SDK))
        for name in _FORK_HOOKS
        if (hook := getattr(item, name, None)) is not None
    ]
    for hook in hooks:
        hook()
    return len(hooks)


def _sdk_objects(provider: object, packages: tuple[str, ...]) -> Iterator[Any]:
    """The provider and every object of these packages that it holds, in containers or not, nearest first."""
    waiting, seen = deque([provider]), {id(provider)}
    while waiting and len(seen) < _OBJECTS_AT_MOST:
        item = waiting.popleft()
        ours = type(item).__module__.startswith(packages)
        if ours and hasattr(item, "__dict__"):
            yield item
        if ours or type(item) in _CONTAINERS:
            for held in gc.get_referents(item):
                if id(held) not in seen and (
                    type(held) in _CONTAINERS or type(held).__module__.startswith(packages)
                ):
                    seen.add(id(held))
                    waiting.append(held)


def _is_held(lock: Any) -> bool:
    if not lock.acquire(blocking=False):
        return True
    lock.release()
    return False
