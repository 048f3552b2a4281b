"""What a census may cost."""

from __future__ import annotations

from dataclasses import dataclass

from otel_memleak.types import MB


@dataclass(frozen=True, slots=True)
class CensusBudget:
    """What a census may cost.

    Attributes:
        deadline_s: Seconds from the fork until the snapshot is killed. It stops looking after two thirds of
            them and says what it has seen. A look takes a CPU second for each 300,000 objects, and on a
            machine with far more to do than it can it gets a second of CPU time in a minute.
        cpu_s: CPU seconds after which it stops looking as well; after half as many more the kernel kills it.
        memory_bytes: What the snapshot may allocate for itself, besides the copies of pages it touches.
        in_process_s: CPU seconds of a look from inside, where there can be no snapshot. A service of 1,100
            modules takes 3; a look that does not come to its end has nothing to compare the next one with.
        slice_s: Longest such look without letting other threads run.
    """

    deadline_s: float = 180.0
    cpu_s: float = 40.0
    memory_bytes: int = 256 * MB
    in_process_s: float = 10.0
    slice_s: float = 0.002

    @property
    def looking_s(self) -> float:
        """Seconds after which a snapshot stops looking."""
        return self.deadline_s * 2 / 3
