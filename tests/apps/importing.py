"""A program that takes its time to start: it loads ten modules a second, which keep 200 KB each.

python importing.py MODULES SECONDS
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from pathlib import Path

PAUSE_S = 0.1
SOURCE = "DATA = [bytearray(1000) for _ in range(200)]\n"


def main(modules: int, seconds: float) -> None:
    """Load so many modules, and then serve nothing until the time is over."""
    ends = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as directory:
        sys.path.insert(0, directory)
        for number in range(modules):
            if time.monotonic() > ends:
                return
            Path(directory, f"part_{number}.py").write_text(SOURCE)
            importlib.invalidate_caches()
            importlib.import_module(f"part_{number}")
            time.sleep(PAUSE_S)
        time.sleep(max(0.0, ends - time.monotonic()))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
