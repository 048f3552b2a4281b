"""What the engine publishes after every sample, for whoever wants to read it without waiting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from otel_memleak.records import NamedTuple
from otel_memleak.types import MemoryLimit, Reason, Sample, Severity, State


class Status(NamedTuple):
    """One consistent picture of a process, replaced as a whole by a single assignment.

    Attributes:
        sample: The latest sample.
        limit: The limit in force; None when unknown.
        state: The detector's state.
        baseline_bytes: Median of the baseline window; None before it is known.
        growth_bytes_per_hour: Robust growth; 0 when stable.
        time_to_limit_s: Seconds to the limit; None while memory is not growing.
        samples: Samples taken by this process.
        cpu_time_s: CPU seconds this package has used in this process.
    """

    sample: Sample
    limit: MemoryLimit | None
    state: State
    baseline_bytes: float | None
    growth_bytes_per_hour: float
    time_to_limit_s: float | None
    samples: int
    cpu_time_s: float


if TYPE_CHECKING:

    class StatusSource(Protocol):
        """Where metric callbacks read from. All of it is ready to hand: a callback measures nothing."""

        @property
        def status(self) -> Status | None:
            """The latest picture; None before the first sample of this process."""
            ...

        @property
        def alert_counts(self) -> Mapping[tuple[Severity, Reason], int]:
            """Alerts sent by this process, by severity and reason."""
            ...

        @property
        def swallowed_errors(self) -> int:
            """Failures swallowed in this process."""
            ...

        def excludes(self, metric_name: str) -> bool:
            """Whether the user does not want this metric."""
            ...

        def ensure_alive(self) -> None:
            """Notice a fork that ran no Python hook; cheap, never raises."""
            ...
