"""Starts workers in the given way; each of them allocates 60 MB and stays for a while.

python workers.py fork|multiprocessing-fork|spawn|forkserver|pool|storm SECONDS
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

WORKERS = 2
BALLAST_BYTES = 60 * 1024 * 1024


def work(seconds: float) -> int:
    """Hold the ballast, every page of it touched."""
    ballast = bytearray(b"x") * BALLAST_BYTES
    time.sleep(seconds)
    return len(ballast)


def fork_by_hand(seconds: float) -> None:
    """``os.fork``, nothing else."""
    pids = []
    for _ in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            work(seconds)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


def storm(seconds: float) -> None:
    """Forty forks at all moments of the parent's collections; one child in ten is a subprocess's."""
    pids = []
    for number in range(40):
        pid = os.fork()
        if pid == 0:
            if number % 10 == 0:
                subprocess.run(["true"], preexec_fn=os.getpid, check=True)
            time.sleep(seconds)
            os._exit(0)
        pids.append(pid)
        time.sleep(0.05 + 0.013 * (number % 7))
    for pid in pids:
        os.waitpid(pid, 0)


def main(kind: str, seconds: float) -> None:
    """Start the workers and wait for them."""
    if kind == "storm":
        storm(seconds)
        return
    if kind == "fork":
        fork_by_hand(seconds)
        return
    context = multiprocessing.get_context(kind if kind in ("spawn", "forkserver") else "fork")
    if kind == "pool":
        with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
            list(pool.map(work, [seconds] * WORKERS))
        return
    processes = [context.Process(target=work, args=(seconds,)) for _ in range(WORKERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
