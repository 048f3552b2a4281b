"""Runs one program in this process and prints its samples: ``python -m benchmarks.witnesses.record NAME``."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from otel_memleak.clock import SystemClock
from otel_memleak.guard import Guard
from otel_memleak.kinds import KindsReader
from otel_memleak.probes import Resident, RssProbe, count_modules, read_allocated_blocks, read_pages
from otel_memleak.sampler import Sampler
from otel_memleak.types import MB, Sample

from .others import OTHER_INNOCENT, OTHER_LEAKY
from .programs import INNOCENT, INTO_SWAP, LEAKY, TICK_S

INTERVAL_S = 0.25
SWAPS_FROM_BYTES = 2 * MB
"""So much above the start the kernel is said to begin swapping."""


class SwappingProc:
    """A ``/proc`` in which this process is swapped out beyond some resident memory: few hosts have swap."""

    def __init__(self) -> None:
        self.root = tempfile.mkdtemp()
        (Path(self.root) / "self").mkdir()
        self._most: int | None = None
        self._pages = RssProbe().page_size_bytes

    def update(self) -> None:
        """Write what the kernel would say now."""
        statm = Path("/proc/self/statm").read_text().split()
        resident = int(statm[1])
        if self._most is None:
            self._most = resident + SWAPS_FROM_BYTES // self._pages
        out = max(0, resident - self._most)
        statm[1] = str(resident - out)
        (Path(self.root) / "self" / "statm").write_text(" ".join(statm))
        lines = [self._line(line, out) for line in Path("/proc/self/status").read_text().splitlines()]
        (Path(self.root) / "self" / "status").write_text("\n".join(lines))

    def _line(self, line: str, out: int) -> str:
        name, _, rest = line.partition(":")
        out_kib = out * self._pages // 1024
        if name == "VmSwap":
            return f"{name}:\t{out_kib} kB"
        if name == "RssAnon":
            return f"{name}:\t{int(rest.split()[0]) - out_kib} kB"
        return line


def main() -> None:
    """Run, sample, print."""
    name, seconds = sys.argv[1], float(sys.argv[2])
    program = (LEAKY | INNOCENT | OTHER_LEAKY | OTHER_INNOCENT)[name]()
    proc = SwappingProc() if name == INTO_SWAP else None
    probe = RssProbe(proc.root) if proc is not None else RssProbe()
    root = proc.root if proc is not None else "/proc"

    def resident() -> Resident:
        if proc is not None:
            proc.update()
        return probe.read_resident()

    sampler = Sampler(
        SystemClock(),
        Guard(),
        resident,
        allocated_blocks=read_allocated_blocks,
        requests=lambda: program.requests,
        modules=count_modules,
        kinds=KindsReader(lambda: read_pages(root)),
    )
    start = next_tick = next_sample = time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        # Whatever the machine does meanwhile: a tick is 50 ms of the program's time, a sample 250 ms.
        if now >= next_tick:
            program.tick(next_tick - start)
            next_tick += TICK_S
            if next_tick >= next_sample:
                sample = sampler.take()
                record = {field: getattr(sample, field) for field in Sample.__annotations__}
                record["time_s"] = next_sample - start
                print(json.dumps(record), flush=True)
                next_sample += INTERVAL_S
        else:
            time.sleep(next_tick - now)


if __name__ == "__main__":
    main()
