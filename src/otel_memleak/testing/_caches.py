"""Caches of the standard library that say themselves how full they are."""

from __future__ import annotations

import functools
import gc
from collections.abc import Mapping
from typing import Any, Final

Sizes = Mapping[int, int]
"""Entries of each ``functools.lru_cache``, by the identity of its function."""

_LRU_CACHE: Final[Any] = getattr(functools, "_lru_cache_wrapper", None)


def lru_cache_sizes() -> Sizes:
    """How many entries every ``functools.lru_cache`` of the process has."""
    return {id(cache): cache.cache_info().currsize for cache in _lru_caches()}


def growing_lru_caches(before: Sizes) -> tuple[list[str], list[str]]:
    """Name the caches that have grown since, in words.

    Args:
        before: What `lru_cache_sizes` said then.

    Returns:
        Those with room left, whose growth will end; and those without a bound, whose growth will not.
    """
    filling: list[str] = []
    unbounded: list[str] = []
    for cache in _lru_caches():
        info = cache.cache_info()
        if info.currsize <= before.get(id(cache), 0):
            continue
        name = f"{cache.__module__}.{cache.__qualname__}"
        if info.maxsize is None:
            unbounded.append(f"{name} (lru_cache without maxsize, {info.currsize:,} entries)")
        elif info.currsize < info.maxsize:
            filling.append(f"{name} (lru_cache, {info.currsize:,} of {info.maxsize:,} entries)")
    return filling, unbounded


def _lru_caches() -> list[Any]:
    if not isinstance(_LRU_CACHE, type):  # a plain function on other implementations
        return []
    return [candidate for candidate in gc.get_objects() if type(candidate) is _LRU_CACHE]
