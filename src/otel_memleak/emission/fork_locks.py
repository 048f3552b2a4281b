"""A fork while metrics are being collected must not silence the child.

The SDK starts its reader's thread anew in a forked child, but not the locks of the collection itself. If the
parent was collecting at that moment, they stay held by a thread that the child does not have, and its
metrics never arrive (a collection takes tens of milliseconds with the system-metrics instrumentation, and
servers fork while they run). In the child every lock found held in the provider's own objects is such a
lock: it is replaced by a free one of the same kind. The reader's new thread waits for its first interval
before it takes one, so this is in time unless that is a fraction of a second on a machine that is overrun.

Where the fork ran no Python hook at all (uWSGI), not even the thread is started, and the child exports under
its parent's identity: `revive` calls what the SDK's hooks would have called.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any, Final, cast

_LOCK: Final = type(threading.Lock())
_RLOCK: Final = type(threading.RLock())
_METRICS: Final = "opentelemetry.sdk.metrics"
_SDK: Final = "opentelemetry.sdk"
_FORK_HOOKS: Final = ("_handle_fork", "_at_fork_reinit")
_CONTAINERS: Final = (dict, list, tuple, set)
_OBJECTS_AT_MOST: Final = 100_000


def release_inherited_locks(provider: object) -> int:
    """Replace the locks that the parent's threads held when it forked.

    To be called in the child while no other thread of it uses the provider yet.

    Args:
        provider: A meter provider; one that is not the SDK's is left alone.

    Returns:
        How many locks were replaced.
    """
    replaced = 0
    for item in _sdk_objects(provider, _METRICS):
        for name, value in tuple(cast(dict[str, Any], item.__dict__).items()):
            if type(value) in (_LOCK, _RLOCK) and _is_held(value):
                setattr(item, name, threading.Lock() if type(value) is _LOCK else threading.RLock())
                replaced += 1
    return replaced


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


def _sdk_objects(provider: object, package: str) -> Iterator[Any]:
    """The provider and every object of a package of the SDK that it holds, directly or in containers."""
    waiting, seen = [provider], {id(provider)}
    while waiting and len(seen) < _OBJECTS_AT_MOST:
        item = waiting.pop()
        ours = type(item).__module__.startswith(package)
        if ours and hasattr(item, "__dict__"):
            yield item
        if ours or type(item) in _CONTAINERS:
            for held in gc.get_referents(item):
                if id(held) not in seen and (
                    type(held) in _CONTAINERS or type(held).__module__.startswith(package)
                ):
                    seen.add(id(held))
                    waiting.append(held)


def _is_held(lock: Any) -> bool:
    if not lock.acquire(blocking=False):
        return True
    lock.release()
    return False
