"""``python -m benchmarks.overhead``: a sample, memory and start; see the other modules for the rest."""

from __future__ import annotations

from . import peers, resident, sample

print(f"{peers.machine()}\n\n| what | measured |\n|---|---|", flush=True)
sample.main()
resident.main()
