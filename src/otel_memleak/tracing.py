"""tracemalloc, started and stopped by us only where it is ours."""

from __future__ import annotations


class Tracing:
    """Switches tracemalloc on for as long as the process is watched.

    A trace that the application had started is left alone, before and after.

    Args:
        frames: Frames kept per allocation.
    """

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._ours = False

    def start(self) -> None:
        """Trace, unless somebody does already."""
        import tracemalloc

        if not tracemalloc.is_tracing():
            tracemalloc.start(self._frames)
            self._ours = True

    def stop(self) -> None:
        """Stop what `start` has started."""
        if not self._ours:
            return
        import tracemalloc

        self._ours = False
        tracemalloc.stop()
