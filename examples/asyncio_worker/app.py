"""An asyncio worker that keeps the results of its jobs, and restarts itself before that kills it.

Results are kept for clients to collect, and many a client never comes back. ``--fixed`` keeps the newest
hundred. The worker watches itself with `MemoryMonitor`; on an alert it stops taking jobs and ends in order,
for its supervisor to start it afresh, instead of being killed in the middle of a job.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import OrderedDict

from otel_memleak import LeakAlert, MemoryMonitor

JOBS_PER_SECOND = 20
RESULT_BYTES = 16 * 1024
RESULTS_KEPT_WHEN_FIXED = 100


class Worker:
    """Does jobs until it is told to stop, and keeps what came out."""

    def __init__(self, max_results: int | None) -> None:
        self.results: OrderedDict[int, bytes] = OrderedDict()
        self.stopping = asyncio.Event()
        self._max_results = max_results

    async def run(self) -> None:
        """Do jobs until told to stop."""
        job = 0
        while not self.stopping.is_set():
            job += 1
            await asyncio.sleep(1 / JOBS_PER_SECOND)
            self.results[job] = os.urandom(RESULT_BYTES)
            if self._max_results is not None and len(self.results) > self._max_results:
                self.results.popitem(last=False)

    async def on_alert(self, alert: LeakAlert) -> None:
        """End in order when memory leaks; anything else is only said."""
        print(f"{alert.severity}: {alert.event}, {alert.reason}", flush=True)
        if alert.event == "memleak.leak":
            self.stopping.set()


async def watched(options: argparse.Namespace) -> int:
    """Run the worker with a monitor beside it; 3 tells the supervisor to start it again."""
    worker = Worker(RESULTS_KEPT_WHEN_FIXED if options.fixed else None)
    monitor = MemoryMonitor(
        sampling_interval=options.interval,
        baseline_window=20 * options.interval,
        patience=80 * options.interval,
        memory_limit_mb=512,
        on_alert=worker.on_alert,
    )
    await monitor.start()
    try:
        await asyncio.wait_for(worker.run(), options.seconds)
    except asyncio.TimeoutError:
        return 0
    finally:
        statistics = monitor.get_statistics()
        await monitor.stop()
    growth = statistics["growth_rate_mb_per_hour"]
    print(f"restart wanted: {len(worker.results)} results kept, {growth:,.0f} MB/h", flush=True)
    return 3


def main() -> int:
    """Run for a while, or until memory leaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=90.0, help="how long to work")
    parser.add_argument("--interval", type=float, default=0.25, help="seconds between samples; 60 is usual")
    parser.add_argument("--fixed", action="store_true", help="keep a bounded number of results")
    return asyncio.run(watched(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
