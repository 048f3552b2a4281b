"""Prints whether it is being watched, then waits for a given time or for its standard input to end.

python idle.py [SECONDS]
"""

from __future__ import annotations

import sys
import threading
import time

time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0.5)
print("watched" if any(t.name == "OtelMemleakDetector" for t in threading.enumerate()) else "unwatched")
