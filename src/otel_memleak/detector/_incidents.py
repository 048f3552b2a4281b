"""One incident, one identity: opened, escalated, resolved, reopened, and never said twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from otel_memleak.types import Severity

Standing = Literal["quiet", "warning", "critical"]
_RANK: dict[Standing, int] = {"quiet": 0, "warning": 1, "critical": 2}


class Incident:
    """What is the case, and what has been said about it.

    The two are compared at every sample; a difference is announced as soon as the throttle lets it through.
    So nothing that stays true is lost to the throttle, and nothing that passes is said late.

    Args:
        new_id: Makes the identity of a new incident.
        interval_s: At most one announcement of a standing in so many seconds.
    """

    __slots__ = ("_new_id", "_quiet_since", "_said", "_said_at", "id", "interval_s", "standing", "worst")

    def __init__(self, new_id: Callable[[], str], interval_s: float) -> None:
        self._new_id = new_id
        self.interval_s = interval_s
        self._said: Standing = "quiet"
        self._said_at: dict[Standing, float] = {}
        self._quiet_since = 0.0
        self.id = ""
        self.standing: Standing = "quiet"
        self.worst: Severity = "warning"

    @property
    def open(self) -> bool:
        return self.standing != "quiet"

    @property
    def settled(self) -> bool:
        """Whether what is the case has been said."""
        return self.standing == self._said

    @property
    def at_rest(self) -> bool:
        """Whether it is over, and that has been said."""
        return self.standing == self._said == "quiet"

    def raise_to(self, severity: Severity, now_s: float, reopen_s: float) -> None:
        """The matter stands, at this severity or worse.

        Args:
            severity: How bad it is now; an open incident never gets milder.
            now_s: Elapsed seconds.
            reopen_s: A resolved incident that comes back within so many seconds is the same one.
        """
        if self.standing == "quiet":
            if not self.id or now_s - self._quiet_since > reopen_s:
                self.id = self._new_id()
                self._said = "quiet"
                self.worst = "warning"
            self.standing = severity
        elif _RANK[severity] > _RANK[self.standing]:
            self.standing = severity
        if self.standing == "critical":
            self.worst = "critical"

    def carry_on(self, identity: str, severity: Severity, said_at_s: float | None) -> None:
        """Go on with an incident of an earlier process.

        Args:
            identity: Its id.
            severity: The highest it had reached.
            said_at_s: Elapsed seconds, before zero, when that was told; None when it is still to be told.
        """
        self.id = identity
        self.standing = self.worst = severity
        if said_at_s is not None:
            self._said = severity
            self._said_at[severity] = said_at_s

    @property
    def said_at(self) -> float | None:
        """Elapsed seconds when the present standing was told; None when it has yet to be."""
        return self._said_at.get(self.standing) if self._said == self.standing else None

    def end(self, now_s: float) -> None:
        """The matter has ended."""
        if self.standing != "quiet":
            self.standing = "quiet"
            self._quiet_since = now_s

    def announce(self, now_s: float) -> Standing | None:
        """What has to be said now, if anything; it counts as said."""
        if self.standing == self._said:
            return None
        last = self._said_at.get(self.standing)
        if last is not None and now_s - last < self.interval_s:
            return None
        self._said = self.standing
        self._said_at[self.standing] = now_s
        return self.standing
