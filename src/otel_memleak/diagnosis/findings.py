"""What others contribute to a diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_memleak.records import NamedTuple

if TYPE_CHECKING:
    from otel_memleak.types import RouteSuspect


class RouteFindings(NamedTuple):
    """Which endpoints leave memory behind.

    Attributes:
        suspects: Worst first; empty when nothing can be said.
        in_background: Whether the growth follows the clock and no request.
    """

    suspects: tuple[RouteSuspect, ...] = ()
    in_background: bool = False
