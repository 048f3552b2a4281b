"""The register of patterns: how a pattern is declared, and what it may ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .noise import PAGE_BYTES, Delivery
from .process import Process, Shares


@dataclass(frozen=True)
class Growth:
    """A leaking process, taken apart.

    Attributes:
        background: What the memory would do without the leak, in shares.
        leaked: How much has leaked, never falling, in any unit: the corpus scales it.
        restarts_s: Moments at which a new process takes over and what had leaked is given back.
    """

    background: Shares
    leaked: Shares
    restarts_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Pattern:
    """One kind of memory behaviour, by name.

    Attributes:
        name: Unique over both registers.
        leaks: The truth.
        draw: Draws one process of this kind.
        intervals_s: Sampling intervals on which the pattern makes sense.
        hours: Shortest and longest record on which it does.
        page_bytes: Granularity of resident memory.
        delivery: How the samples arrive.
        starts_itself: Whether ``draw`` already contains the start of the process.
        fatal: Whether the leak always runs into the limit.
    """

    name: str
    leaks: bool
    draw: Callable[[Process], Shares | Growth]
    intervals_s: tuple[float, ...] = (1.0, 10.0, 60.0)
    hours: tuple[float, float] = (1.0, 168.0)
    page_bytes: int = PAGE_BYTES
    delivery: Delivery = "regular"
    starts_itself: bool = False
    fatal: bool = False


INNOCENT: dict[str, Pattern] = {}
LEAKING: dict[str, Pattern] = {}


def innocent(
    *,
    intervals_s: tuple[float, ...] = (1.0, 10.0, 60.0),
    hours: tuple[float, float] = (1.0, 168.0),
    page_bytes: int = PAGE_BYTES,
    delivery: Delivery = "regular",
    starts_itself: bool = False,
) -> Callable[[Callable[[Process], Shares]], Callable[[Process], Shares]]:
    """Register a function that draws a curve without a leak, under its own name."""

    def register(draw: Callable[[Process], Shares]) -> Callable[[Process], Shares]:
        name = draw.__name__
        INNOCENT[name] = Pattern(
            name, False, draw, intervals_s, hours, page_bytes, delivery, starts_itself=starts_itself
        )
        return draw

    return register


def leaking(
    *,
    intervals_s: tuple[float, ...] = (1.0, 10.0, 60.0),
    hours: tuple[float, float] = (1.0, 168.0),
    page_bytes: int = PAGE_BYTES,
    delivery: Delivery = "regular",
    starts_itself: bool = False,
    fatal: bool = False,
) -> Callable[[Callable[[Process], Growth]], Callable[[Process], Growth]]:
    """Register a function that draws a leak, under its own name."""

    def register(draw: Callable[[Process], Growth]) -> Callable[[Process], Growth]:
        name = draw.__name__
        LEAKING[name] = Pattern(
            name, True, draw, intervals_s, hours, page_bytes, delivery, starts_itself, fatal
        )
        return draw

    return register
